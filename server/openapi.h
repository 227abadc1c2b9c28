/* The documents of the API, written from the rows: OpenAPI 3.1 (JSON Schema 2020-12) and a page with codes, roles,
 * limits and operations for people. Nothing about the API is written down anywhere else.
 *
 * Objects whose rows are closed are closed in the schema (unevaluatedProperties false), so an answer with a member
 * nobody declared fails the tests. */
#ifndef SERVER_OPENAPI_H
#define SERVER_OPENAPI_H

#include "server/dialect.h"

void openapi_write(struct buf *b);

/* GET /openapi.json and GET /docs, public. */
extern const struct resource documents_resource;

#endif
