/* The files of a deployment job. None is stored: each answer makes them from the job's plan, and the log from its channel
 * (server/artifact.h). The log is there once the job has ended. */
#include "server/api/orchestrator/artifact_answer.h"
#include "server/api/orchestrator/resources.h"

#include "lib/id.h"
#include "server/artifact.h"
#include "server/engine/drain.h"
#include "server/engine/job_start.h"
#include "server/event.h"
#include "server/shelf.h"
#include "server/worker.h"

static const char *const types[] = {"compose_lock", "sticker", "manifest", "env_config", "script", "log", NULL};

// clang-format off
static const struct field fields[] = {
    {"id",          FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH},
    {"jobId",       FIELD_UUID,   FIELD_READONLY | FIELD_REQUIRED},
    {"name",        FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH | FIELD_SORT, .max = 255, .doc = "compose.lock.yml, version.json, manifest.json, deploy.log."},
    {"type",        FIELD_ENUM,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SEARCH, .choices = types},
    {"contentType", FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},
    {"size",        FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Bytes."},
    {"contentHash", FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 71, .doc = "sha256:… of the bytes; the ETag."},
    {"createdAt",   FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},
    {0}};
// clang-format on

enum { ENTRIES = 100 }; /* of the channel, in one trip */

struct files {
    struct request *r;
    const struct run *job;
    struct artifact list[JOB_ARTIFACTS];
    size_t n;
    struct buf log;
    enum flow (*then)(struct files *f);
};

static struct space space_of(const struct request *r)
{
    return (struct space){r->caller.partition, r->caller.tenant};
}

/* --- the log --- */

static enum flow read_entries(struct files *f, struct str from);

static enum flow end_log(struct files *f)
{
    if (f->log.failed)
        return reply_error(f->r, SYS_OVERLOADED);
    artifact_of_log(f->job, buf_view(&f->log), &f->list[f->n++]);
    return f->then(f);
}

static void got_entries(void *arg, enum code c, const struct redis_value *v)
{
    struct files *f = arg;
    bool more = true;

    if (c != OK) {
        reply_error(f->r, c);
        return;
    }
    for (size_t i = 0; i < v->count && more; i++) {
        struct str events = redis_text(redis_field(redis_at(redis_at(v, i), 1), S("b"))), event;
        int64_t seq;
        while (more && event_next(&events, &event, &seq))
            more = artifact_log_event(&f->log, f->job, event);
    }
    if (!more || v->count < ENTRIES)
        end_log(f);
    else
        read_entries(
            f, arena_printf(&f->r->arena, "(" STR_FMT, STR_ARG(redis_text(redis_at(redis_at(v, v->count - 1), 0)))));
}

static enum flow read_entries(struct files *f, struct str from)
{
    struct request *r = f->r;
    struct str channel = arena_printf(&r->arena, JOB_KIND ":" STR_FMT, STR_ARG(f->job->origin.id));
    const struct store_command command = STORE_COMMAND(S("XRANGE"), key_channel(&r->arena, space_of(r), channel), from,
                                                       S("+"), S("COUNT"), arena_printf(&r->arena, "%d", ENTRIES));
    enum code c = store_read(r->worker->store, &command, 1, &r->ops, got_entries, f);

    return c == OK ? WAIT : reply_error(r, c);
}

/* --- all of them --- */

static void free_log(void *p)
{
    buf_free(p);
}

static void got_job(void *arg, enum code c, const struct redis_value *v)
{
    struct files *f = arg;
    struct request *r = f->r;

    if (c == OK && (redis_is_nil(v) || v->count == 0))
        c = RES_NOT_FOUND;
    if (c == OK && (f->job = run_of_hash(&r->arena, &job_kind, v)) == NULL)
        c = SYS_INTERNAL;
    for (enum job_artifact which = JOB_LOCK; c == OK && f->job->started_ms > 0 && which < JOB_LOG; which++)
        if (!artifact_render(&r->arena, f->job, which, &f->list[f->n++]))
            c = SYS_OVERLOADED;
    if (c != OK)
        reply_error(r, c);
    else if (run_status_ended(f->job->status) && f->n > 0)
        read_entries(f, S("-"));
    else
        f->then(f);
}

static enum flow with_files(struct request *r, enum flow (*then)(struct files *f))
{
    struct files *f = arena_new(&r->arena, struct files);
    char id[ID_UUID];

    if (f == NULL || !arena_defer(&r->arena, free_log, &f->log)) /* it may be larger than a request's memory */
        return reply_error(r, SYS_OVERLOADED);
    if (!id_is_uuid(r->params[0], id))
        return reply_error(r, RES_NOT_FOUND);
    f->r = r;
    f->then = then;
    const struct store_command command =
        STORE_COMMAND(S("HGETALL"), key_document(&r->arena, space_of(r), JOB_KIND, str_z(id)));
    enum code c = store_read(r->worker->store, &command, 1, &r->ops, got_job, f);
    return c == OK ? WAIT : reply_error(r, c);
}

/* Members in RFC 8785 order. */
static struct str describe(const struct files *f, const struct artifact *file)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &f->r->arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("contentHash"));
    json_put_z(&o, file->hash);
    json_key(&o, S("contentType"));
    json_put_z(&o, file->content_type);
    json_key(&o, S("createdAt"));
    json_put_time(&o, file->created_ms);
    json_key(&o, S("id"));
    json_put_z(&o, file->id);
    json_key(&o, S("jobId"));
    json_put_str(&o, f->job->origin.id);
    json_key(&o, S("name"));
    json_put_z(&o, file->name);
    json_key(&o, S("size"));
    json_put_int(&o, (int64_t)file->bytes.n);
    json_key(&o, S("type"));
    json_put_z(&o, file->type);
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static enum flow put_list(struct files *f)
{
    const struct json *items[JOB_ARTIFACTS];

    for (size_t i = 0; i < f->n; i++) {
        items[i] = json_parse(&f->r->arena, describe(f, &f->list[i]), NULL, NULL);
        if (items[i] == NULL)
            return reply_error(f->r, SYS_OVERLOADED);
    }
    return shelf_reply(f->r, &deployment_artifact_resource, items, f->n);
}

