#include "server/blob_store.h"

#include "lib/log.h"
#include "server/blob_private.h"
#include "server/settings.h"
#include "server/worker.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { PIECES_KEPT_MS = 3600 * 1000, KEY_MEMORY = 16 << 10, SCRATCH = 1 << 20 };

struct blob_put {
    struct blob_store *store;
    struct blob_upload *upload;
    const struct blob_put_events *events;
    void *arg;
    struct ops ops;
    struct arena arena; /* names of keys; reset for each piece */
    char tenant[ID_UUID];
    struct space space;
    bool stored; /* a piece is in Redis */
    enum code failed;
    struct loop_task failing;
};

/* --- the store --- */

const char *blob_folder(const struct settings *s, struct arena *a)
{
    const char *set = s->blobs;

    if (strcmp(set, "redis") == 0 || (set[0] == '\0' && strcmp(s->redis, "embedded") != 0))
        return NULL;
    if (set[0] != '\0')
        return set;
    struct str path = arena_printf(a, "%s/blobs", s->data);
    return path.p == NULL ? "" : path.p;
}

struct blob_store *blob_store_open(struct worker *w)
{
    struct blob_store *s = calloc(1, sizeof(*s));

    if (s == NULL)
        return NULL;
    *s = (struct blob_store){.worker = w};
    ops_init(&s->ops);
    arena_init(&s->scratch, SCRATCH);
    const char *folder = blob_folder(w->settings, &s->scratch);
    s->files = folder != NULL;
    s->blobs = s->files ? blobs_open(&w->loop, folder) : blobs_open_none(&w->loop);
    if (s->blobs == NULL) {
        log_error("blobs.failed", "folder=%s error=%s", folder == NULL ? "" : folder, strerror(errno));
        arena_fini(&s->scratch);
        free(s);
        return NULL;
    }
    if (s->files)
        blob_scan_begin(s);
    return s;
}

static void blobs_closed(void *arg)
{
    struct blob_store *s = arg;
    void (*closed)(void *arg) = s->closed;
    void *closed_arg = s->closed_arg;

    arena_fini(&s->scratch);
    free(s);
    closed(closed_arg);
}

void blob_store_close(struct blob_store *s, void (*closed)(void *arg), void *arg)
{
    s->closed = closed;
    s->closed_arg = arg;
    ops_detach(&s->ops);
    blob_scan_end(s);
    blobs_close(s->blobs, blobs_closed, s);
}

/* --- bytes in --- */

static void put_free(struct blob_put *p)
{
    ops_detach(&p->ops);
    loop_undefer(&p->failing);
    arena_fini(&p->arena);
    free(p);
}

static void nothing(void *arg, enum code c, const struct redis_value *v)
{
    (void)arg, (void)c, (void)v;
}

/* Pieces would expire by themselves; the sooner the better. */
static void remove_pieces(struct blob_store *s, struct space space, const char *id)
{
    struct arena a;
    arena_init(&a, KEY_MEMORY);
    const struct store_command command = STORE_COMMAND(S("UNLINK"), key_blob_bytes(&a, space, str_z(id)));
    store_read(s->worker->store, &command, 1, &s->ops, nothing, s);
    arena_fini(&a);
}

static void put_on_room(void *arg)
{
    struct blob_put *p = arg;
    p->events->on_room(p->arg);
}

static void put_on_end(void *arg, enum blob_result result, const struct blob_ref *made)
{
    struct blob_put *p = arg;
    const struct blob_put_events *events = p->events;
    void *put_arg = p->arg;
    enum code c = result == BLOB_OK ? OK : result == BLOB_OTHER ? REL_DIGEST_MISMATCH : SYS_STORAGE;

    if (c != OK && p->stored)
        remove_pieces(p->store, p->space, made->id);
    if (c == SYS_STORAGE)
        log_error("blob.failed", "tenant=%s", p->tenant);
    put_free(p);
    events->on_end(put_arg, c, made);
}

static void put_failed(void *arg)
{
    struct blob_put *p = arg;
    const struct blob_put_events *events = p->events;
    void *put_arg = p->arg;
    enum code c = p->failed;

    if (p->stored)
        remove_pieces(p->store, p->space, blob_upload_id(p->upload));
    blob_upload_drop(p->upload);
    put_free(p);
    events->on_end(put_arg, c, NULL);
}

static void fail_put(struct blob_put *p, enum code c)
{
    p->failed = c;
    loop_defer(&p->store->worker->loop, &p->failing, put_failed, p);
}

static void piece_stored(void *arg, enum code c, const struct redis_value *v)
{
    struct blob_put *p = arg;

    (void)v;
    if (c == OK)
        blob_upload_taken(p->upload);
    else
        fail_put(p, c);
}

