/* Resources of people and their tenant, in the OAuth dialect, one file each. */
#ifndef SERVER_IDENTITY_RESOURCES_H
#define SERVER_IDENTITY_RESOURCES_H

#include "server/resource.h"

extern const struct resource account_resource;
extern const struct resource group_resource;
extern const struct resource invitation_resource;
extern const struct resource invitation_page_resource;
extern const struct resource key_resource;
extern const struct resource login_resource;
extern const struct resource role_resource;
extern const struct resource second_factor_resource;
extern const struct resource tenant_resource;
extern const struct resource user_resource;
extern const struct field user_fields[];

#endif
