/* Paths to routes: a trie of segments over the rows of every dialect, built once at start and shared by all workers.
 *
 * A literal segment wins over a parameter; no request has two routes, because two rows that could match the same
 * request (duplicates, or `/a/{x}` beside `/a/b` with a common method) refuse the start, as do rows with an unknown
 * permission, no handler, or more than ROUTER_PARAMS parameters. HEAD is answered by GET, OPTIONS by the driver. */
#ifndef SERVER_ROUTER_H
#define SERVER_ROUTER_H

#include "server/dialect.h"

enum { ROUTER_PARAMS = 4, ROUTER_SEGMENTS = 24 };

struct router;

/* NULL after a sentence in `error`. */
struct router *router_new(const struct dialect *const *all, char error[256]);
void router_free(struct router *r);

struct router_match {
    const struct route *route; /* NULL: the path is unknown (allow 0) or does not know the method */
    const struct resource *resource;
    unsigned allow; /* enum method bits the path knows, HEAD and OPTIONS among them */
    struct str params[ROUTER_PARAMS];
};
/* `path` as http_path decodes it; parameters live in the arena or in `path`. False when memory ran out. */
bool router_find(const struct router *r, struct arena *a, enum method method, struct str path,
                 struct router_match *out);

enum method method_parse(struct str name); /* 0 when it is none of ours */
const char *method_name(enum method method);
/* "GET, HEAD, OPTIONS" */
void method_list(struct buf *b, unsigned methods);

#endif
