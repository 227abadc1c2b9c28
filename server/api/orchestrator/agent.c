/* Agents: the programs that carry tasks out (server/agent/), as the server sees them. */
#include "server/api/orchestrator/resources.h"

#include "lib/id.h"
#include "proto/http.h"
#include "proto/query.h"
#include "server/agent/protocol.h"
#include "server/api/orchestrator/agent_token.h"
#include "server/auth.h"
#include "server/crud.h"
#include "server/engine/agents.h"
#include "server/engine/choose.h"
#include "server/settings.h"
#include "server/task_stream.h"
#include "server/worker.h"

#include <stdio.h>

static const char *const statuses[] = {"online", "offline", "degraded", NULL};
static const char *const lifecycles[] = {"active", "inactive", "revoked", NULL};
static const char *const levels[] = {"debug", "info", "warn", "error", NULL};

// clang-format off
static const struct field config_fields[] = {
    {"heartbeatInterval", FIELD_INT, FIELD_ALWAYS, .min = 1, .max = 3600, .preset = "30", .doc = "Seconds between heartbeats."},
    {"taskPollInterval",  FIELD_INT, FIELD_ALWAYS, .min = 1, .max = 3600, .preset = "5", .doc = "Seconds between heartbeats of an agent that polls for tasks."},
    {"logLevel",          FIELD_ENUM, FIELD_ALWAYS, .choices = levels, .preset = "\"info\"", .doc = "How much the agent logs."},
    {0}};

static const struct field protocol_fields[] = {
    {"min", FIELD_INT, FIELD_REQUIRED, .min = 1, .max = 1000},
    {"max", FIELD_INT, FIELD_REQUIRED, .min = 1, .max = 1000},
    {0}};

static const struct field usage_fields[] = {
    {"cpuPercent",    FIELD_NUMBER, .min = 0, .max = 100},
    {"memoryPercent", FIELD_NUMBER, .min = 0, .max = 100},
    {"diskPercent",   FIELD_NUMBER, .min = 0, .max = 100},
    {0}};

#define NAME(flags) {"name", FIELD_STRING, flags, .min = 1, .max = 63, .pattern = "^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$", .doc = "Unique in the tenant."}
#define VERSION(flags) {"version", FIELD_STRING, flags, .min = 1, .max = 64, .doc = "Of the agent program."}
#define CAPABILITIES(flags) {"capabilities", FIELD_LIST, flags, .item = FIELD_ENUM, .choices = agent_capabilities, .max = 16, .doc = "What it can carry out."}
#define LABELS(flags) {"labels", FIELD_MAP, flags, .item = FIELD_STRING, .item_max = 255, .max = 64, .preset = "{}", .doc = "What steps can ask for."}
#define MAX_TASKS(flags) {"maxTasks", FIELD_INT, flags, .min = 1, .max = 1000, .preset = "4", .doc = "Tasks at once."}
#define PROTOCOL {"protocol", FIELD_OBJECT, .fields = protocol_fields, .doc = "Versions of the task stream's protocol it speaks."}
#define CONFIG(flags) {"config", FIELD_OBJECT, flags, .fields = config_fields, .preset = "{}", .doc = "Sent to the agent when it changes."}

