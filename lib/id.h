/* Identifiers and random secrets. */
#ifndef LIB_ID_H
#define LIB_ID_H

#include "lib/str.h"

enum { ID_UUID = 37 }; /* 36 characters and the NUL */
/* UUIDv7 (RFC 9562), lower case; ids made by one thread in one millisecond still ascend. */
void id_uuid(int64_t unix_ms, char out[ID_UUID]);
/* The same for what is known twice: all but its time comes from `seed`. */
void id_uuid_of(int64_t unix_ms, struct str seed, char out[ID_UUID]);
/* Any RFC 9562 UUID text; `out` (may be NULL) gets the lower-case form. */
bool id_is_uuid(struct str text, char out[ID_UUID]);
/* Its 16 bytes, for where many are kept, and back. False: it is none. */
bool id_uuid_pack(struct str text, uint8_t out[16]);
void id_uuid_text(const uint8_t bytes[16], char out[ID_UUID]);

/* Long-lived credentials, every dialect: <prefix>_<30 base62 whose first two name the partition><6 base62 CRC-32>.
 * The checksum lets garbage be refused without asking the store. */
enum { ID_KEY_MAX = 64, ID_PARTITIONS = 64 };
size_t id_key(const char *prefix, unsigned partition, char out[ID_KEY_MAX]); /* returns the length */
bool id_key_check(struct str key, struct str *prefix, unsigned *partition);

/* CRC-32 as in zlib and PNG: for checksums and for spreading, not against anybody. */
uint32_t id_crc32(struct str s);

void random_bytes(void *p, size_t n);
uint32_t random_below(uint32_t bound); /* uniform */

#endif
