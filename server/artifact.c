#include "server/artifact.h"

#include "lib/arena.h"
#include "lib/crypto.h"
#include "server/engine/job.h"
#include "server/engine/job_start.h"
#include "server/event.h"

#include <stdio.h>
#include <string.h>

enum { LOG_MAX = 8 << 20 };

static const struct {
    const char *name, *type, *content_type;
} kinds[JOB_ARTIFACTS] = {
    [JOB_LOCK] = {"compose.lock.yml", "compose_lock", "application/yaml"},
    [JOB_STICKER] = {"version.json", "sticker", "application/vnd.slipway.sticker+json"},
    [JOB_MANIFEST] = {"manifest.json", "manifest", "application/vnd.slipway.manifest+json"},
    [JOB_LOG] = {"deploy.log", "log", "text/plain"},
};

/* --- what a file is called, and its hash --- */

static void hash_of(struct str bytes, char out[BLOB_DIGEST])
{
    uint8_t sum[CRYPTO_HASH];

    crypto_sha256(bytes, sum);
    blob_digest_write(sum, out);
}

/* A UUID of version 8, made of the job's id and the file's name. */
static void id_of(const struct run *job, const char *name, char out[ID_UUID])
{
    struct crypto_sha256 h;
    uint8_t sum[CRYPTO_HASH];

    crypto_sha256_init(&h);
    crypto_sha256_add(&h, job->origin.id.p, job->origin.id.n);
    crypto_sha256_add(&h, name, strlen(name));
    crypto_sha256_end(&h, sum);
    sum[6] = (uint8_t)(0x80 | (sum[6] & 0x0f));
    sum[8] = (uint8_t)(0x80 | (sum[8] & 0x3f));
    for (size_t i = 0, at = 0; i < 16; i++) {
        at += (size_t)snprintf(out + at, ID_UUID - at, "%02x", sum[i]);
        if (i == 3 || i == 5 || i == 7 || i == 9)
            out[at++] = '-';
    }
}

static void finish(const struct run *job, enum job_artifact which, struct str bytes, struct artifact *out)
{
    *out = (struct artifact){.name = kinds[which].name,
                             .type = kinds[which].type,
                             .content_type = kinds[which].content_type,
                             .created_ms = which == JOB_LOG ? job->finished_ms : job->started_ms,
                             .bytes = bytes};
    id_of(job, out->name, out->id);
    hash_of(bytes, out->hash);
}

/* --- the job's release, or releases --- */

/* The i-th that its targets get, each once; NULL past the last. */
static const struct json *release_at(const struct job *job, size_t i)
{
    const struct json *one = json_get(job->plan, "release");

    if (json_is(one, JSON_OBJECT))
        return i == 0 ? one : NULL;
    for (int t = 0; t < job->n_targets; t++) {
        const struct json *own = json_get(job->targets[t].json, "release");
        bool seen = !json_is(own, JSON_OBJECT);
        for (int u = 0; u < t && !seen; u++)
            seen = str_eq(json_str(json_path(job->targets[u].json, S("release.id"))), json_str(json_get(own, "id")));
        if (!seen && i-- == 0)
            return own;
    }
    return NULL;
}

