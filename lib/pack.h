/* MessagePack written into a buffer, in the shortest forms; what Redis' cmsgpack.unpack reads. A failed append shows in
 * the buffer. Arrays and maps say their size first, or are opened and closed with the size once it is known:
 *
 *     pack_map(b, 2);
 *     pack_z(b, "key"), pack_str(b, key);
 *     pack_z(b, "list");
 *     struct pack_open list = pack_open_array(b);
 *     for (…; list.n++)
 *         pack_int(b, …);
 *     pack_close(b, list);
 *
 * Lua's numbers are doubles: an integer past ±2^53 is to be packed as a string. Lua's nil cannot be kept in a table, so
 * pack_nil as an element ends a Lua array there. */
#ifndef LIB_PACK_H
#define LIB_PACK_H

#include "lib/str.h"

void pack_nil(struct buf *b);
void pack_bool(struct buf *b, bool v);
void pack_int(struct buf *b, int64_t v);
void pack_real(struct buf *b, double v);
void pack_str(struct buf *b, struct str s); /* any bytes, at most UINT32_MAX of them */
void pack_z(struct buf *b, const char *z);
void pack_array(struct buf *b, uint32_t n); /* n elements follow */
void pack_map(struct buf *b, uint32_t n);   /* n pairs follow */

struct pack_open {
    size_t at;  /* private: where the size stands */
    uint32_t n; /* elements, or pairs, so far: the caller counts */
};
struct pack_open pack_open_array(struct buf *b);
struct pack_open pack_open_map(struct buf *b);
void pack_close(struct buf *b, struct pack_open open);

#endif
