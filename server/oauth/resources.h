/* The resources of the OAuth dialect, one file each. */
#ifndef SERVER_OAUTH_RESOURCES_H
#define SERVER_OAUTH_RESOURCES_H

#include "server/resource.h"

extern const struct resource client_resource;
extern const struct resource grant_page_resource;
extern const struct resource token_resource;
extern const struct resource userinfo_resource;

#endif