static enum flow put_one(struct files *f)
{
    struct request *r = f->r;
    const struct artifact *file = NULL;

    for (size_t i = 0; i < f->n; i++)
        if (str_eqz(r->params[1], f->list[i].id) || str_eqz(r->params[1], f->list[i].name))
            file = &f->list[i];
    if (file == NULL)
        return reply_error(r, RES_NOT_FOUND);
    if (reply_unchanged(r, str_z(file->hash)))
        return DONE;
    if (!artifact_wants_bytes(r))
        return reply_data(r, 200, describe(f, file));
    artifact_disposition(r, str_z(file->name));
    return reply_raw(r, 200, file->content_type, file->bytes);
}

static enum flow list(struct request *r)
{
    return with_files(r, put_list);
}
static enum flow get(struct request *r)
{
    return with_files(r, put_one);
}

// clang-format off
static const struct route routes[] = {
    {GET, "/deployment-jobs/{id}/artifacts", list, "deployment:read", "listDeploymentArtifacts",
     "List the files of a job: three once it has started, the log when it has ended.", ROUTE_LIST, .codes = {RES_NOT_FOUND}},
    {GET, "/deployment-jobs/{id}/artifacts/{artifactId}", get, "deployment:read", "getDeploymentArtifact",
     "Read about a file of a job by its id or name, or download it.", ROUTE_BYTES, .query = artifact_query, .data = fields,
     .media = "application/yaml application/vnd.slipway.sticker+json application/vnd.slipway.manifest+json text/plain"},
    ROUTE_END};
// clang-format on

const struct resource deployment_artifact_resource = {
    .kind = "deployment-artifact",
    .below = JOB_KIND,
    .plural = "artifacts",
    .tag = "DEPLOY",
    .doc = "A file that belongs to a deployment job. It never changes.",
    .fields = fields,
    .routes = routes,
    .sort = "name",
};
