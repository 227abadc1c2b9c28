#include "server/identity/resources.h"

#include "server/permission.h"
#include "server/request.h"

static enum flow roles_get(struct request *r);

// clang-format off
static const struct field fields[] = {
    {"name",        FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED},
    {"description", FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED},
    {"permissions", FIELD_LIST,   FIELD_READONLY | FIELD_REQUIRED, .item = FIELD_STRING},
    {0}};

static const struct route routes[] = {
    {GET, "/roles", roles_get, NULL, "listRoles", "What each role may do.", ROUTE_ANYONE | ROUTE_ARRAY, .data = fields},
    ROUTE_END};
// clang-format on

static void put_role(struct json_out *o, size_t i)
{
    struct permission_set set = {{0}};
    role_find(str_z(role_name(i)), &set);
    json_open(o, '{');
    json_key(o, S("description"));
    json_put_z(o, role_doc(i));
    json_key(o, S("name"));
    json_put_z(o, role_name(i));
    json_key(o, S("permissions"));
    json_open(o, '[');
    for (size_t bit = 0; bit < permission_count(); bit++)
        if (permission_has(&set, bit))
            json_put_z(o, permission_name(bit));
    json_close(o, ']');
    json_close(o, '}');
}

static enum flow roles_get(struct request *r)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &r->arena, 8192);
    json_out_init(&o, &b);
    json_open(&o, '[');
    for (size_t i = 0; i < role_count(); i++)
        put_role(&o, i);
    json_close(&o, ']');
    return b.failed ? reply_error(r, SYS_OVERLOADED) : reply_data(r, 200, buf_view(&b));
}

const struct resource role_resource = {
    .kind = "role",
    .plural = "roles",
    .tag = "IDENTITY",
    .doc = "Sets of permissions, for people, groups and keys.",
    .fields = fields,
    .routes = routes,
};
