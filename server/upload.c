#include "server/upload.h"

#include "server/conn.h"
#include "server/settings.h"
#include "server/worker.h"

#include "proto/http.h"

static struct space space_of(const struct request *r)
{
    return (struct space){r->caller.partition, r->caller.tenant};
}

/* --- the body --- */

static bool on_bytes(void *arg, struct str bytes)
{
    struct upload *u = arg;

    return blob_put_add(u->put, bytes);
}

static void on_body_end(void *arg)
{
    struct upload *u = arg;

    blob_put_end(u->put);
}

static void on_room(void *arg)
{
    struct upload *u = arg;

    conn_body_room(u->r->conn);
}

static enum flow refuse_digest(struct request *r, const struct blob_ref *made, struct str wanted)
{
    r->details = arena_printf(&r->arena, "{\"expected\":\"" STR_FMT "\",\"actual\":\"%s\",\"size\":%llu}",
                              STR_ARG(wanted), made->digest, (unsigned long long)made->size);
    request_refuse(r, REL_DIGEST_MISMATCH, "the bytes have the digest %s and not the version's", made->digest);
    return reply_error(r, REL_DIGEST_MISMATCH);
}

static void on_put_end(void *arg, enum code c, const struct blob_ref *made)
{
    struct upload *u = arg;

    u->put = NULL;
    if (c == REL_DIGEST_MISMATCH) {
        refuse_digest(u->r, made, u->wanted);
    } else if (c != OK) {
        reply_error(u->r, c);
    } else {
        u->made = *made;
        u->stored = u->keep;
        u->whole(u);
    }
}

/* The request is over, or answered from below. A commit whose outcome nobody knows may have taken the bytes. */
static void on_request_end(struct request *r)
{
    struct upload *u = r->kept;
    bool unknown = !r->answered || r->refused == SYS_STORAGE || r->refused == SYS_TIMEOUT;

    if (u->put != NULL)
        blob_put_drop(u->put);
    else if (u->stored && !(u->committing && unknown))
        blob_discard(r->worker->blobs, space_of(r), &u->made);
    u->put = NULL;
    u->stored = false;
}

static enum flow take(struct upload *u)
{
    static const struct conn_sink sink = {on_bytes, on_body_end};
    static const struct blob_put_events events = {on_room, on_put_end};
    struct request *r = u->r;
    uint64_t most = (uint64_t)r->worker->settings->artifact_max;

    u->put = blob_put_start(r->worker->blobs, space_of(r), u->wanted, most, u->keep, &events, u);
    if (u->put == NULL)
        return reply_error(r, SYS_OVERLOADED);
    request_on_end(r, on_request_end, u);
    return conn_stream_body(r->conn, most, &sink, u) ? DONE : WAIT;
}

/* What is known to be too much is refused before it is sent. */
static void usage_read(void *arg, enum code c, const struct redis_value *v)
{
    struct upload *u = arg;
    struct request *r = u->r;
    int64_t length = r->head->length > 0 ? r->head->length : 0;

    if (c == OK && redis_int(v, 0) + length > r->worker->settings->blob_quota)
        c = RES_QUOTA_EXCEEDED;
    if (c != OK)
        reply_error(r, c);
    else
        take(u);
}

enum flow upload_start(struct request *r, struct str digest, bool keep, bool replace,
                       enum flow (*whole)(struct upload *u), void *arg)
{
    struct upload *u = arena_new(&r->arena, struct upload);

    if (u == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *u = (struct upload){.r = r, .wanted = digest, .keep = keep, .replace = replace, .whole = whole, .arg = arg};
    if (!keep)
        return take(u);
    const struct store_command command = STORE_COMMAND(S("HGET"), key_blob_usage(&r->arena, space_of(r)), S("bytes"));
    enum code c = store_read(r->worker->store, &command, 1, &r->ops, usage_read, u);
    return c == OK ? WAIT : reply_error(r, c);
}

/* --- the commit --- */

static void books_read(void *arg, enum code c, const struct blob_books *books)
{
    struct upload *u = arg;

    if (c != OK) {
        reply_error(u->r, c);
        return;
    }
    u->books = *books;
    u->committing = true;
    u->ready(u);
}

enum flow upload_books(struct upload *u, enum flow (*ready)(struct upload *u))
{
    struct request *r = u->r;

    u->ready = ready;
    enum code c =
        blob_books_read(r->worker->blobs, &r->arena, space_of(r), str_z(u->made.digest), &r->ops, books_read, u);
    return c == OK ? WAIT : reply_error(r, c);
}

void upload_kept(struct upload *u)
{
    if (u->stored && u->books.there && !u->replace)
        blob_discard(u->r->worker->blobs, space_of(u->r), &u->made);
    u->stored = false;
}
