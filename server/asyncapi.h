/* The document of the streams, AsyncAPI 3.1, written from tables: every stream, every message that either side sends,
 * each with a closed schema. What is not in here is not sent; the tests judge every frame by the served document. */
#ifndef SERVER_ASYNCAPI_H
#define SERVER_ASYNCAPI_H

#include "server/resource.h"

void asyncapi_write(struct buf *b);

/* GET /asyncapi.json, public. */
extern const struct resource asyncapi_resource;

#endif
