/* Resources of people and their tenant, in the OAuth dialect, one file each. */
#ifndef SERVER_IDENTITY_RESOURCES_H
#define SERVER_IDENTITY_RESOURCES_H

#include "server/resource.h"

extern const struct resource login_resource;
extern const struct resource user_resource;
extern const struct resource key_resource;

#endif
