/* Secrets are taken out of a stream of bytes before anything of it is stored or sent.
 *
 * A mask knows a set of secrets and looks for each in the forms in which programs print them: as it is (line by line
 * when it has several), in base64 and base64url at each of the three alignments, percent-encoded (strict, as JavaScript
 * does, as forms do, either case of hex digits) and with JSON's escapes. Every byte covered by a find, overlaps
 * included, goes; a covered stretch becomes "***".
 *
 * Finds do not depend on how the stream is cut into writes: a mask_stream holds back the bytes that may still become a
 * secret, never more than the longest form, and nothing across a line feed. Secrets shorter than PROTOCOL_SECRET_MIN
 * are not looked for (mask_skipped counts them).
 *
 * Aho-Corasick: one pass, time independent of the number of secrets. */
#ifndef SERVER_AGENT_MASK_H
#define SERVER_AGENT_MASK_H

#include "lib/str.h"

enum { MASK_SECRETS = 256, MASK_SECRET = 16 * 1024, MASK_NODES = 1 << 20 };

struct mask; /* immutable, may be shared by streams */

/* Copies what it needs of the secrets. NULL when memory ran out or a limit above is passed. */
struct mask *mask_new(const struct str *secrets, size_t n);
void mask_free(struct mask *m);
size_t mask_skipped(const struct mask *m);

struct mask_stream { /* private but for being embedded */
    const struct mask *mask;
    unsigned char *held; /* a ring of `room` bytes, and as many marks behind it */
    size_t room, from, n;
    uint32_t state;
    bool masking;
};

bool mask_stream_init(struct mask_stream *s, const struct mask *m); /* the mask must outlive it; false: no memory */
void mask_stream_fini(struct mask_stream *s);
/* Appends to `out` what can be told by now. A failed append shows in out->failed. */
void mask_feed(struct mask_stream *s, struct str in, struct buf *out);
/* The stream ended: what was held back is no secret. */
void mask_end(struct mask_stream *s, struct buf *out);

#endif
