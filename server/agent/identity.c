#include "server/agent/identity.h"
#include "lib/clock.h"
#include "server/agent/file.h"
#include "server/agent/protocol.h"
#include "server/commands.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#define IDENTITY_FILE "identity.json"

static bool text_copy(char *to, size_t room, struct str from)
{
    if (from.n == 0 || from.n >= room)
        return false;
    memcpy(to, from.p, from.n);
    to[from.n] = '\0';
    return true;
}

int identity_load(struct identity *id, int data)
{
    struct buf b = {0};
    struct arena a;
    arena_init(&a, 0);
    int error = file_read(data, IDENTITY_FILE, &b);
    if (error == 0) {
        const struct json *j = json_parse(&a, buf_view(&b), NULL, NULL);
        bool good = text_copy(id->agent, sizeof id->agent, json_str(json_get(j, "agentId"))) &&
                    text_copy(id->token, sizeof id->token, json_str(json_get(j, "token"))) &&
                    text_copy(id->refresh, sizeof id->refresh, json_str(json_get(j, "refreshToken")));
        id->expires_ms = json_int(json_get(j, "expiresMs"), 0);
        error = good ? 0 : EINVAL;
    }
    arena_fini(&a);
    if (b.p != NULL)
        explicit_bzero(b.p, b.cap);
    buf_free(&b);
    return error;
}

int identity_save(const struct identity *id, int data)
{
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("agentId"));
    json_put_z(&o, id->agent);
    json_key(&o, S("expiresMs"));
    json_put_int(&o, id->expires_ms);
    json_key(&o, S("refreshToken"));
    json_put_z(&o, id->refresh);
    json_key(&o, S("token"));
    json_put_z(&o, id->token);
    json_close(&o, '}');
    int error = b.failed ? ENOMEM : file_replace(data, IDENTITY_FILE, buf_view(&b), true);
    if (b.p != NULL)
        explicit_bzero(b.p, b.cap);
    buf_free(&b);
    return error;
}

/* --- calls --- */

static enum identity_result take_answer(struct identity *id, const struct json *data)
{
    struct identity fresh = *id;
    struct str agent = json_str(json_get(data, "agentId"));
    if (agent.n > 0 && !text_copy(fresh.agent, sizeof fresh.agent, agent))
        return IDENTITY_LATER;
    if (fresh.agent[0] == '\0' || !text_copy(fresh.token, sizeof fresh.token, json_str(json_get(data, "token"))) ||
        !text_copy(fresh.refresh, sizeof fresh.refresh, json_str(json_get(data, "refreshToken"))))
        return IDENTITY_LATER;
    fresh.expires_ms = clock_wall_ms() + 1000 * json_int(json_get(data, "expiresIn"), 3600);
    *id = fresh;
    return IDENTITY_OK;
}

static void answered(void *arg, const struct client_answer *answer)
{
    struct identity_call *call = arg;
    struct arena a;
    char why[256];
    enum identity_result result = IDENTITY_LATER;
    arena_init(&a, 0);
    const struct json *j = answer->status != 0 ? json_parse(&a, answer->body, NULL, NULL) : NULL;
    if (answer->status == 0) {
        snprintf(why, sizeof why, "%s", answer->error);
    } else if (answer->status == 200 || answer->status == 201) {
        result = take_answer(call->identity, json_get(j, "data"));
        snprintf(why, sizeof why, "%s", result == IDENTITY_OK ? "" : "the answer lacks agentId, token or refreshToken");
    } else {
        struct str code = json_str(json_path(j, S("error.code"))), text = json_str(json_path(j, S("error.message")));
        snprintf(why, sizeof why, "%d " STR_FMT ": " STR_FMT, answer->status, STR_ARG(code), STR_ARG(text));
        if (answer->status >= 400 && answer->status < 500 && answer->status != 408 && answer->status != 429)
            result = IDENTITY_REFUSED;
    }
    arena_fini(&a);
    call->then(call->arg, result, why);
}

static void facts_write(struct json_out *o, const struct identity_facts *facts)
{
    json_open(o, '{');
    json_key(o, S("capabilities"));
    json_open(o, '[');
    for (size_t i = 0; i < facts->capability_count; i++)
        json_put_z(o, facts->capabilities[i]);
    json_close(o, ']');
    json_key(o, S("labels"));
    json_open(o, '{');
    for (size_t i = 0; i < facts->label_count; i++) {
        struct str value = str_z(facts->label_texts[i]), name = str_cut(&value, '=');
        json_key(o, name);
        json_put_str(o, value.p != NULL ? value : S(""));
    }
    json_close(o, '}');
    json_key(o, S("maxTasks"));
    json_put_int(o, facts->max_tasks);
    json_key(o, S("name"));
    json_put_str(o, facts->name);
    json_key(o, S("protocol"));
    json_open(o, '{');
    json_key(o, S("max"));
    json_put_int(o, PROTOCOL_VERSION);
    json_key(o, S("min"));
    json_put_int(o, PROTOCOL_VERSION);
    json_close(o, '}');
    json_key(o, S("version"));
    json_put_z(o, SLIPWAY_VERSION);
    json_close(o, '}');
}

bool identity_register(struct identity_call *call, struct loop *loop, const struct client_url *url, struct str token,
                       const struct identity_facts *facts, struct ops *ops)
{
    struct buf body = {0};
    struct json_out o;
    json_out_init(&o, &body);
    facts_write(&o, facts);
    const struct client_header headers[] = {{"X-Agent-Token", token}, {0}};
    const struct client_request request = {.url = url,
                                           .method = "POST",
                                           .path = S("/api/v1/agents/register"),
                                           .headers = headers,
                                           .body = buf_view(&body)};
    bool begun = !body.failed && client_call(loop, &request, ops, answered, call);
    buf_free(&body);
    return begun;
}

bool identity_renew(struct identity_call *call, struct loop *loop, const struct client_url *url, struct ops *ops)
{
    struct buf body = {0};
    struct json_out o;
    json_out_init(&o, &body);
    json_open(&o, '{');
    json_key(&o, S("refreshToken"));
    json_put_z(&o, call->identity->refresh);
    json_close(&o, '}');
    const struct client_request request = {
        .url = url, .method = "POST", .path = S("/api/v1/agents/token"), .body = buf_view(&body)};
    bool begun = !body.failed && client_call(loop, &request, ops, answered, call);
    if (body.p != NULL)
        explicit_bzero(body.p, body.cap);
    buf_free(&body);
    return begun;
}
