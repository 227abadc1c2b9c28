/* The long-lived secrets of an installation: numbered keys, one set per use, in a text file of mode 0600.
 *
 *     slipway-keyring 1
 *     seal 1 <base64url of 32 bytes>
 *     sign 1 …
 *     pepper 1 …
 *     evidence 1 …
 *
 * The highest number of a use makes new things; every number still opens old ones. `keyring_rotate` adds a number to
 * seal and sign. The pepper is never rotated: stored key hashes are found by it. Every instance on one data set needs
 * the same file; keyring_fingerprint is what the store keeps to notice a foreign one.
 *
 * A sealed blob starts with the number of its key (4 bytes, big endian). Read-only after opening, so threads share it.
 */
#ifndef LIB_KEYRING_H
#define LIB_KEYRING_H

#include "lib/crypto.h"

enum keyring_use { KEYRING_SEAL, KEYRING_SIGN, KEYRING_PEPPER, KEYRING_EVIDENCE, KEYRING_USES };
enum { KEYRING_NUMBERS = 1000, KEYRING_KEYS = 256 }; /* highest number; keys of all uses together */

struct keyring;

/* Reads `path`; makes it, with one key per use, when it is missing and `create` is set. NULL after a sentence in
 * `error`: also when others than the owner may read the file (its group may, when root owns it, as secrets are mounted), or
 * a line is not understood. */
struct keyring *keyring_open(const char *path, bool create, char error[256]);
void keyring_free(struct keyring *k); /* wipes */
/* Adds a number to seal and sign, in the file and in `k`, by one process at a time; the file is replaced whole and
 * synced. */
bool keyring_rotate(struct keyring *k, char error[256]);

const char *keyring_use_name(enum keyring_use use);
unsigned keyring_newest(const struct keyring *k, enum keyring_use use); /* numbers start at 1 */
unsigned keyring_count(const struct keyring *k);                        /* keys of all uses */
/* The i-th key as `<use>:<number>` and 32 hex digits that say nothing about the key. */
enum { KEYRING_NAME = 24, KEYRING_PRINT = 33 };
void keyring_fingerprint(const struct keyring *k, unsigned i, char name[KEYRING_NAME], char print[KEYRING_PRINT]);

/* `context` says what the text is and where it belongs: "<tenant>:<kind>:<id>:<field>". Failed appends show in
 * out->failed. */
void keyring_seal(const struct keyring *k, struct str context, struct str plain, struct buf *out);
/* False when the blob is damaged, from elsewhere, or its key is not in the ring; `number` (may be NULL) is its key's.
 */
bool keyring_unseal(const struct keyring *k, struct str context, struct str blob, struct buf *out, unsigned *number);

/* Ed25519 with the newest key of KEYRING_SIGN or KEYRING_EVIDENCE; answers its number. */
unsigned keyring_sign(const struct keyring *k, enum keyring_use use, struct str message,
                      uint8_t signature[CRYPTO_SIGNATURE]);
bool keyring_verify(const struct keyring *k, enum keyring_use use, unsigned number, struct str message,
                    const uint8_t signature[CRYPTO_SIGNATURE]);
bool keyring_public(const struct keyring *k, enum keyring_use use, unsigned number, uint8_t out[CRYPTO_PUBLIC]);
/* Keyed BLAKE2b under the pepper: how credentials are stored and found. */
void keyring_hash(const struct keyring *k, struct str secret, uint8_t out[CRYPTO_HASH]);

#endif
