/* What clients and resource servers find without being told: RFC 8414 and RFC 9728. */
#ifndef SERVER_OAUTH_METADATA_H
#define SERVER_OAUTH_METADATA_H

#include "server/request.h"

enum flow metadata_server(struct request *r);
enum flow metadata_resource(struct request *r);
extern const struct field metadata_server_rows[], metadata_resource_rows[];

#endif