static struct str text_of(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

/* --- compose.lock.yml: a JSON string is a YAML string --- */

static void quoted(struct buf *b, struct str text)
{
    struct json_out o;

    json_out_init(&o, b);
    json_put_str(&o, text);
}

static void line(struct buf *b, const char *before, struct str text)
{
    buf_z(b, before);
    quoted(b, text);
    buf_char(b, '\n');
}

static void lock_component(struct buf *b, struct arena *a, const struct json *release, const struct json *component,
                           bool many)
{
    struct str name = text_of(component, "name"), tag = text_of(component, "tag"), called = text_of(release, "name");

    buf_z(b, "  ");
    quoted(b, many ? arena_printf(a, STR_FMT "-" STR_FMT, STR_ARG(called), STR_ARG(name)) : name);
    buf_z(b, ":\n    image: ");
    quoted(b, arena_printf(a, STR_FMT "@" STR_FMT, STR_ARG(name), STR_ARG(text_of(component, "digest"))));
    if (tag.n > 0) {
        buf_z(b, " # ");
        quoted(b, tag);
    }
    buf_z(b, "\n    labels:\n");
    line(b, "      slipway.component.id: ", text_of(component, "componentId"));
    line(b, "      slipway.component.name: ", name);
    line(b, "      slipway.release.id: ", text_of(release, "id"));
    line(b, "      slipway.release.name: ", called);
    line(b, "      slipway.version.id: ", text_of(component, "versionId"));
    line(b, "      slipway.digest: ", text_of(component, "digest"));
}

static void lock_services(struct buf *b, struct arena *a, const struct job *job)
{
    const struct json *release;
    bool any = false;

    for (size_t i = 0; (release = release_at(job, i)) != NULL; i++) {
        const struct json *components = json_get(release, "components");
        for (size_t k = 0; k < json_count(components); k++, any = true) {
            if (!any)
                buf_z(b, "services:\n");
            lock_component(b, a, release, json_at(components, k), release_at(job, 1) != NULL);
        }
    }
    if (!any)
        buf_z(b, "services: {}\n");
}

static void put_moment(struct buf *b, int64_t ms)
{
    struct json_out o;

    json_out_init(&o, b);
    json_put_time(&o, ms);
    buf_char(b, '\n');
}

static void write_lock(struct buf *b, struct arena *a, const struct run *r)
{
    const struct job *job = job_of(r);
    const struct json *release;
    char hash[BLOB_DIGEST];

    buf_z(b, "# What a deployment runs, each component at its digest. The last line is the SHA-256 of all bytes before "
             "it.\n");
    lock_services(b, a, job);
    buf_z(b, "x-slipway:\n  version: \"1\"\n  generator: slipway\n");
    buf_z(b, release_at(job, 0) == NULL ? "  releases: []\n" : "  releases:\n");
    for (size_t i = 0; (release = release_at(job, i)) != NULL; i++) {
        line(b, "    - id: ", text_of(release, "id"));
        line(b, "      name: ", text_of(release, "name"));
    }
    line(b, "  environment:\n    id: ", json_str(json_path(job->plan, S("environment.id"))));
    line(b, "    name: ", json_str(json_path(job->plan, S("environment.name"))));
    line(b, "  deployment:\n    id: ", r->origin.id);
    buf_z(b, "    startedAt: ");
    put_moment(b, r->started_ms);
    hash_of(buf_view(b), hash);
    line(b, "  checksum: ", str_z(hash));
}

/* --- version.json and manifest.json: members in RFC 8785 order --- */

static void put(struct json_out *o, const char *name, const struct json *value)
{
    if (value == NULL)
        return;
    json_key(o, str_z(name));
    json_put(o, value);
}

static void put_text(struct json_out *o, const char *name, struct str text)
{
    json_key(o, str_z(name));
    json_put_str(o, text);
}

static void put_named(struct json_out *o, const char *name, const struct json *of)
{
    json_key(o, str_z(name));
    if (!json_is(of, JSON_OBJECT)) {
        json_put_null(o);
        return;
    }
    json_open(o, '{');
    put(o, "id", json_get(of, "id"));
    put(o, "name", json_get(of, "name"));
    json_close(o, '}');
}

static void put_deployment(struct json_out *o, const struct run *r)
{
    json_key(o, S("deployment"));
    json_open(o, '{');
    put_text(o, "id", r->origin.id);
    json_key(o, S("startedAt"));
    json_put_time(o, r->started_ms);
    json_close(o, '}');
}

static void put_release(struct json_out *o, const struct json *release, bool whole)
{
    const struct json *components = json_get(release, "components");

    json_open(o, '{');
    json_key(o, S("components"));
    json_open(o, '[');
    for (size_t i = 0; i < json_count(components); i++) {
        const struct json *c = json_at(components, i);
        json_open(o, '{');
        if (whole)
            put(o, "componentId", json_get(c, "componentId"));
        put(o, "digest", json_get(c, "digest"));
        put(o, "name", json_get(c, "name"));
        put(o, "semver", json_get(c, "semver"));
        put(o, "tag", json_get(c, "tag"));
        if (whole)
            put(o, "versionId", json_get(c, "versionId"));
        json_close(o, '}');
    }
    json_close(o, ']');
    put(o, "createdAt", json_get(release, "createdAt"));
    put(o, "id", json_get(release, "id"));
    put(o, "name", json_get(release, "name"));
    json_close(o, '}');
}

static void write_sticker(struct buf *b, const struct run *r)
{
    const struct job *job = job_of(r);
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    put_deployment(&o, r);
    put_named(&o, "environment", json_get(job->plan, "environment"));
    json_key(&o, S("generatedAt"));
    json_put_time(&o, r->started_ms);
    json_key(&o, S("generator"));
    json_put_z(&o, "slipway");
    json_key(&o, S("release"));
    if (release_at(job, 0) != NULL)
        put_release(&o, release_at(job, 0), false);
    else
        json_put_null(&o);
    json_key(&o, S("version"));
    json_put_z(&o, "1.0");
    json_close(&o, '}');
}

static void put_target(struct json_out *o, const struct job *job, const struct job_target *t)
{
    const struct json *own = json_get(t->json, "release"), *one = json_get(job->plan, "release");

    json_open(o, '{');
    put(o, "agentId", json_get(t->json, "agentId"));
    json_key(o, S("batch"));
    json_put_int(o, t->batch);
    put(o, "id", json_get(t->json, "id"));
    put(o, "name", json_get(t->json, "name"));
    put(o, "path", json_get(t->json, "path"));
    put_named(o, "previous", json_get(t->json, "previous"));
    put_named(o, "release", own != NULL ? own : one);
    put(o, "skip", json_get(t->json, "skip"));
    json_close(o, '}');
}

static void put_files(struct json_out *o, struct arena *a, const struct run *r)
{
    json_key(o, S("files"));
    json_open(o, '[');
    for (enum job_artifact which = JOB_LOCK; which <= JOB_STICKER; which++) {
        struct artifact file;
        if (!artifact_render(a, r, which, &file)) {
            o->b->failed = true;
            break;
        }
        json_open(o, '{');
        put_text(o, "contentHash", str_z(file.hash));
        put_text(o, "name", str_z(file.name));
        json_key(o, S("size"));
        json_put_int(o, (int64_t)file.bytes.n);
        json_close(o, '}');
    }
    json_close(o, ']');
}

static void write_manifest(struct buf *b, struct arena *a, const struct run *r)
{
    const struct job *job = job_of(r);
    const struct json *release;
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    put(&o, "createdBy", json_get(job->plan, "createdBy"));
    put_deployment(&o, r);
    put_named(&o, "environment", json_get(job->plan, "environment"));
    put_files(&o, a, r);
    put(&o, "promotionId", json_get(job->plan, "promotionId"));
    json_key(&o, S("releases"));
    json_open(&o, '[');
    for (size_t i = 0; (release = release_at(job, i)) != NULL; i++)
        put_release(&o, release, true);
    json_close(&o, ']');
    put(&o, "rollbackId", json_get(job->plan, "rollbackId"));
    put(&o, "rollbackOf", json_get(job->plan, "rollbackOf"));
    put(&o, "strategy", json_get(job->plan, "strategy"));
    put(&o, "strategyConfig", json_get(job->plan, "config"));
    json_key(&o, S("targets"));
    json_open(&o, '[');
    for (int t = 0; t < job->n_targets; t++)
        put_target(&o, job, &job->targets[t]);
    json_close(&o, ']');
    json_key(&o, S("version"));
    json_put_z(&o, "1");
    json_close(&o, '}');
}

bool artifact_render(struct arena *a, const struct run *job, enum job_artifact which, struct artifact *out)
{
    struct buf b;

    buf_init_arena(&b, a, 1024);
    if (which == JOB_LOCK)
        write_lock(&b, a, job);
    else if (which == JOB_STICKER)
        write_sticker(&b, job);
    else
        write_manifest(&b, a, job);
    if (b.failed)
        return false;
    finish(job, which, buf_view(&b), out);
    return true;
}

/* --- deploy.log --- */

void artifact_of_log(const struct run *job, struct str text, struct artifact *out)
{
    finish(job, JOB_LOG, text, out);
}

static struct str target_name(const struct run *r, struct str task)
{
    int i = template_find(r->template, task);

    return i < 0 ? S("") : job_of(r)->targets[job_of(r)->tasks[i].target].name;
}

/* "time task target: ", or "time: " of the job itself. */
static void log_head(struct buf *b, const struct run *r, struct str at, struct str task)
{
    buf_str(b, at);
    if (task.n > 0)
        buf_printf(b, " " STR_FMT " " STR_FMT, STR_ARG(task), STR_ARG(target_name(r, task)));
    buf_z(b, ": ");
}

/* What is said about the job and its tasks, one word and what goes with it. */
static void log_moment(struct buf *b, struct str type, const struct json *frame)
{
    static const char *const with[] = {"status", "batch", "agentId", "attempt", "reason", NULL};
    const struct json *error = json_get(frame, "error");

    buf_z(b, "* ");
    buf_str(b, type);
    for (size_t i = 0; with[i] != NULL; i++) {
        const struct json *v = json_get(frame, with[i]);
        if (json_is(v, JSON_STRING))
            buf_printf(b, " %s=" STR_FMT, with[i], STR_ARG(json_str(v)));
        else if (json_type(v) == JSON_INT)
            buf_printf(b, " %s=%lld", with[i], (long long)json_int(v, 0));
    }
    if (json_is(error, JSON_OBJECT))
        buf_printf(b, " error: " STR_FMT, STR_ARG(text_of(error, "message")));
}

bool artifact_log_event(struct buf *text, const struct run *job, struct str event)
{
    struct arena scratch;
    struct str type = event_member(event, "type");

    if (str_eqz(type, "job_progress") || str_eqz(type, "task_progress") || str_eqz(type, "task_log_end"))
        return true;
    if (text->n > LOG_MAX) {
        buf_z(text, "* the log is longer than this file may be\n");
        return false;
    }
    arena_init(&scratch, 4 << 20);
    const struct json *frame = json_parse(&scratch, event, NULL, NULL);
    struct str at = text_of(frame, "at");
    log_head(text, job, at.n > 0 ? at : text_of(frame, "timestamp"), text_of(frame, "taskId"));
    if (str_eqz(type, "task_log"))
        buf_str(text, text_of(frame, "line"));
    else
        log_moment(text, type, frame);
    buf_char(text, '\n');
    arena_fini(&scratch);
    return !str_eqz(type, "job_completed");
}

/* --- names --- */

const char *artifact_content_type(struct str name)
{
    static const struct {
        const char *end, *type;
    } types[] = {
        {".txt", "text/plain"},       {".log", "text/plain"},        {".json", "application/json"},
        {".xml", "application/xml"},  {".html", "text/html"},        {".csv", "text/csv"},
        {".yml", "application/yaml"}, {".yaml", "application/yaml"}, {".gz", "application/gzip"},
        {".tgz", "application/gzip"}, {".zip", "application/zip"},   {".tar", "application/x-tar"},
        {".png", "image/png"},        {".svg", "image/svg+xml"},     {".pdf", "application/pdf"},
    };

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_ends(name, str_z(types[i].end)))
            return types[i].type;
    return "application/octet-stream";
}

bool artifact_name_valid(struct str name)
{
    for (size_t i = 0; i < name.n; i++) {
        char c = name.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
              c == '-'))
            return false;
    }
    return name.n > 0 && name.n <= 128 && name.p[0] != '.';
}
