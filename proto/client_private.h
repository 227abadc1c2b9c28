/* What the two halves of proto/client.h share. */
#ifndef PROTO_CLIENT_PRIVATE_H
#define PROTO_CLIENT_PRIVATE_H

#include "lib/stream.h"
#include "proto/client.h"
#include "proto/http.h"
#include "proto/tls.h"

enum { CLIENT_DEADLINE_MS = 10000 };

bool client_address(const struct client_url *url, struct address *out);
/* After stream_connect: TLS where the URL says so. False: no memory. */
bool client_tls(struct stream *s, const struct client_url *url);
/* Request line, Host and the caller's headers; the caller of this adds its own and the empty line. */
void client_head(struct buf *b, const struct client_request *request, const char *method);
/* What ended a stream, in words for people. */
void client_end_text(const struct stream *s, enum stream_end why, char out[CLIENT_REASON]);

#endif
