/* Lists of what is not stored as documents of its own (step types, the steps of a run): kept in memory, with the same
 * page, sort and filter as every other list. The resource's `sort` names a row that gives them their natural order. */
#ifndef SERVER_SHELF_H
#define SERVER_SHELF_H

#include "server/request.h"

/* Answers the page of `items` that the query asks for. */
enum flow shelf_reply(struct request *r, const struct resource *of, const struct json *const *items, size_t n);

#endif
