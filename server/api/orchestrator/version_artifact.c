#include "server/api/orchestrator/version_artifact.h"

#include "lib/clock.h"
#include "server/api/orchestrator/resources.h"
#include "server/upload.h"
#include "server/worker.h"

static const char type[] = "application/octet-stream";

/* --- up --- */

static struct str artifact_json(struct request *r, const struct upload *u, int64_t now_ms)
{
    struct json_out o;
    struct buf b;
    char at[CLOCK_TEXT];

    buf_init_arena(&b, &r->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("size"));
    json_put_int(&o, (int64_t)u->made.size);
    json_key(&o, S("contentHash"));
    json_put_z(&o, u->made.digest);
    json_key(&o, S("contentType"));
    json_put_z(&o, type);
    json_key(&o, S("uploadedAt"));
    clock_text(now_ms, at);
    json_put_z(&o, at);
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static enum flow have_books(struct upload *u)
{
    return change_gathered(u->r);
}

static enum flow gather(struct request *r, struct change *c)
{
    (void)c;
    return upload_books(r->kept, have_books);
}

static enum code prepare(struct request *r, struct change *c)
{
    struct upload *u = r->kept;
    struct space space = {r->caller.partition, r->caller.tenant};
    struct str owner = arena_printf(&r->arena, "version:" STR_FMT, STR_ARG(c->id));
    struct str artifact = artifact_json(r, u, c->now_ms);

    c->chosen = "blob";
    overlay_raw(&c->set, "artifact", artifact);
    overlay_int(&c->set, "size", (int64_t)u->made.size);
    return blob_refer(r->worker->blobs, c->commit, &r->arena, space, &u->books, &u->made, u->replace, owner);
}

static enum flow put_artifact(struct request *r, int status, const struct json *version)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &r->arena, 256);
    json_out_init(&o, &b);
    json_put(&o, json_get(version, "artifact"));
    return b.failed ? reply_error(r, SYS_OVERLOADED) : reply_data(r, status, buf_view(&b));
}

static enum flow committed(struct request *r, struct change *c)
{
    upload_kept(r->kept);
    const struct json *version = document_json(&r->arena, c->after, NULL);
    return version == NULL ? reply_error(r, SYS_OVERLOADED) : put_artifact(r, 201, version);
}

static enum flow keep(struct upload *u)
{
    return crud_action(u->r, gather, prepare, "version.uploaded", committed);
}

struct known { /* a version that has its artifact: are the bytes still there? */
    struct request *r;
    const struct json *version;
    struct str digest;
};

/* The same bytes again: nothing to do. */
static enum flow compared(struct upload *u)
{
    const struct known *k = u->arg;

    return put_artifact(u->r, 200, k->version);
}

static enum flow take_again(struct known *k, bool lost)
{
    return lost ? upload_start(k->r, k->digest, true, true, keep, NULL)
                : upload_start(k->r, k->digest, false, false, compared, k);
}

static void looked(void *arg, enum code c, struct str bytes)
{
    struct known *k = arg;

    (void)bytes;
    if (c == OK || c == RES_NOT_FOUND)
        take_again(k, c == RES_NOT_FOUND);
    else
        reply_error(k->r, c);
}

static void looked_up(void *arg, enum code c, const struct blob_books *books)
{
    struct known *k = arg;
    struct request *r = k->r;
    struct space space = {r->caller.partition, r->caller.tenant};

    if (c == OK && !books->there)
        c = RES_NOT_FOUND;
    if (c == OK)
        c = blob_bytes(r->worker->blobs, &r->arena, space, &books->ref, books->ref.size - books->ref.size % BLOB_PIECE,
                       &r->ops, looked, k);
    if (c != OK)
        looked(k, c, STR_NONE);
}

static enum flow take_version(struct request *r, struct document *d, const struct json *version)
{
    struct known *k = arena_new(&r->arena, struct known);
    struct space space = {r->caller.partition, r->caller.tenant};
    enum code c = request_check_revision(r, d->revision);

    if (k == NULL || c != OK)
        return reply_error(r, k == NULL ? SYS_OVERLOADED : c);
    *k = (struct known){r, version, json_str(json_get(version, "digest"))};
    if (json_get(version, "artifact") == NULL)
        return upload_start(r, k->digest, true, false, keep, NULL);
    c = blob_books_read(r->worker->blobs, &r->arena, space, k->digest, &r->ops, looked_up, k);
    return c == OK ? WAIT : reply_error(r, c);
}

enum flow version_artifact_put(struct request *r)
{
    return crud_read(r, r->resource, crud_id(r), take_version);
}

/* --- down --- */

static enum flow send_version(struct request *r, struct document *d, const struct json *version)
{
    const struct json *artifact = json_get(version, "artifact");

    (void)d;
    if (artifact == NULL) {
        request_refuse(r, RES_NOT_FOUND, "the version has no artifact here");
        return reply_error(r, RES_NOT_FOUND);
    }
    reply_header(r, "Content-Disposition", S("attachment"));
    return blob_reply(r, json_str(json_get(artifact, "contentHash")), type);
}

enum flow version_artifact_get(struct request *r)
{
    return crud_read(r, r->resource, crud_id(r), send_version);
}
