/* The files that a step of a workflow run left behind: uploaded by the agent that carries it out, while it does; the bytes
 * in the store of blobs, a record for each in a hash of the run. A name that comes again, from a later attempt, takes the
 * place of the former. */
#include "server/api/orchestrator/artifact_answer.h"
#include "server/api/orchestrator/resources.h"

#include "lib/clock.h"
#include "lib/id.h"
#include "server/artifact.h"
#include "server/crud.h"
#include "server/engine/drain.h"
#include "server/shelf.h"
#include "server/upload.h"
#include "server/worker.h"

enum { MOST = 1000, TRIES = 16 }; /* files of a run; attempts of a commit */

// clang-format off
static const struct field fields[] = {
    {"id",          FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"name",        FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH | FIELD_SORT, .max = 255},
    {"type",        FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 63, .doc = "file"},
    {"contentType", FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255, .doc = "By the end of its name."},
    {"size",        FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Bytes."},
    {"contentHash", FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 128, .doc = "sha256:… of the bytes; the ETag."},
    {"createdAt",   FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {"attempt",     FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .max = 1000000, .doc = "Of the step, that left it."},
    {0}};
// clang-format on

static struct space space_of(const struct request *r)
{
    return (struct space){r->caller.partition, r->caller.tenant};
}

/* --- the step --- */

struct looking {
    struct request *r;
    const struct run *run;
    int step;
    char id[ID_UUID];
    struct str records; /* key of the run's */
    enum flow (*then)(struct looking *l);
};

static void got_run(void *arg, enum code c, const struct redis_value *v)
{
    struct looking *l = arg;
    struct request *r = l->r;

    if (c == OK && (redis_is_nil(v) || v->count == 0))
        c = RES_NOT_FOUND;
    if (c == OK && (l->run = run_of_hash(&r->arena, &workflow_kind, v)) == NULL)
        c = SYS_INTERNAL;
    if (c == OK && (l->step = template_find(l->run->template, r->params[1])) < 0)
        c = RES_NOT_FOUND;
    if (c != OK)
        reply_error(r, c);
    else
        l->then(l);
}

static enum flow with_step(struct request *r, enum flow (*then)(struct looking *l))
{
    struct looking *l = arena_new(&r->arena, struct looking);

    if (l == NULL)
        return reply_error(r, SYS_OVERLOADED);
    if (!id_is_uuid(r->params[0], l->id))
        return reply_error(r, RES_NOT_FOUND);
    l->r = r;
    l->then = then;
    l->records = key_artifacts(&r->arena, space_of(r), RUN_KIND, str_z(l->id));
    const struct store_command command =
        STORE_COMMAND(S("HGETALL"), key_document(&r->arena, space_of(r), RUN_KIND, str_z(l->id)));
    enum code c = store_read(r->worker->store, &command, 1, &r->ops, got_run, l);
    return c == OK ? WAIT : reply_error(r, c);
}

/* --- reading --- */

/* "<node>/<name>" of this step. */
static bool is_ours(const struct looking *l, struct str field)
{
    struct str rest = field;

    return str_eq(str_cut(&rest, '/'), l->r->params[1]) && rest.n > 0;
}

static void got_list(void *arg, enum code c, const struct redis_value *v)
{
    struct looking *l = arg;
    struct request *r = l->r;
    const struct json **items = c != OK ? NULL : arena_array(&r->arena, v->count / 2 + 1, sizeof *items);
    size_t n = 0;

    for (size_t i = 0; items != NULL && i + 1 < v->count; i += 2) {
        struct str text = redis_text(redis_at(v, i + 1));
        if (is_ours(l, redis_text(redis_at(v, i))) &&
            (items[n++] = json_parse(&r->arena, arena_str(&r->arena, text), NULL, NULL)) == NULL)
            items = NULL;
    }
    if (items != NULL)
        shelf_reply(r, &workflow_artifact_resource, items, n);
    else
        reply_error(r, c != OK ? c : SYS_OVERLOADED);
}

static enum flow answer_one(struct request *r, struct str text, const struct json *record)
{
    struct str name = json_str(json_get(record, "name")), hash = json_str(json_get(record, "contentHash"));

    if (!artifact_wants_bytes(r))
        return reply_unchanged(r, hash) ? DONE : reply_data(r, 200, text);
    artifact_disposition(r, name);
    return blob_reply(r, hash, "application/octet-stream");
}

static void got_one(void *arg, enum code c, const struct redis_value *v)
{
    struct looking *l = arg;
    struct request *r = l->r;

    for (size_t i = 0; c == OK && i + 1 < v->count; i += 2) {
        struct str text = arena_str(&r->arena, redis_text(redis_at(v, i + 1)));
        const struct json *record =
            is_ours(l, redis_text(redis_at(v, i))) ? json_parse(&r->arena, text, NULL, NULL) : NULL;
        if (record != NULL && (str_eq(json_str(json_get(record, "id")), r->params[2]) ||
                               str_eq(json_str(json_get(record, "name")), r->params[2]))) {
            answer_one(r, text, record);
            return;
        }
    }
    reply_error(r, c != OK ? c : RES_NOT_FOUND);
}

static enum flow read_records(struct looking *l, store_then *then)
{
    const struct store_command command = STORE_COMMAND(S("HGETALL"), l->records);
    enum code c = store_read(l->r->worker->store, &command, 1, &l->r->ops, then, l);

    return c == OK ? WAIT : reply_error(l->r, c);
}

static enum flow read_list(struct looking *l)
{
    return read_records(l, got_list);
}
static enum flow read_one(struct looking *l)
{
    return read_records(l, got_one);
}
static enum flow list(struct request *r)
{
    return with_step(r, read_list);
}
static enum flow get(struct request *r)
{
    return with_step(r, read_one);
}

/* --- uploading --- */

struct leaving {
    struct looking *l;
    struct str record;
    struct commit commit;
    unsigned tries;
};

static enum flow commit(struct upload *u);

static void committed(void *arg, const struct commit_result *result)
{
    struct upload *u = arg;
    struct leaving *x = u->arg;
    struct request *r = u->r;

    if (result->code == RES_ALREADY_EXISTS && ++x->tries < TRIES) {
        upload_books(u, commit);
    } else if (result->code != OK) {
        reply_error(r, result->code == RES_ALREADY_EXISTS ? SYS_STORAGE : result->code);
    } else {
        upload_kept(u);
        reply_data(r, 201, x->record);
    }
}

/* Members in RFC 8785 order. */
static struct str describe(const struct upload *u, const struct leaving *x, int64_t now_ms)
{
    struct request *r = u->r;
    struct json_out o;
    struct buf b;
    char id[ID_UUID];

    id_uuid(now_ms, id);
    buf_init_arena(&b, &r->arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("attempt"));
    json_put_int(&o, x->l->run->steps[x->l->step].attempt);
    json_key(&o, S("contentHash"));
    json_put_z(&o, u->made.digest);
    json_key(&o, S("contentType"));
    json_put_z(&o, artifact_content_type(r->params[2]));
    json_key(&o, S("createdAt"));
    json_put_time(&o, now_ms);
    json_key(&o, S("id"));
    json_put_z(&o, id);
    json_key(&o, S("name"));
    json_put_str(&o, r->params[2]);
    json_key(&o, S("size"));
    json_put_int(&o, (int64_t)u->made.size);
    json_key(&o, S("type"));
    json_put_z(&o, "file");
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static enum flow commit(struct upload *u)
{
    struct request *r = u->r;
    struct leaving *x = u->arg;
    struct commit *c = &x->commit;
    struct arena *a = &r->arena;
    struct str field = arena_printf(a, STR_FMT "/" STR_FMT, STR_ARG(r->params[1]), STR_ARG(r->params[2]));
    struct str owner = arena_printf(a, RUN_KIND ":%s", x->l->id);

    x->record = describe(u, x, store_now_ms(r->worker->store));
    commit_begin(c, a, space_of(r), COMMIT_GROWS);
    commit_expect_exists(c, RES_NOT_FOUND, "run", key_document(a, space_of(r), RUN_KIND, str_z(x->l->id)));
    commit_expect_at_most(c, RES_QUOTA_EXCEEDED, "artifacts", x->l->records, MOST);
    commit_hset(c, x->l->records, field, x->record);
    enum code code = blob_refer(r->worker->blobs, c, a, space_of(r), &u->books, &u->made, u->replace, owner);
    if (code == OK)
        code = x->record.p == NULL ? SYS_OVERLOADED : store_commit(r->worker->store, c, &r->ops, committed, u);
    return code == OK ? WAIT : reply_error(r, code);
}

static enum flow whole(struct upload *u)
{
    return upload_books(u, commit);
}

/* Only the agent that has the step may, and only while it has it. */
static enum flow take(struct looking *l)
{
    static const char *const none[] = {NULL};
    struct request *r = l->r;
    const struct step *s = &l->run->steps[l->step];
    struct leaving *x = arena_new(&r->arena, struct leaving);

    if (x == NULL)
        return reply_error(r, SYS_OVERLOADED);
    if (step_status_ended(s->status) || r->caller.type != CALLER_AGENT || !str_eq(s->agent, r->caller.id))
        return reply_error(r, change_refuse_state(r, step_status_name(s->status), none));
    x->l = l;
    return upload_start(r, STR_NONE, true, false, whole, x);
}

static enum flow put(struct request *r)
{
    if (!artifact_name_valid(r->params[2]))
        return reply_error(r, change_refuse_field(r, VAL_FAILED, "name",
                                                  "is 1 to 128 letters, digits, dots, dashes and underscores, and does "
                                                  "not begin with a dot"));
    return with_step(r, take);
}

// clang-format off
static const struct route routes[] = {
    {GET, "/workflow-runs/{id}/steps/{nodeId}/artifacts", list, "workflow:read", "listWorkflowStepArtifacts",
     "List what a step left behind as files.", ROUTE_LIST, .codes = {RES_NOT_FOUND}},
    {GET, "/workflow-runs/{id}/steps/{nodeId}/artifacts/{artifactId}", get, "artifact:read", "getWorkflowStepArtifact",
     "Read about a file that a step left behind by its id or name, or download it.", ROUTE_BYTES, .query = artifact_query,
     .data = fields, .media = "application/octet-stream"},
    {PUT, "/workflow-runs/{id}/steps/{nodeId}/artifacts/{artifactId}", put, "agent:connect", "uploadWorkflowStepArtifact",
     "Leave a file of this name behind: for the agent that carries the step out, while it does.", ROUTE_BODY_STREAM, .status = 201,
     .data = fields, .codes = {RES_INVALID_STATE, RES_QUOTA_EXCEEDED}},
    ROUTE_END};
// clang-format on

const struct resource workflow_artifact_resource = {
    .kind = "workflow-artifact",
    .below = RUN_KIND,
    .plural = "artifacts",
    .tag = "WORKFL",
    .doc = "A file that a step left behind.",
    .fields = fields,
    .routes = routes,
    .sort = "name",
};
