#include "server/asyncapi.h"

#include <stdio.h>
#include <string.h>

#include "server/api/orchestrator/resources.h"
#include "server/asyncapi_message.h"
#include "server/dashboard/figures.h"
#include "server/engine/job_start.h"
#include "server/feed.h"
#include "server/request.h"

struct stream {
    enum message_stream which;
    const char *name, *address, *title, *doc;
    const struct field *query;
};

#define TOKEN_QUERY                                                                                                    \
    {                                                                                                                  \
        "token", FIELD_STRING, .max = 8192,                                                                            \
                               .doc = "An access token that lives at most an hour; API keys are refused here."         \
    }
static const struct field run_query[] = {FEED_QUERY, TOKEN_QUERY, {0}};
static const struct field dashboard_query[] = {FEED_QUERY_OF("environmentId", "environments"), TOKEN_QUERY, {0}};
static const struct field job_query[] = {FEED_QUERY_OF("taskId", "tasks"), TOKEN_QUERY, {0}};

// clang-format off
static const struct stream streams[] = {
    {MESSAGE_RUN, "workflowRun", "/api/v1/workflow-runs/{id}/stream", "Workflow run",
     "Everything that happens to a run. Without `since` the present state comes first, with it every event behind that number; "
     "`since=0` gives both. Subscribing before anything happened is fine, after the end everything is replayed and the stream ends.", run_query},
    {MESSAGE_JOB, "deploymentJob", "/api/v1/deployment-jobs/{id}/stream", "Deployment job",
     "Everything that happens to a job, in the manner of a workflow run's stream. A rollback of a job that has ended is a job of its own, with its own stream.", job_query},
    {MESSAGE_AGENT, "agentTasks", "/api/v1/agents/{id}/task-stream", "Tasks of an agent",
     "Only the agent itself connects; a newer connection replaces the older (4409). Delivery is at least once.", run_query},
    {MESSAGE_DASHBOARD, "dashboard", "/api/v1/dashboard/stream", "Dashboard",
     "The tenant's figures, then what changes. Every connection begins with the figures; `since` adds the events behind that number, which are kept for "
     "ten minutes (after that: `gap`). Whoever has dashboard:read in some environments only is shown their cards and events, and no figure of the tenant's.", dashboard_query},
};
// clang-format on

static void put(struct json_out *o, const char *key, const char *text)
{
    json_key(o, str_z(key));
    json_put_z(o, text);
}

static void put_ref(struct json_out *o, const char *path, const char *name)
{
    char text[256];
    snprintf(text, sizeof(text), "%s%s", path, name);
    json_open(o, '{');
    put(o, "$ref", text);
    json_close(o, '}');
}

static void open_member(struct json_out *o, const char *key)
{
    json_key(o, str_z(key));
    json_open(o, '{');
}

/* What a message is called in the document. */
static const char *name_of(const struct message *m)
{
    return m->name == NULL ? m->type : m->name;
}

/* --- messages --- */

enum { ROWS = 24 };

/* The members every message of the kind has, before its own. */
static void all_rows(const struct message *m, const char *const *type, struct field out[ROWS])
{
    size_t n = 0;
    out[n++] = (struct field){"type", FIELD_ENUM, FIELD_REQUIRED, .choices = type};
    if (m->kind == MESSAGE_EVENT)
        out[n++] =
            (struct field){"seq",    FIELD_INT,        FIELD_REQUIRED,
                           .min = 1, .max = INT64_MAX, .doc = "Number of the event in its channel, without holes."};
    if (m->kind != MESSAGE_CLIENT)
        out[n++] = (struct field){"timestamp", FIELD_TIME, FIELD_REQUIRED, .doc = "The server's clock."};
    for (const struct field *row = m->rows; row != NULL && row->name != NULL && n + 1 < ROWS; row++)
        out[n++] = *row;
    out[n] = (struct field){0};
}

