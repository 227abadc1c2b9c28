/* DEFLATE (RFC 1951) of single messages, as WebSockets use it (RFC 7692 §7.2): raw, and each by itself, so that one
 * pair of compressor and decompressor serves all connections of a thread, and what was compressed can be sent to
 * several of them. The face of zlib.
 *
 * Nothing but the struct is allocated before the first message; then 160 KiB to compress, 45 KiB to decompress. */
#ifndef PROTO_DEFLATE_H
#define PROTO_DEFLATE_H

#include "lib/str.h"

struct deflate;
struct deflate *deflate_new(void); /* NULL: no memory */
void deflate_free(struct deflate *d);

/* Appends the message in its short form: whole bytes, without the four last ones, 00 00 ff ff, that every message would
 * have. False, and `out` failed: no memory. */
bool deflate_pack(struct deflate *d, struct str message, struct buf *out);

enum deflate_result {
    DEFLATE_OK,
    DEFLATE_BAD,  /* no such data, or cut off */
    DEFLATE_LONG, /* the message has more than `max` bytes; no more than that were made of it */
    DEFLATE_MEMORY
};
/* Appends what the short form stands for. After anything but OK `out` holds what there was until then. */
enum deflate_result deflate_unpack(struct deflate *d, struct str packed, size_t max, struct buf *out);

#endif
