#include "server/identity/resources.h"

#include "server/caller.h"
#include "server/crud.h"
#include "server/store/key.h"
#include "server/worker.h"

static enum flow tenant_get(struct request *r);
static enum flow tenant_update(struct request *r);

// clang-format off
static const struct field fields[] = {
    {"id",         FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"name",       FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255, .doc = "Its id is made of it, so it stays."},
    {"cidrs",      FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_STRING, .max = NETWORKS_MAX, .item_max = 50, .preset = "[]",
     .doc = "The networks from which anything of the tenant may be used, as 192.0.2.0/24 or 2001:db8::/32; none: from anywhere. Yours has to be among them."},
    {"created_at", FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED},
    {"revision",   FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED},
    {0}};

static const struct route routes[] = {
    {GET, "/tenant", tenant_get, NULL, "getTenant", "The tenant that you belong to.", ROUTE_ANYONE, .codes = {RES_NOT_FOUND}},
    {PUT | PATCH, "/tenant", tenant_update, "tenant:manage", "updateTenant", "Change from where the tenant may be used.",
     .codes = {RES_NOT_FOUND}},
    ROUTE_END};
// clang-format on

static enum flow tenant_get(struct request *r)
{
    r->params[0] = r->caller.tenant;
    return crud_get(r);
}

static enum flow tenant_update(struct request *r)
{
    r->params[0] = r->caller.tenant;
    return crud_update(r);
}

static enum code prepare(struct request *r, struct change *c)
{
    struct str wrong, list = json_join(&r->arena, change_member(c, "cidrs"), ',');
    if (!networks_known(list, &wrong))
        return change_refuse_field(r, VAL_FAILED, "cidrs", "has " STR_FMT ", which is no network", STR_ARG(wrong));
    if (list.n > 0 && !networks_hold(list, r->address))
        return change_refuse_field(r, VAL_FAILED, "cidrs",
                                   "lacks " STR_FMT ", from where you ask: it would lock you out", STR_ARG(r->address));
    commit_hset(c->commit, key_tenant(&r->arena, c->commit->space), S("networks"), list);
    commit_revoked(c->commit);
    return OK;
}

/* 1: as it was made, with createdAt and without cidrs. */
static bool upcast(struct arena *a, struct document *d)
{
    struct str at = json_str(json_get(document_json(a, d->json, NULL), "createdAt"));
    struct str name = json_str(json_get(document_json(a, d->json, NULL), "name"));
    struct overlays set = {.arena = a};
    overlay_str(&set, "created_at", at);
    overlay_str(&set, "name", name);
    overlay_str(&set, "id", d->id.n > 0 ? d->id : json_str(json_get(document_json(a, d->json, NULL), "id")));
    overlay_raw(&set, "cidrs", S("[]"));
    overlay_int(&set, "revision", d->revision);
    d->json = document_render(a, fields, NULL, NULL, &set);
    d->schema = 2;
    return d->json.p != NULL && !set.failed;
}

const struct resource tenant_resource = {
    .kind = "tenant",
    .plural = "tenants",
    .tag = "IDENTITY",
    .doc = "An organisation: nothing of one is seen by another.",
    .fields = fields,
    .routes = routes,
    .schema = 2,
    .prepare = prepare,
    .upcast = upcast,
};
