/* Who has the token (OpenID Connect Core 1.0 §5.3). */
#include "server/oauth/resources.h"

#include "server/identity/user.h"
#include "server/request.h"
#include "server/worker.h"

static enum flow userinfo(struct request *r);

// clang-format off
static const struct field fields[] = {
    {"sub",       FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255, .doc = "A person's id, else the key's, the client's, the agent's."},
    {"name",      FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},
    {"email",     FIELD_STRING, FIELD_READONLY, .max = 254, .doc = "Of a person."},
    {"tenant_id", FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {0}};

static const struct field none[] = {{0}};

static const struct route routes[] = {
    {GET, "/auth/userinfo", userinfo, NULL, "userinfo", "Say who has the token (OpenID Connect Core 1.0 §5.3).",
     ROUTE_ANYONE | ROUTE_ENVELOPE_NONE, .data = fields},
    {POST, "/auth/userinfo", userinfo, NULL, "userinfoByPost", "The same, for clients that ask so.",
     ROUTE_ANYONE | ROUTE_ENVELOPE_NONE | ROUTE_NO_BODY | ROUTE_NO_AUDIT, .body = none, .data = fields},
    ROUTE_END};
// clang-format on

static void answer(struct request *r, const struct user *u)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &r->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    if (u != NULL) {
        json_key(&o, S("email"));
        json_put_str(&o, u->email);
    }
    json_key(&o, S("name"));
    json_put_str(&o, u != NULL ? u->name : r->caller.name);
    json_key(&o, S("sub"));
    json_put_str(&o, r->caller.id);
    json_key(&o, S("tenant_id"));
    json_put_str(&o, r->caller.tenant);
    json_close(&o, '}');
    if (b.failed)
        reply_error(r, SYS_OVERLOADED);
    else
        reply_raw(r, 200, "application/json", buf_view(&b));
}

static void found(void *arg, enum code c, const struct user *u)
{
    struct request *r = arg;
    if (c != OK)
        reply_error(r, c);
    else
        answer(r, u);
}

static enum flow userinfo(struct request *r)
{
    if (r->caller.type != CALLER_USER) {
        answer(r, NULL);
        return DONE;
    }
    enum code c = user_by_id(r->worker, &r->arena, (struct space){r->caller.partition, r->caller.tenant}, r->caller.id,
                             &r->ops, found, r);
    return c == OK ? WAIT : reply_error(r, c);
}

const struct resource userinfo_resource = {
    .kind = "userinfo",
    .plural = "userinfo",
    .tag = "OAUTH",
    .doc = "Who has a token.",
    .routes = routes,
};