static void put_on_piece(void *arg, uint64_t number, struct str bytes)
{
    struct blob_put *p = arg;
    struct store *store = p->store->worker->store;

    arena_reset(&p->arena);
    struct str key = key_blob_bytes(&p->arena, p->space, str_z(blob_upload_id(p->upload)));
    const struct store_command commands[] = {
        STORE_COMMAND(S("HSET"), key, arena_printf(&p->arena, "%llu", (unsigned long long)number), bytes),
        STORE_COMMAND(S("PEXPIRE"), key, arena_printf(&p->arena, "%d", PIECES_KEPT_MS)),
    };
    p->stored = true;
    enum code c =
        store_full(store) ? SYS_STORAGE : store_read(store, commands, ARRAY_LEN(commands), &p->ops, piece_stored, p);
    if (c != OK)
        fail_put(p, c);
}

struct blob_put *blob_put_start(struct blob_store *s, struct space space, struct str digest, uint64_t limit, bool keep,
                                const struct blob_put_events *events, void *arg)
{
    static const struct blob_events below = {put_on_room, put_on_piece, put_on_end};
    const struct blob_wish wish = {space.tenant, digest, limit,
                                   !keep      ? BLOB_KEEP_NOTHING
                                   : s->files ? BLOB_KEEP_FILE
                                              : BLOB_HAND_ON};
    struct blob_put *p = space.tenant.n < ID_UUID ? calloc(1, sizeof(*p)) : NULL;

    if (p == NULL)
        return NULL;
    *p = (struct blob_put){.store = s, .events = events, .arg = arg};
    memcpy(p->tenant, space.tenant.p, space.tenant.n);
    p->space = (struct space){space.partition, str_z(p->tenant)};
    ops_init(&p->ops);
    arena_init(&p->arena, KEY_MEMORY);
    p->upload = blob_upload_start(s->blobs, &wish, &below, p);
    if (p->upload == NULL) {
        put_free(p);
        return NULL;
    }
    return p;
}

bool blob_put_add(struct blob_put *p, struct str bytes)
{
    if (p->failed != OK)
        return false;
    enum blob_result result = blob_upload_add(p->upload, bytes);
    if (result == BLOB_TOO_LARGE || result == BLOB_FAILED)
        fail_put(p, result == BLOB_FAILED ? SYS_STORAGE : RES_BODY_TOO_LARGE);
    return result == BLOB_OK;
}

void blob_put_end(struct blob_put *p)
{
    if (p->failed == OK)
        blob_upload_end(p->upload);
}

void blob_put_drop(struct blob_put *p)
{
    if (p->stored)
        remove_pieces(p->store, p->space, blob_upload_id(p->upload));
    blob_upload_drop(p->upload);
    put_free(p);
}

void blob_discard(struct blob_store *s, struct space space, const struct blob_ref *made)
{
    if (s->files)
        blob_remove(s->blobs, space.tenant, made);
    else
        remove_pieces(s, space, made->id);
}

/* --- bytes out --- */

struct getting {
    blob_bytes_then *then;
    void *arg;
    uint64_t offset, size;
};

static void file_read(void *arg, const struct blob_read *read)
{
    struct getting *g = arg;
    enum code c = read->result == BLOB_OK ? OK : read->result == BLOB_UNKNOWN ? RES_NOT_FOUND : SYS_STORAGE;

    g->then(g->arg, c, c == OK ? read->bytes : STR_NONE);
}

static void piece_read(void *arg, enum code c, const struct redis_value *v)
{
    struct getting *g = arg;
    struct str bytes = redis_text(redis_at(v, 1));

    if (c == OK && redis_int(redis_at(v, 0), 0) == 0)
        c = RES_NOT_FOUND;
    if (c == OK && bytes.p == NULL && g->offset < g->size)
        c = RES_NOT_FOUND;
    g->then(g->arg, c, c != OK ? STR_NONE : bytes.p == NULL ? S("") : bytes);
}

enum code blob_bytes(struct blob_store *s, struct arena *a, struct space space, const struct blob_ref *ref,
                     uint64_t offset, struct ops *asker, blob_bytes_then *then, void *arg)
{
    struct getting *g = arena_new(a, struct getting);

    if (g == NULL)
        return SYS_OVERLOADED;
    *g = (struct getting){then, arg, offset, ref->size};
    if (s->files)
        return blob_read_start(s->blobs, space.tenant, ref, offset, asker, file_read, g) ? OK : SYS_OVERLOADED;
    struct str key = key_blob_bytes(a, space, str_z(ref->id));
    struct str number = arena_printf(a, "%llu", (unsigned long long)(offset / BLOB_PIECE));
    const struct store_command commands[] = {
        STORE_COMMAND(S("EXISTS"), key),
        STORE_COMMAND(S("HGET"), key, number),
    };
    return store_read(s->worker->store, commands, ARRAY_LEN(commands), asker, piece_read, g);
}
