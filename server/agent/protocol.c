#include "server/agent/protocol.h"
#include "lib/clock.h"
#include "lib/id.h"
#include "server/agent/deploy.h"

const char *const protocol_refusals[PROTOCOL_REFUSALS] = {"busy", "capability_missing", "expired", "invalid"};

// clang-format off
static const struct protocol_cause causes[] = {
    {PROTOCOL_EXIT,        true},
    {PROTOCOL_SIGNAL,      true},
    {PROTOCOL_TIMEOUT,     true},
    {PROTOCOL_CANCELLED,   false},
    {PROTOCOL_LOST,        true},
    {PROTOCOL_START,       false},
    {PROTOCOL_PAYLOAD,     false},
    {PROTOCOL_DIGEST,      false},
    {PROTOCOL_DOWNLOAD,    true},
    {PROTOCOL_GUARD,       false},
    {PROTOCOL_TOO_LARGE,   false},
    {PROTOCOL_UNPACK,      false},
    {PROTOCOL_HOOK,        true},
    {PROTOCOL_TARGET_BUSY, true},
    {PROTOCOL_TARGET,      true},
    {PROTOCOL_UNHEALTHY,   false},
};

static const struct {
    const char *type, *capability;
} types[] = {
    {PROTOCOL_EXECUTE, "script"},
    {"deploy",         DEPLOY_CAPABILITY},
    {"rollback",       DEPLOY_CAPABILITY},
    {"health-check",   DEPLOY_CAPABILITY},
    {"write-sticker",  DEPLOY_CAPABILITY},
    {"read-sticker",   DEPLOY_CAPABILITY},
};
// clang-format on

const struct protocol_cause *protocol_cause(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(causes); i++)
        if (str_eqz(name, causes[i].name))
            return &causes[i];
    return NULL;
}

const char *protocol_capability(struct str type)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eqz(type, types[i].type))
            return types[i].capability;
    return NULL;
}

static bool task_id_is_safe(struct str id)
{
    if (id.n == 0 || id.n >= PROTOCOL_ID || id.p[0] == '.')
        return false;
    for (size_t i = 0; i < id.n; i++) {
        char c = id.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
              c == '.' || c == ':'))
            return false;
    }
    return true;
}

static bool time_read(const struct json *j, const char *name, int64_t *out)
{
    const struct json *text = json_get(j, name);
    *out = 0;
    return json_is(text, JSON_ABSENT) || json_is(text, JSON_NULL) || clock_parse(json_str(text), out);
}

bool task_read(const struct json *j, struct task *out, const char **fault)
{
    struct task t = {
        .id = json_str(json_get(j, "id")),
        .type = json_str(json_get(j, "type")),
        .idempotency_key = json_str(json_get(j, "idempotencyKey")),
        .priority = json_str(json_get(j, "priority")),
        .target_id = json_str(json_get(j, "targetId")),
        .timeout_s = json_real(json_get(j, "timeout"), 0),
        .payload = json_get(j, "payload"),
        .credentials = json_get(j, "credentials"),
    };
    if (!task_id_is_safe(t.id))
        *fault = "id is missing or has other characters than letters, digits and -_.:";
    else if (t.type.n == 0)
        *fault = "type is missing";
    else if (t.idempotency_key.n == 0 || t.idempotency_key.n > 255)
        *fault = "idempotencyKey is missing or longer than 255 bytes";
    else if (!(t.timeout_s >= 0 && t.timeout_s <= 604800))
        *fault = "timeout is not within 0 and 604800 seconds";
    else if (!json_is(t.payload, JSON_OBJECT))
        *fault = "payload is no object";
    else if (t.credentials != NULL && !json_is(t.credentials, JSON_OBJECT) && !json_is(t.credentials, JSON_NULL))
        *fault = "credentials is no object";
    else if (!time_read(j, "assignedAt", &t.assigned_ms) || !time_read(j, "expiresAt", &t.expires_ms))
        *fault = "assignedAt or expiresAt is no time";
    else {
        *out = t;
        return true;
    }
    return false;
}

static void put_optional(struct json_out *o, struct str name, struct str value)
{
    if (value.n == 0)
        return;
    json_key(o, name);
    json_put_str(o, value);
}

void task_write(struct json_out *o, const struct task *t)
{
    json_open(o, '{');
    if (t->assigned_ms != 0) {
        json_key(o, S("assignedAt"));
        json_put_time(o, t->assigned_ms);
    }
    if (json_is(t->credentials, JSON_OBJECT)) {
        json_key(o, S("credentials"));
        json_put(o, t->credentials);
    }
    if (t->expires_ms != 0) {
        json_key(o, S("expiresAt"));
        json_put_time(o, t->expires_ms);
    }
    put_optional(o, S("id"), t->id);
    put_optional(o, S("idempotencyKey"), t->idempotency_key);
    json_key(o, S("payload"));
    json_put(o, t->payload);
    put_optional(o, S("priority"), t->priority);
    put_optional(o, S("targetId"), t->target_id);
    json_key(o, S("timeout"));
    json_put_real(o, t->timeout_s);
    put_optional(o, S("type"), t->type);
    json_close(o, '}');
}

/* "build-it" of a workflow, "12-deploy" of a job. */
static bool node_is_valid(struct str node)
{
    size_t digits = 0;
    while (digits < node.n && node.p[digits] >= '0' && node.p[digits] <= '9')
        digits++;
    size_t from = digits == 0 ? 0 : digits + 1;
    if (from >= node.n || node.n > PROTOCOL_NODE || (digits > 0 && node.p[digits] != '-') || node.p[from] < 'a' ||
        node.p[from] > 'z')
        return false;
    for (size_t i = from; i < node.n; i++) {
        char c = node.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

bool task_place(struct str id, struct task_place *out)
{
    struct task_place place;
    place.run = str_cut(&id, ':');
    place.node = str_cut(&id, ':');
    if (!id_is_uuid(place.run, NULL) || !node_is_valid(place.node) || id.n > 3 || (id.n > 0 && id.p[0] == '0'))
        return false;
    if (!str_i64(id, &place.attempt) || place.attempt < 1)
        return false;
    *out = place;
    return true;
}

void task_place_write(struct buf *b, const struct task_place *place)
{
    buf_str(b, place->run);
    buf_char(b, ':');
    buf_str(b, place->node);
    buf_char(b, ':');
    buf_i64(b, place->attempt);
}
