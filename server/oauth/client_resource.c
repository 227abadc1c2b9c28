#include "server/oauth/resources.h"

#include "server/audit.h"
#include "server/caller.h"
#include "server/crud.h"
#include "server/idempotency.h"
#include "server/oauth/client.h"
#include "server/oauth/device.h"
#include "server/oauth/exchange.h"
#include "server/oauth/redirect.h"
#include "server/oauth/scopes.h"
#include "server/worker.h"

static const char *const grant_words[] = {"client_credentials", "authorization_code", "refresh_token",
                                          DEVICE_GRANT,         EXCHANGE_GRANT,       NULL};
static const char *const method_words[] = {"client_secret_basic", "client_secret_post", "private_key_jwt", "none",
                                           NULL};

// clang-format off
#define FIELDS                                                                                                       \
    {"client_id",   FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},                                   \
    {"tenant_id",   FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},                                                  \
    {"name",        FIELD_STRING, FIELD_REQUIRED | FIELD_FILTER | FIELD_SORT, .min = 1, .max = 100,                  \
     .doc = "What it is, for people; shown in the audit trail."},                                                    \
    {"grant_types", FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_ENUM, .choices = grant_words, .min = 1, .max = 5, \
     .preset = "[\"client_credentials\"]"},                                                                          \
    {"scopes",      FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_STRING, .min = 1, .max = SCOPES_MAX,             \
     .item_max = SCOPES_NAME_MAX, .preset = scopes_preset,                                                           \
     .doc = "What it may ask for: scopes of the metadata, and permissions. Not more than its maker has."},           \
    {"token_endpoint_auth_method", FIELD_ENUM, .choices = method_words, .preset = "\"client_secret_basic\"",         \
     .doc = "A client with a secret may send it in either way; private_key_jwt signs with a key of `jwks` instead."}, \
    {"jwks",        FIELD_OBJECT, .doc = "Its public keys (RFC 7517), with private_key_jwt."},                       \
    {"redirect_uris", FIELD_LIST, FIELD_UNIQUE_ITEMS, .item = FIELD_STRING, .max = REDIRECTS_MAX, .item_max = REDIRECT_LENGTH_MAX, \
     .doc = "Where people are sent back to, with the grant authorization_code: compared byte by byte."},              \
    {"trust",       FIELD_OBJECT, .fields = exchange_trust_rows,                                                     \
     .doc = "Whose identity tokens it exchanges (RFC 8693): a job of a CI needs no secret then."},                   \
    {"created_at",  FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},                                     \
    {"created_by",  FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},                                      \
    {"revision",    FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED}

static const struct field fields[] = {FIELDS, {0}};
static const struct field shown[] = {
    FIELDS,
    {"client_secret", FIELD_STRING, FIELD_READONLY, .max = ID_KEY_MAX, .doc = "Shown this once."},
    {0}};

static enum flow client_create(struct request *r);
static enum flow client_delete(struct request *r);

static const struct route routes[] = {
    {POST, "/oauth/clients", client_create, "tenant:manage", "createClient",
     "Register a client. Its secret is in this answer and nowhere else.", ROUTE_SECRET, .status = 201, .body = fields, .data = shown},
    {GET, "/oauth/clients", crud_list, "tenant:manage", "listClients", "List the tenant's clients.", ROUTE_LIST},
    {GET, "/oauth/clients/{id}", crud_get, "tenant:manage", "getClient", "Get a client."},
    {DELETE, "/oauth/clients/{id}", client_delete, "tenant:manage", "deleteClient",
     "Take a client back: its tokens are refused from now on, and streams opened with them end.", .status = 204},
    ROUTE_END};
// clang-format on

struct attempt {
    struct request *r;
    struct commit commit;
    struct client_new client;
    char id[ID_UUID];
};

static struct space space_of(const struct request *r)
{
    return (struct space){r->caller.partition, r->caller.tenant};
}