static void job_rows(struct field out[3])
{
    out[0] = (struct field){"job", FIELD_OBJECT, FIELD_REQUIRED, .fields = deployment_job_resource.fields,
                            .doc = "As GET /deployment-jobs/{id} answers it."};
    out[1] = (struct field){"tasks",
                            FIELD_LIST,
                            FIELD_REQUIRED,
                            .max = 3 * JOB_TARGETS_MAX,
                            .item = FIELD_OBJECT,
                            .fields = deployment_task_resource.fields,
                            .doc = "As GET /deployment-jobs/{id}/tasks answers them."};
    out[2] = (struct field){0};
}

static void run_rows(struct field out[3])
{
    out[0] = (struct field){"run", FIELD_OBJECT, FIELD_REQUIRED, .fields = workflow_run_resource.fields,
                            .doc = "As GET /workflow-runs/{id} answers it."};
    out[1] = (struct field){"steps",
                            FIELD_LIST,
                            FIELD_REQUIRED,
                            .item = FIELD_OBJECT,
                            .fields = workflow_step_resource.fields,
                            .doc = "As GET /workflow-runs/{id}/steps answers them."};
    out[2] = (struct field){0};
}

static void put_message(struct json_out *o, const struct message *m)
{
    const char *const type[] = {m->type, NULL};
    struct field rows[ROWS], state[3];
    all_rows(m, type, rows);
    if (strcmp(m->type, "snapshot") == 0) {
        /* The state is told in the words of the resources. */
        (m->streams & MESSAGE_JOB ? job_rows : run_rows)(state);
        for (struct field *row = rows; row->name != NULL; row++)
            if (strcmp(row->name, "data") == 0)
                row->fields = m->streams & MESSAGE_DASHBOARD ? figures_rows : state;
    }
    open_member(o, name_of(m));
    put(o, "name", m->type);
    put(o, "title", m->type);
    put(o, "summary", m->doc);
    put(o, "contentType", "application/json");
    json_key(o, S("payload"));
    field_schema(o, rows, m->kind == MESSAGE_CLIENT);
    json_close(o, '}');
}

/* --- streams --- */

static void put_query(struct json_out *o, const struct field *rows)
{
    open_member(o, "query");
    json_key(o, S("type"));
    json_put_z(o, "object");
    open_member(o, "properties");
    for (const struct field *row = rows; row->name != NULL; row++) {
        json_key(o, str_z(row->name));
        field_schema_value(o, row, FIELD_CREATE);
    }
    json_close(o, '}');
    json_close(o, '}');
}

static void put_stream(struct json_out *o, const struct stream *s)
{
    open_member(o, s->name);
    put(o, "address", s->address);
    put(o, "title", s->title);
    put(o, "description", s->doc);
    if (strstr(s->address, "{id}") != NULL) {
        open_member(o, "parameters");
        open_member(o, "id");
        put(o, "description", "The resource's id, a UUID.");
        json_close(o, '}');
        json_close(o, '}');
    }
    open_member(o, "messages");
    for (const struct message *m = messages; m->type != NULL; m++) {
        if ((m->streams & s->which) == 0)
            continue;
        json_key(o, str_z(name_of(m)));
        put_ref(o, "#/components/messages/", name_of(m));
    }
    json_close(o, '}');
    open_member(o, "bindings");
    open_member(o, "ws");
    put(o, "method", "GET");
    put_query(o, s->query);
    put(o, "bindingVersion", "0.1.0");
    json_close(o, '}');
    json_close(o, '}');
    json_close(o, '}');
}

static void put_operation(struct json_out *o, const struct stream *s, bool client)
{
    char text[160];
    snprintf(text, sizeof(text), "%s%s", s->name, client ? "Receive" : "Send");
    open_member(o, text);
    put(o, "action", client ? "receive" : "send");
    put(o, "summary", client ? "What a client may say." : "What the server sends.");
    json_key(o, S("channel"));
    put_ref(o, "#/channels/", s->name);
    json_key(o, S("security"));
    json_open(o, '[');
    put_ref(o, "#/components/securitySchemes/", "bearer");
    json_close(o, ']');
    json_key(o, S("messages"));
    json_open(o, '[');
    for (const struct message *m = messages; m->type != NULL; m++) {
        if ((m->streams & s->which) == 0 || (m->kind == MESSAGE_CLIENT) != client)
            continue;
        snprintf(text, sizeof(text), "#/channels/%s/messages/", s->name);
        put_ref(o, text, name_of(m));
    }
    json_close(o, ']');
    json_close(o, '}');
}

