/* The page for people: operations, error codes, roles and their permissions, limits. From the same tables as everything. */
#ifndef SERVER_DOCS_H
#define SERVER_DOCS_H

#include "server/dialect.h"

void docs_write(struct buf *b); /* HTML */

#endif
