#include "server/audit.h"

#include "lib/crypto.h"
#include "lib/id.h"
#include "server/audit_seal.h"
#include "server/auth.h"
#include "server/credential.h"
#include "server/router.h"
#include "server/store/commit.h"
#include "server/worker.h"

#include <stdio.h>

struct actor {
    const char *type;
    struct str id, name, ip; /* ip: STR_NONE: none */
};

static void put(struct json_out *o, const char *key, struct str value)
{
    if (value.p == NULL)
        return;
    json_key(o, str_z(key));
    json_put_str(o, value);
}

/* A document; its hash and size when it is too large to be kept here. */
static void put_document(struct json_out *o, const char *key, struct str json)
{
    uint8_t hash[CRYPTO_HASH];
    struct buf hex = {0};
    if (json.p == NULL)
        return;
    json_key(o, str_z(key));
    if (json.n <= AUDIT_TEXT_MAX) {
        json_put_raw(o, json);
        return;
    }
    crypto_sha256(json, hash);
    buf_hex(&hex, hash, sizeof hash);
    o->b->failed = o->b->failed || hex.failed;
    json_open(o, '{');
    json_key(o, S("bytes"));
    json_put_int(o, (int64_t)json.n);
    put(o, "sha256", buf_view(&hex));
    json_close(o, '}');
    buf_free(&hex);
}

/* Canonical but for what the chain adds; the order of members is put right there. */
static struct str entry_text(struct arena *a, struct str tenant, const struct actor *actor, const struct audit_entry *e,
                             int64_t now_ms)
{
    char id[ID_UUID];
    struct buf b;
    struct json_out o;
    id_uuid(now_ms, id);
    buf_init_arena(&b, a, 512 + e->before.n + e->after.n + e->metadata.n);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put(&o, "action", str_z(e->action));
    put(&o, "actorId", actor->id);
    put(&o, "actorIp", actor->ip);
    put(&o, "actorName", actor->name);
    put(&o, "actorType", str_z(actor->type));
    put_document(&o, "after", e->after);
    put_document(&o, "before", e->before);
    put(&o, "environmentId", e->environment_id);
    put(&o, "id", str_z(id));
    put_document(&o, "metadata", e->metadata);
    put(&o, "promotionId", e->promotion_id);
    put(&o, "releaseId", e->release_id);
    put(&o, "resource", str_z(e->resource));
    put(&o, "resourceId", e->resource_id);
    put(&o, "tenantId", tenant);
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

/* The address without its port. */
static struct str ip_of(struct str address)
{
    size_t colon = address.n;
    while (colon > 0 && address.p[colon - 1] != ':' && address.p[colon - 1] != ']')
        colon--;
    if (colon == 0 || address.p[colon - 1] == ']')
        return address;
    struct str host = str_slice(address, 0, colon - 1);
    if (host.n > 1 && host.p[0] == '[')
        return str_slice(host, 1, host.n - 1);
    return str_index(host, ':') < 0 ? host : address;
}

static struct actor actor_of(const struct request *r)
{
    static const char *const types[] = {
        [CALLER_NONE] = "system", [CALLER_KEY] = "user",      [CALLER_USER] = "user",
        [CALLER_AGENT] = "agent", [CALLER_SYSTEM] = "system", [CALLER_CLIENT] = "client"};
    return (struct actor){types[r->caller.type], r->caller.id, r->caller.name, ip_of(r->address)};
}

static struct str request_metadata(struct request *r, enum code refused, struct str message)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &r->arena, 192);
    json_out_init(&o, &b);
    json_open(&o, '{');
    if (refused != OK)
        put(&o, "code", str_z(code_name(refused)));
    put(&o, "credential", r->caller.type == CALLER_KEY ? S("api-key") : S("token"));
    if (refused != OK) {
        put(&o, "message", message);
        put(&o, "method", str_z(method_name(r->method)));
        put(&o, "path", str_slice(r->path, 0, 1024));
    }
    put(&o, "requestId", str_z(r->id));
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static void add(struct commit *c, struct arena *a, const struct actor *actor, const struct audit_entry *e)
{
    int64_t now = audit_seal_note(c->space);
    commit_audit(c, entry_text(a, c->space.tenant, actor, e, now));
}

void audit_add(struct commit *c, struct request *r, const struct audit_entry *e)
{
    struct audit_entry with = *e;
    struct actor actor = actor_of(r);
    if (with.metadata.p == NULL)
        with.metadata = request_metadata(r, OK, STR_NONE);
    add(c, &r->arena, &actor, &with);
}

void audit_add_system(struct commit *c, struct arena *a, const char *actor, const struct audit_entry *e)
{
    struct actor system = {"system", str_z(actor), str_z(actor), STR_NONE};
    add(c, a, &system, e);
}

/* Refusals. */

static bool is_change(enum method m)
{
    return (m & (POST | PUT | PATCH | DELETE)) != 0;
}

static bool is_kept(const struct request *r, enum code c)
{
    int status = code_status(c);
    if (r->caller.type == CALLER_NONE || r->route == NULL || (r->route->flags & ROUTE_NO_AUDIT) != 0 ||
        c == RES_IDEMPOTENCY_IN_PROGRESS)
        return false;
    return status == 403 || ((status == 409 || status == 422) && is_change(r->method));
}

static void ignore(void *arg, const struct commit_result *result)
{
    (void)arg;
    (void)result;
}

/* A commit of its own, which nobody waits for; the store has taken its bytes when the call returns. */
static void write_alone(struct worker *w, struct arena *a, struct space s, const struct actor *actor,
                        const struct audit_entry *e)
{
    struct commit c;
    commit_begin(&c, a, s, 0);
    add(&c, a, actor, e);
    store_commit(w->store, &c, &w->ops, ignore, NULL);
}

static void write_refusal(struct request *r, enum code code, struct str message)
{
    struct actor actor = actor_of(r);
    struct audit_entry e = {
        .action = code == PERM_DENIED || code == PERM_ENVIRONMENT_SCOPE ? "permission.denied" : "request.refused",
        .resource = r->resource->kind,
        .metadata = request_metadata(r, code, message),
    };
    struct str id = r->params[r->resource->parent != NULL ? 1 : 0];
    if (id_is_uuid(id, NULL))
        e.resource_id = id;
    write_alone(r->worker, &r->arena, (struct space){r->caller.partition, r->caller.tenant}, &actor, &e);
}

void audit_refused(struct request *r, enum code c, struct str message)
{
    if (is_kept(r, c))
        write_refusal(r, c, message);
    else if (code_status(c) == 401)
        audit_seal_count(ip_of(r->address), c);
}

void audit_write_failed_authentications(struct worker *w, struct str address, int64_t count, enum code last)
{
    struct arena a;
    char tenant[ID_UUID];
    arena_init(&a, 0);
    tenant_id(S("default"), tenant);
    struct actor actor = {"system", S("authentication"), S("authentication"), address};
    const struct audit_entry e = {
        .action = "authentication.failed",
        .resource = "credential",
        .metadata = arena_printf(&a, "{\"code\":\"%s\",\"count\":%lld}", code_name(last), (long long)count),
    };
    write_alone(w, &a, (struct space){partition_of(str_z(tenant)), str_z(tenant)}, &actor, &e);
    arena_fini(&a);
}