/* --- the document --- */

static void put_info(struct json_out *o)
{
    open_member(o, "info");
    put(o, "title", "Slipway live streams");
    put(o, "version", "1.0.0");
    put(o, "description",
        "Live streams of the release control plane, over WebSocket (RFC 6455; text messages, each one JSON object) "
        "and, "
        "where a client only listens, server-sent events on the same URL (Accept: text/event-stream). Over server-sent "
        "events each event has the id `epoch:seq`, and Last-Event-ID resumes behind it. Authentication: the "
        "Authorization header, `?token=`, or `auth` as the first message. Close codes: 1000 end; 1001, 1012 the server "
        "goes away; 1013 try again later; 4400 bad message; 4401 unauthenticated or expired; 4403 forbidden or "
        "revoked; "
        "4404 unknown; 4408 no token came in time; 4409 replaced by a newer connection; 4413 message too large; 4429 "
        "slow consumer, resume by `since`.");
    open_member(o, "license");
    put(o, "name", "Apache-2.0");
    put(o, "url", "https://www.apache.org/licenses/LICENSE-2.0");
    json_close(o, '}');
    json_close(o, '}');
}

static void put_servers(struct json_out *o)
{
    open_member(o, "servers");
    open_member(o, "instance");
    put(o, "host", "{host}");
    put(o, "protocol", "ws");
    put(o, "description", "Any instance of the service; TLS is its front's business.");
    open_member(o, "variables");
    open_member(o, "host");
    put(o, "default", "127.0.0.1:8080");
    put(o, "description", "Where it listens.");
    json_close(o, '}');
    json_close(o, '}');
    json_close(o, '}');
    json_close(o, '}');
}

static void put_components(struct json_out *o)
{
    open_member(o, "components");
    open_member(o, "messages");
    for (const struct message *m = messages; m->type != NULL; m++)
        put_message(o, m);
    json_close(o, '}');
    open_member(o, "securitySchemes");
    open_member(o, "bearer");
    put(o, "type", "http");
    put(o, "scheme", "bearer");
    put(o, "description", "An access token (EdDSA JWT) or an API key.");
    json_close(o, '}');
    json_close(o, '}');
    json_close(o, '}');
}

void asyncapi_write(struct buf *b)
{
    struct json_out out, *o = &out;
    json_out_init(o, b);
    json_open(o, '{');
    put(o, "asyncapi", "3.1.0");
    put_info(o);
    put(o, "defaultContentType", "application/json");
    put_servers(o);
    open_member(o, "channels");
    for (size_t i = 0; i < ARRAY_LEN(streams); i++)
        put_stream(o, &streams[i]);
    json_close(o, '}');
    open_member(o, "operations");
    for (size_t i = 0; i < ARRAY_LEN(streams); i++) {
        put_operation(o, &streams[i], false);
        put_operation(o, &streams[i], true);
    }
    json_close(o, '}');
    put_components(o);
    json_close(o, '}');
}

/* --- the route --- */

static enum flow get_asyncapi(struct request *r)
{
    struct buf b;
    buf_init_arena(&b, &r->arena, 64 * 1024);
    asyncapi_write(&b);
    return b.failed ? reply_error(r, SYS_OVERLOADED) : reply_raw(r, 200, "application/json", buf_view(&b));
}

static const struct route routes[] = {
    {GET, "/asyncapi.json", get_asyncapi, .id = "getAsyncApi", .doc = "The streams: AsyncAPI 3.1.",
     .flags = ROUTE_PUBLIC | ROUTE_ENVELOPE_NONE, .media = "application/json"},
    ROUTE_END,
};

const struct resource asyncapi_resource = {
    .kind = "asyncapi",
    .plural = "asyncapi",
    .tag = "SYSTEM",
    .doc = "The document of the live streams.",
    .routes = routes,
};
