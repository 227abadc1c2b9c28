/* Content as the answer to a request: one piece is in memory at a time, and the next is read when the client has taken it.
 */
#include "server/blob_store.h"

#include "server/conn.h"
#include "server/request.h"
#include "server/worker.h"

#include <string.h>

struct sending {
    struct request *r;
    const char *type;
    struct blob_ref ref;
    uint64_t offset;
    bool begun;
};

static struct space space_of(const struct request *r)
{
    return (struct space){r->caller.partition, r->caller.tenant};
}

static void got_piece(void *arg, enum code c, struct str bytes);

static enum code read_next(struct sending *x)
{
    struct request *r = x->r;

    return blob_bytes(r->worker->blobs, &r->arena, space_of(r), &x->ref, x->offset, &r->ops, got_piece, x);
}

static void on_room(void *arg)
{
    struct sending *x = arg;

    if (read_next(x) != OK)
        conn_send_abort(x->r->conn);
}

static enum flow refuse(struct request *r, enum code c)
{
    if (c == RES_NOT_FOUND)
        request_refuse(r, c, "the content is not kept here any more");
    return reply_error(r, c);
}

static void got_piece(void *arg, enum code c, struct str bytes)
{
    struct sending *x = arg;
    uint64_t rest = x->ref.size - x->offset;

    if (c == OK && bytes.n != (rest < BLOB_PIECE ? rest : BLOB_PIECE))
        c = RES_NOT_FOUND; /* not what the books say */
    if (!x->begun && c != OK) {
        refuse(x->r, c);
        return;
    }
    if (c != OK) {
        conn_send_abort(x->r->conn);
        return;
    }
    x->offset += bytes.n;
    if (!x->begun && !reply_stream(x->r, x->type, x->ref.size, on_room, x))
        return;
    x->begun = true;
    conn_send_piece(x->r->conn, bytes);
}

static void got_books(void *arg, enum code c, const struct blob_books *books)
{
    struct sending *x = arg;

    if (c == OK && !books->there)
        c = RES_NOT_FOUND;
    if (c == OK)
        x->ref = books->ref;
    if (c == OK && x->ref.size == 0)
        reply_stream(x->r, x->type, 0, on_room, x);
    else if (c != OK || (c = read_next(x)) != OK)
        refuse(x->r, c);
}

enum flow blob_reply(struct request *r, struct str digest, const char *content_type)
{
    struct sending *x = arena_new(&r->arena, struct sending);

    if (reply_unchanged(r, digest))
        return DONE;
    if (x == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *x = (struct sending){.r = r, .type = content_type};
    enum code c = blob_books_read(r->worker->blobs, &r->arena, space_of(r), digest, &r->ops, got_books, x);
    return c == OK ? WAIT : refuse(r, c);
}
