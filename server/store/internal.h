/* What the files of the store know of each other. */
#ifndef SERVER_STORE_INTERNAL_H
#define SERVER_STORE_INTERNAL_H

#include "server/store/store.h"

struct store_wait;
/* Turns a function's reply into what the caller of the typed call gets, and calls it. `v` is NULL unless c is OK. */
typedef void store_decode(enum code c, const struct redis_value *v, void (*then)(void), void *arg);

/* store_call for the typed calls: `then` is cast back by `decode`. `plan`: a failed buffer is refused. */
enum code store_send(struct store *s, const char *function, unsigned partition, const struct buf *plan,
                     struct ops *asker, store_decode *decode, void (*then)(void), void *arg);
/* The same with n long texts that the plan names by their number, from 1 on: arguments of their own, for what stands in
 * a plan becomes a string of Lua's twice. At most STORE_TEXTS. */
enum { STORE_TEXTS = 8 };
enum code store_send_with(struct store *s, const char *function, unsigned partition, const struct buf *plan,
                          const struct str *texts, size_t n, struct ops *asker, store_decode *decode,
                          void (*then)(void), void *arg);

/* The code of a refusal: a number that the caller chose, or one of the library's own words. */
enum code store_refusal(const struct redis_value *word, const struct redis_value *label,
                        const struct redis_value *found);

/* Reads {held, token, until, run, entries, waiting}. */
struct claim;
void store_read_claim(const struct redis_value *v, struct claim *out);

/* The library's source, its parts joined, and its ABI number. */
enum { STORE_ABI = 2 };
bool store_library(struct buf *out);

#define STORE_THEN(then) ((void (*)(void))(then))

#endif