static const struct field fields[] = {
    {"id",             FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"tenantId",       FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    NAME(FIELD_REQUIRED | FIELD_FILTER | FIELD_SORT | FIELD_UNIQUE),
    VERSION(FIELD_READONLY | FIELD_SEARCH),
    {"protocol",       FIELD_OBJECT, FIELD_READONLY, .fields = protocol_fields},
    {"status",         FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER, .choices = statuses,
     .doc = "By its heartbeats: degraded after two silent intervals, offline after three."},
    {"lifecycleState", FIELD_ENUM,   FIELD_FILTER | FIELD_ALWAYS, .choices = lifecycles, .preset = "\"active\"",
     .doc = "inactive: it gets no new tasks and finishes running ones. revoked: for good."},
    CAPABILITIES(FIELD_READONLY | FIELD_REQUIRED | FIELD_FILTER),
    LABELS(FIELD_FILTER),
    MAX_TASKS(0),
    CONFIG(0),
    {"lastHeartbeat",  FIELD_TIME,   FIELD_READONLY | FIELD_LIVE | FIELD_NULLABLE},
    {"resourceUsage",  FIELD_OBJECT, FIELD_READONLY | FIELD_LIVE | FIELD_NULLABLE, .fields = usage_fields},
    {"runningTasks",   FIELD_INT,    FIELD_READONLY | FIELD_LIVE, .min = 0, .max = 1000000, .doc = "Tasks it was given and has not completed."},
    {"registeredAt",   FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED},
    DOCUMENT_STAMPS,
    {0}};

static const struct field register_fields[] = {
    NAME(FIELD_REQUIRED), VERSION(FIELD_REQUIRED), CAPABILITIES(FIELD_REQUIRED | FIELD_UNIQUE_ITEMS), LABELS(0), MAX_TASKS(0), PROTOCOL,
    {"csr", FIELD_STRING, FIELD_WRITEONLY, .max = 16384, .doc = "Taken and not used: certificates are made by what terminates TLS."},
    {0}};
static const struct field registered_fields[] = {
    {"agentId",      FIELD_UUID,   FIELD_REQUIRED},
    {"token",        FIELD_STRING, FIELD_REQUIRED, .max = 8192, .doc = "For everything else the agent asks; a JWT."},
    {"expiresIn",    FIELD_INT,    FIELD_REQUIRED, .doc = "Seconds the token is good for."},
    {"refreshToken", FIELD_STRING, FIELD_REQUIRED, .max = 64, .doc = "For POST /agents/token."},
    CONFIG(FIELD_REQUIRED),
    {0}};
static const struct field renew_fields[] = {
    {"refreshToken", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 64, .doc = "The last one that was answered."},
    {0}};

static const struct field heartbeat_fields[] = {
    VERSION(0), CAPABILITIES(FIELD_UNIQUE_ITEMS),
    {"status",         FIELD_ENUM, FIELD_WRITEONLY, .choices = statuses, .doc = "offline: the last one before the agent stops; it is offline at once, and its tasks that it does not name go to others. Anything else is taken and not used: a heartbeat is a sign of being online."},
    {"resourceUsage",  FIELD_OBJECT, .fields = usage_fields},
    {"runningTaskIds", FIELD_LIST, .item = FIELD_STRING, .item_max = PROTOCOL_ID, .max = 1000, .doc = "All tasks it knows and has not reported completely."},
    {"csr",            FIELD_STRING, FIELD_WRITEONLY, .max = 16384, .doc = "Taken and not used."},
    {0}};
static const struct field answer_fields[] = {
    {"serverTime",    FIELD_TIME, FIELD_REQUIRED},
    CONFIG(FIELD_REQUIRED),
    {"tasks",         FIELD_LIST, FIELD_REQUIRED, .item = FIELD_OBJECT, .doc = "Envelopes of its open tasks."},
    {"cancelTaskIds", FIELD_LIST, FIELD_REQUIRED, .item = FIELD_STRING, .doc = "Of the tasks it runs, those that are not wanted any more."},
    {0}};

static const struct field list_query[] = {
    {"capability", FIELD_ENUM, .choices = agent_capabilities, .doc = "Agents that have it."},
    {0}};
static const struct field delete_query[] = {
    {"force", FIELD_BOOL, .preset = "false", .doc = "Also while it has tasks: they fail."},
    {0}};

static const struct field register_headers[] = {
    {"X-Agent-Token", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 64, .doc = "A registration token."},
    {0}};

static enum flow agent_register(struct request *r);
static enum flow agent_list(struct request *r);
static enum flow agent_update(struct request *r);
static enum flow agent_delete(struct request *r);
static enum flow agent_heartbeat(struct request *r);

static const struct route routes[] = {
    {POST, "/agents/register", agent_register, NULL, "registerAgent",
     "Register an agent with a one-time registration token in the header X-Agent-Token.", ROUTE_PUBLIC | ROUTE_SECRET,
     .status = 201, .body = register_fields, .data = registered_fields, .headers = register_headers, .action = "agent.registered",
     .codes = {AUTH_TOKEN_MISSING, AUTH_TOKEN_INVALID, AUTH_TOKEN_EXPIRED, AGT_TOKEN_USED, RES_ALREADY_EXISTS, RES_QUOTA_EXCEEDED}},
    {POST, "/agents/token", agent_token_renew, NULL, "renewAgentToken",
     "Exchange a refresh token for a fresh access token and the next refresh token. The old one is good until the next one was used.",
     ROUTE_PUBLIC | ROUTE_SECRET, .body = renew_fields, .data = registered_fields,
     .codes = {AUTH_TOKEN_INVALID, AUTH_TOKEN_EXPIRED, AGT_REVOKED}},
    {GET, "/agents", agent_list, "agent:read", "listAgents", "List agents.", ROUTE_LIST, .query = list_query},
    {GET, "/agents/{id}", crud_get, "agent:read", "getAgent", "Read an agent."},
    {PUT | PATCH, "/agents/{id}", agent_update, "agent:update", "updateAgent",
     "Change an agent; what is not given stays. A revoked agent cannot be changed.", .codes = {RES_INVALID_STATE}},
    {DELETE, "/agents/{id}", agent_delete, "agent:delete", "deleteAgent",
     "Revoke an agent's tokens and delete it. 409 while it has tasks, unless forced.", .status = 204, .query = delete_query,
     .codes = {RES_IN_USE}},
    {POST, "/agents/{id}/heartbeat", agent_heartbeat, "agent:connect", "agentHeartbeat",
     "Only for the agent itself: it lives. Answers its open tasks.", ROUTE_NO_AUDIT | ROUTE_NO_RATE | ROUTE_NO_BODY,
     .body = heartbeat_fields, .data = answer_fields, .codes = {RES_NOT_FOUND, AGT_REVOKED}},
    {GET, "/agents/{id}/task-stream", task_stream_open, "agent:connect", "streamAgentTasks",
     "Only for the agent itself: its tasks, live, over a WebSocket. The messages are described in /asyncapi.json.",
     ROUTE_STREAM | ROUTE_WS_ONLY | ROUTE_ENVELOPE_NONE, .query = task_stream_query,
     .codes = {RES_NOT_FOUND, RES_UPGRADE_REQUIRED, RATE_LIMIT_EXCEEDED, AGT_REVOKED}},
    ROUTE_END};
// clang-format on

static struct space space_of(const struct request *r)
{
    return (struct space){r->caller.partition, r->caller.tenant};
}

/* --- registration --- */

struct registration {
    struct agent_tokens tokens;
};

static enum flow refuse_token(struct request *r, enum code c)
{
    request_refuse(r, c, "the registration token in X-Agent-Token: %s", code_text(c));
    return reply_error(r, c);
}

static void add_roster(struct request *r, struct change *c, const struct json *whole)
{
    struct buf roster;
    buf_init_arena(&roster, &r->arena, 256);
    agents_roster(&roster, whole);
    commit_roster(c->commit, c->id, roster.failed ? STR_NONE : buf_view(&roster));
}

/* The members that the commit stores, for what reads a whole document. */
static const struct json *whole_of(struct request *r, struct change *c)
{
    struct str text = document_render(&r->arena, c->resource->fields, c->whole, c->old, &c->set);
    return text.p != NULL ? json_parse(&r->arena, text, NULL, NULL) : NULL;
}

static void set_config(struct request *r, struct change *c)
{
    int64_t interval = r->worker->settings->agent_heartbeat / 1000;
    struct str text = arena_printf(
        &r->arena, "{\"heartbeatInterval\":%lld,\"logLevel\":\"info\",\"taskPollInterval\":5}", (long long)interval);
    overlay_raw(&c->set, "config", text);
}

static enum code register_prepare(struct request *r, struct change *c)
{
    struct registration *reg = arena_new(&r->arena, struct registration);
    struct str record = agent_token_record(r);
    if (reg == NULL || record.p == NULL)
        return SYS_OVERLOADED;
    c->state = reg;
    overlay_str(&c->set, "status", S("online"));
    overlay_str(&c->set, "lifecycleState", S("active"));
    overlay_time(&c->set, "registeredAt", c->now_ms);
    overlay_json(&c->set, "capabilities", json_get(c->whole, "capabilities"));
    overlay_json(&c->set, "version", json_get(c->whole, "version"));
    if (json_get(c->whole, "protocol") != NULL)
        overlay_json(&c->set, "protocol", json_get(c->whole, "protocol"));
    set_config(r, c);
    const struct json *whole = whole_of(r, c);
    if (whole == NULL)
        return SYS_OVERLOADED;
    commit_expect_exists(c->commit, AUTH_TOKEN_INVALID, "token", record);
    commit_expect_field(c->commit, AGT_TOKEN_USED, "token", record, S("used"), STR_NONE);
    commit_hset(c->commit, record, S("used"), c->id);
    add_roster(r, c, whole);
    commit_beat(c->commit, c->id, true);
    agents_tell_status(c->commit, &r->arena, c->id, json_str(json_get(whole, "name")), S("online"), S("active"));
    agent_tokens_make(&reg->tokens, r, c->commit, c->id, json_str(json_get(whole, "name")), STR_NONE);
    return reg->tokens.failed ? SYS_OVERLOADED : OK;
}

static enum flow registered(struct request *r, struct change *c)
{
    struct registration *reg = c->state;
    const struct json *after = json_parse(&r->arena, c->after, NULL, NULL);
    agents_offer(r->worker, space_of(r));
    return reply_data(r, 201, agent_tokens_answer(&reg->tokens, r, c->id, json_get(after, "config")));
}

static void token_known(struct request *r, enum code c)
{
    if (c != OK)
        refuse_token(r, c);
    else
        crud_commit(r, CHANGE_CREATE, register_prepare, "agent.registered", registered);
}

static enum flow agent_register(struct request *r)
{
    struct str token = http_header(r->head, S("x-agent-token"));
    if (token.n == 0)
        return refuse_token(r, AUTH_TOKEN_MISSING);
    enum code c = agent_token_check(r, token, token_known);
    return c == OK ? WAIT : refuse_token(r, c);
}

/* --- list --- */

/* `capability` is the field's name in the singular. */
static enum flow agent_list(struct request *r)
{
    for (size_t i = 0; r->query != NULL && i < r->query->n; i++)
        if (str_eqz(r->query->params[i].name, "capability"))
            r->query->params[i].name = S("capabilities");
    return crud_list(r);
}

/* --- live members --- */

enum { LIVE_AT_ONCE = 32 };

struct living {
    struct request *r;
    struct document *documents;
    size_t n, at;
};

static enum code read_live(struct living *l);

static void live_read(void *arg, enum code c, const struct redis_value *v)
{
    struct living *l = arg;
    struct request *r = l->r;
    for (size_t i = 0; c == OK && i < LIVE_AT_ONCE && l->at < l->n; i++, l->at++) {
        struct str pulse = redis_text(redis_at(v, 2 * i));
        struct document *d = &l->documents[l->at];
        if (pulse.n == 0)
            pulse = S("\"lastHeartbeat\":null,\"resourceUsage\":null");
        d->live = arena_printf(&r->arena, STR_FMT ",\"runningTasks\":%lld", STR_ARG(pulse),
                               (long long)redis_int(redis_at(v, 2 * i + 1), 0));
        c = d->live.p == NULL ? SYS_OVERLOADED : OK;
    }
    if (c == OK && l->at < l->n)
        c = read_live(l);
    else if (c == OK)
        crud_enriched(r);
    if (c != OK)
        reply_error(r, c);
}

static enum code read_live(struct living *l)
{
    struct arena *a = &l->r->arena;
    struct store_command commands[2 * LIVE_AT_ONCE];
    size_t n = 0;
    for (size_t i = l->at; i < l->n && n < ARRAY_LEN(commands); i++) {
        struct str *argv = arena_array(a, 5, sizeof *argv);
        if (argv == NULL)
            return SYS_OVERLOADED;
        argv[0] = S("HGET");
        argv[1] = key_document(a, space_of(l->r), AGENT_KIND, l->documents[i].id);
        argv[2] = S(AGENT_PULSE);
        argv[3] = S("HLEN");
        argv[4] = key_tasks(a, space_of(l->r), l->documents[i].id);
        commands[n++] = (struct store_command){3, argv};
        commands[n++] = (struct store_command){2, argv + 3};
    }
    return store_read(l->r->worker->store, commands, n, &l->r->ops, live_read, l);
}

static enum flow agent_live(struct request *r, struct document *documents, size_t n)
{
    if (n == 0)
        return NEXT;
    struct living *l = arena_new(&r->arena, struct living);
    if (l == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *l = (struct living){.r = r, .documents = documents, .n = n};
    enum code c = read_live(l);
    return c == OK ? WAIT : reply_error(r, c);
}

/* --- change and delete --- */

struct leaving { /* what has to be known of an agent that is to go */
    struct request *r;
    struct change *change;
    struct redis_value open; /* its open tasks; ids only */
};

static bool is_revoking(struct change *c)
{
    return c->verb == CHANGE_DELETE || str_eqz(json_str(change_member(c, "lifecycleState")), "revoked");
}

static bool is_revoked(const struct json *document)
{
    return str_eqz(json_str(json_get(document, "lifecycleState")), "revoked");
}

/* Ids and empty texts in turn, as agents_gone takes them. */
static bool keep_open(struct leaving *l, const struct redis_value *ids)
{
    struct arena *a = &l->r->arena;
    const struct redis_value **items = arena_array(a, 2 * ids->count + 1, sizeof *items);
    for (size_t i = 0; items != NULL && i < ids->count; i++) {
        struct redis_value *id = arena_new(a, struct redis_value);
        if (id == NULL)
            return false;
        *id = (struct redis_value){.type = REDIS_STRING, .text = arena_str(a, redis_text(redis_at(ids, i)))};
        items[2 * i] = items[2 * i + 1] = id;
    }
    l->open = (struct redis_value){.type = REDIS_ARRAY, .count = 2 * ids->count, .items = items};
    return items != NULL;
}

static void open_read(void *arg, enum code c, const struct redis_value *v)
{
    struct leaving *l = arg;
    if (c == OK && !keep_open(l, v))
        c = SYS_OVERLOADED;
    if (c == OK)
        change_gathered(l->r);
    else
        reply_error(l->r, c);
}

static enum flow agent_gather(struct request *r, struct change *c)
{
    if (c->verb == CHANGE_CREATE || !is_revoking(c))
        return NEXT;
    struct leaving *l = arena_new(&r->arena, struct leaving);
    if (l == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *l = (struct leaving){.r = r, .change = c};
    c->state = l;
    const struct store_command read = STORE_COMMAND(S("HKEYS"), key_tasks(&r->arena, space_of(r), c->id));
    enum code code = store_read(r->worker->store, &read, 1, &r->ops, open_read, l);
    return code == OK ? WAIT : reply_error(r, code);
}

static void leaves(struct request *r, struct change *c)
{
    struct leaving *l = c->state;
    struct str tasks = key_tasks(&r->arena, space_of(r), c->id);
    commit_expect_at_most(c->commit, RES_VERSION_CONFLICT, "pin", tasks, (int64_t)l->open.count / 2);
    agents_gone(c->commit, &r->arena, c->id, &l->open);
    agents_tell_status(c->commit, &r->arena, c->id, json_str(json_get(c->old, "name")), S("offline"), S("revoked"));
    agent_tokens_revoke(r, c->commit, c->id, c->now_ms);
}

static enum code delete_prepare(struct request *r, struct change *c)
{
    struct leaving *l = c->state;
    size_t n = l->open.count / 2;
    if (n > 0 && !json_bool(json_get(r->parameters, "force"), false)) {
        r->details = arena_printf(&r->arena, "{\"runningTasks\":%zu}", n);
        return request_refuse(r, RES_IN_USE, "it has %zu running task%s; `force=true` deletes it all the same", n,
                              n == 1 ? "" : "s");
    }
    leaves(r, c);
    return OK;
}

static void tell_config(struct request *r, struct change *c, const struct json *config)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &r->arena, 128);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("config"));
    json_put(&o, config);
    json_key(&o, S("type"));
    json_put_z(&o, "config_update");
    json_close(&o, '}');
    commit_event(c->commit, arena_printf(&r->arena, "agent:" STR_FMT, STR_ARG(c->id)),
                 b.failed ? STR_NONE : str_slice(buf_view(&b), 1, b.n));
}