/* Nobody gives a client more than they have themselves. */
static const char *beyond(const struct request *r, struct str scopes)
{
    struct permission_set wanted = {{0}};
    struct str one, what, where;
    while (scopes_next(&scopes, &one)) {
        what = one;
        permission_narrowed(one, &what, &where);
        scopes_add(&wanted, what);
    }
    return caller_lacks(&r->caller, &wanted);
}

static enum flow refuse_faults(struct request *r)
{
    request_refuse(r, VAL_FAILED, STR_FMT " " STR_FMT, STR_ARG(r->faults->list[0].field),
                   STR_ARG(r->faults->list[0].message));
    return reply_error(r, VAL_FAILED);
}

static void created(void *arg, const struct commit_result *result)
{
    struct attempt *t = arg;
    if (result->code != OK)
        reply_error(t->r, result->code);
    else
        reply_created(t->r, str_z(t->client.id), t->client.shown, 1);
}

static enum flow client_create(struct request *r)
{
    struct attempt *t = arena_new(&r->arena, struct attempt);
    r->faults = arena_new(&r->arena, struct faults);
    if (t == NULL || r->faults == NULL)
        return reply_error(r, SYS_OVERLOADED);
    faults_init(r->faults, &r->arena);
    client_check(r->json, r->faults);
    if (r->faults->n > 0)
        return refuse_faults(r);
    const char *lacks = beyond(r, client_scopes(&r->arena, r->json));
    if (lacks != NULL) {
        request_lacks(r, lacks);
        request_refuse(r, PERM_DENIED, "a client cannot be given %s, which you do not have", lacks);
        return reply_error(r, PERM_DENIED);
    }
    *t = (struct attempt){.r = r};
    t->client = (struct client_new){
        .space = space_of(r), .members = r->json, .created_by = r->caller.id, .now_ms = store_now_ms(r->worker->store)};
    commit_begin(&t->commit, &r->arena, t->client.space, COMMIT_GROWS);
    client_put(&t->client, r->worker->settings, &t->commit);
    const struct audit_entry entry = {.action = "client.created",
                                      .resource = CLIENT_KIND,
                                      .resource_id = str_z(t->client.id),
                                      .after = t->client.document};
    audit_add(&t->commit, r, &entry);
    idempotency_commit(r, &t->commit,
                       &(struct idempotent_answer){.status = 201,
                                                   .data = t->client.shown,
                                                   .revision = 1,
                                                   .location = crud_location(r, str_z(t->client.id)),
                                                   .secret = true});
    enum code c = store_commit(r->worker->store, &t->commit, &r->ops, created, t);
    return c == OK ? WAIT : reply_error(r, c);
}

static void deleted(void *arg, const struct commit_result *result)
{
    struct attempt *t = arg;
    if (result->code != OK)
        reply_error(t->r, result->code);
    else
        reply_empty(t->r, 204);
}

static enum flow client_delete(struct request *r)
{
    struct attempt *t = arena_new(&r->arena, struct attempt);
    if (t == NULL)
        return reply_error(r, SYS_OVERLOADED);
    char hex[65];
    unsigned partition;
    *t = (struct attempt){.r = r};
    if (!id_is_uuid(r->params[0], t->id) || !client_credential(r->worker->settings, r->params[0], &partition, hex) ||
        partition != r->caller.partition)
        return reply_error(r, RES_NOT_FOUND);
    commit_begin(&t->commit, &r->arena, space_of(r), COMMIT_ESSENTIAL);
    client_end(r->worker->settings, &t->commit, str_z(t->id), store_now_ms(r->worker->store));
    const struct audit_entry entry = {.action = "client.deleted", .resource = CLIENT_KIND, .resource_id = str_z(t->id)};
    audit_add(&t->commit, r, &entry);
    enum code c = store_commit(r->worker->store, &t->commit, &r->ops, deleted, t);
    return c == OK ? WAIT : reply_error(r, c);
}

const struct resource client_resource = {
    .kind = CLIENT_KIND,
    .plural = "clients",
    .tag = "OAUTH",
    .doc = "Programs that get access tokens of their own.",
    .fields = fields,
    .routes = routes,
    .sort = "-created_at",
};