static enum code update_prepare(struct request *r, struct change *c)
{
    if (is_revoked(c->old))
        return change_refuse_state(r, "revoked", (const char *[]){"delete", NULL});
    if (is_revoking(c)) {
        overlay_str(&c->set, "status", S("offline"));
        leaves(r, c);
        return OK;
    }
    const struct json *whole = whole_of(r, c);
    if (whole == NULL)
        return SYS_OVERLOADED;
    add_roster(r, c, whole);
    if (!json_equal(json_get(whole, "lifecycleState"), json_get(c->old, "lifecycleState")))
        agents_tell_status(c->commit, &r->arena, c->id, json_str(json_get(whole, "name")),
                           json_str(json_get(whole, "status")), json_str(json_get(whole, "lifecycleState")));
    if (!json_equal(json_get(whole, "config"), json_get(c->old, "config")))
        tell_config(r, c, json_get(whole, "config"));
    return OK;
}

static enum flow updated(struct request *r, struct change *c)
{
    struct document *d = arena_new(&r->arena, struct document);
    if (d == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *d = (struct document){.id = c->id, .json = c->after, .revision = c->revision};
    struct leaving *l = c->state;
    if (l != NULL)
        agents_told(r->worker, space_of(r), &l->open);
    else
        agents_offer(r->worker, space_of(r));
    return crud_answer(r, 200, d);
}

static enum flow deleted(struct request *r, struct change *c)
{
    struct leaving *l = c->state;
    agents_told(r->worker, space_of(r), &l->open);
    return reply_empty(r, 204);
}

static enum flow agent_update(struct request *r)
{
    return crud_commit(r, CHANGE_UPDATE, update_prepare, NULL, updated);
}

static enum flow agent_delete(struct request *r)
{
    return crud_commit(r, CHANGE_DELETE, delete_prepare, NULL, deleted);
}

/* --- heartbeat --- */

static void put_tasks(struct json_out *o, const struct redis_value *open)
{
    json_open(o, '[');
    for (size_t i = 0; i + 1 < open->count; i += 2)
        json_put_raw(o, redis_text(redis_at(open, i + 1)));
    json_close(o, ']');
}

static void beaten(void *arg, enum code c, const struct beaten *b)
{
    struct request *r = arg;
    struct buf text;
    struct json_out o;
    if (c != OK) {
        reply_error(r, c);
        return;
    }
    buf_init_arena(&text, &r->arena, 512);
    json_out_init(&o, &text);
    json_open(&o, '{');
    json_key(&o, S("cancelTaskIds"));
    json_open(&o, '[');
    for (size_t i = 0; i < b->unknown_count; i++)
        json_put_str(&o, b->unknown[i]);
    json_close(&o, ']');
    json_key(&o, S("config"));
    json_put(&o, json_get(b->document, "config"));
    json_key(&o, S("serverTime"));
    json_put_time(&o, b->now_ms);
    json_key(&o, S("tasks"));
    put_tasks(&o, b->open);
    json_close(&o, '}');
    if (text.failed)
        reply_error(r, SYS_OVERLOADED);
    else
        reply_data(r, 200, buf_view(&text));
}

static enum flow agent_heartbeat(struct request *r)
{
    char id[ID_UUID];
    if (!id_is_uuid(r->params[0], id))
        return reply_error(r, RES_NOT_FOUND);
    if (r->caller.type != CALLER_AGENT || !str_eqz(r->caller.id, id)) {
        request_refuse(r, PERM_DENIED, "only the agent itself may say that it lives");
        return reply_error(r, PERM_DENIED);
    }
    const struct beat beat = {.usage = json_get(r->json, "resourceUsage"),
                              .version = json_str(json_get(r->json, "version")),
                              .capabilities = json_get(r->json, "capabilities"),
                              .running = json_get(r->json, "runningTaskIds"),
                              .leaves = str_eqz(json_str(json_get(r->json, "status")), "offline")};
    enum code c = agents_beat(r->worker, space_of(r), str_z(id), &beat, &r->ops, beaten, r);
    return c == OK ? WAIT : reply_error(r, c);
}

const struct resource agent_resource = {
    .kind = AGENT_KIND,
    .plural = "agents",
    .tag = "ENVMGR",
    .doc = "Programs that carry tasks out on their hosts.",
    .fields = fields,
    .routes = routes,
    .gather = agent_gather,
    .live = agent_live,
};
