/* What nobody refers to is removed: by the timer of each content, and by looking through the folder for files that no book
 * names. Both may run anywhere, at once, and twice. */
#include "server/blob_private.h"

#include "lib/log.h"
#include "server/auth.h"
#include "server/settings.h"
#include "server/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    OWNERS_AT_ONCE = 60, /* looked at in one trip */
    MEMORY = 1 << 20,
    PARTS = 256,
    FILES_AT_ONCE = 10000,
    SCAN_PAUSE_MS = 20,       /* between two parts, at least */
    FILE_AGE_MS = 3600 * 1000 /* longer than any upload takes from its file's name to its commit */
};

/* --- one content --- */

struct settling {
    struct worker *worker;
    struct arena arena;
    struct space space;
    struct blob_ref ref;
    struct str owners[OWNERS_AT_ONCE]; /* "<kind>:<id>" */
    size_t n;                          /* of these */
    size_t all;                        /* fields of the book */
    struct commit commit;
    bool over; /* nobody refers to it */
};

static void settling_free(struct settling *x)
{
    arena_fini(&x->arena);
    free(x);
}

static void settled(void *arg, const struct commit_result *result)
{
    struct settling *x = arg;

    /* Refused: the books were changed meanwhile, and the timer is still due. */
    if (result->code == OK && x->over) {
        log_info("blob.removed", "tenant=" STR_FMT " digest=%s size=%llu", STR_ARG(x->space.tenant), x->ref.digest,
                 (unsigned long long)x->ref.size);
        if (x->worker->blobs != NULL)
            blob_discard(x->worker->blobs, x->space, &x->ref);
    }
    settling_free(x);
}

static void close_book(struct settling *x, int64_t used)
{
    struct commit *c = &x->commit;
    struct str book = key_blob(&x->arena, x->space, blob_digits(&x->ref)), usage = key_blob_usage(&x->arena, x->space);
    int64_t left = used > (int64_t)x->ref.size ? used - (int64_t)x->ref.size : 0;

    commit_expect_field(c, RES_VERSION_CONFLICT, "blob", book, S("id"), str_z(x->ref.id));
    commit_expect_at_most(c, RES_VERSION_CONFLICT, "blob", book, (int64_t)x->all);
    commit_expect_field(c, RES_VERSION_CONFLICT, "blob", usage, S("bytes"), blob_number(&x->arena, used));
    commit_remove(c, book);
    commit_remove(c, key_blob_bytes(&x->arena, x->space, str_z(x->ref.id)));
    commit_hset(c, usage, S("bytes"), blob_number(&x->arena, left));
    commit_timer(c, "blob", blob_digits(&x->ref), 0);
}

static void owners_read(void *arg, enum code code, const struct redis_value *v)
{
    struct settling *x = arg;
    struct worker *w = x->worker;
    struct commit *c = &x->commit;
    size_t gone = 0;

    if (code != OK) {
        settling_free(x);
        return;
    }
    commit_begin(c, &x->arena, x->space, COMMIT_ESSENTIAL);
    struct str book = key_blob(&x->arena, x->space, blob_digits(&x->ref));
    for (size_t i = 0; i < x->n; i++)
        gone += redis_int(redis_at(v, i + 1), 1) == 0;
    x->over = gone == x->n && x->all == x->n + 2;
    if (x->over) {
        close_book(x, redis_int(redis_at(v, 0), 0));
    } else {
        for (size_t i = 0; i < x->n; i++)
            if (redis_int(redis_at(v, i + 1), 1) == 0)
                commit_hset(c, book, arena_printf(&x->arena, "r:" STR_FMT, STR_ARG(x->owners[i])), STR_NONE);
        /* When there are more than one trip takes, the rest comes at once. */
        commit_timer(c, "blob", blob_digits(&x->ref),
                     store_now_ms(w->store) + (gone > 0 && gone == x->n ? 1 : w->settings->blob_check));
    }
    if (store_commit(w->store, c, &w->ops, settled, x) != OK)
        settling_free(x);
}

static struct str document_of(struct settling *x, struct str owner)
{
    struct str id = owner, kind = str_cut(&id, ':');
    char *name = arena_z(&x->arena, kind);

    return name == NULL ? STR_NONE : key_document(&x->arena, x->space, name, id);
}

static enum code read_owners(struct settling *x)
{
    struct store_command commands[OWNERS_AT_ONCE + 1];
    struct str args[OWNERS_AT_ONCE][2];

    commands[0] = (struct store_command)STORE_COMMAND(S("HGET"), key_blob_usage(&x->arena, x->space), S("bytes"));
    for (size_t i = 0; i < x->n; i++) {
        args[i][0] = S("EXISTS");
        args[i][1] = document_of(x, x->owners[i]);
        commands[i + 1] = (struct store_command){2, args[i]};
    }
    if (x->n > 0)
        return store_read(x->worker->store, commands, x->n + 1, &x->worker->ops, owners_read, x);
    /* One command answers its reply and not an array of one. */
    commands[1] = commands[0];
    return store_read(x->worker->store, commands, 2, &x->worker->ops, owners_read, x);
}

static enum code forget_timer(struct settling *x)
{
    commit_begin(&x->commit, &x->arena, x->space, COMMIT_ESSENTIAL);
    commit_timer(&x->commit, "blob", blob_digits(&x->ref), 0);
    return store_commit(x->worker->store, &x->commit, &x->worker->ops, settled, x);
}

static void book_read(void *arg, enum code c, const struct redis_value *v)
{
    struct settling *x = arg;
    struct str id = redis_text(redis_field(v, S("id")));

    for (size_t i = 0; c == OK && i + 1 < v->count && x->n < OWNERS_AT_ONCE; i += 2) {
        struct str name = redis_text(redis_at(v, i));
        if (str_starts(name, S("r:")))
            x->owners[x->n++] = arena_str(&x->arena, str_slice(name, 2, name.n));
    }
    if (c == OK && (id.p == NULL || id.n >= ID_UUID)) {
        c = forget_timer(x);
    } else if (c == OK) {
        memcpy(x->ref.id, id.p, id.n);
        x->ref.size = (uint64_t)redis_int(redis_field(v, S("size")), 0);
        x->all = v->count / 2;
        c = read_owners(x);
    }
    if (c != OK)
        settling_free(x);
}

void blob_settle(struct worker *w, struct space space, struct str digits)
{
    struct settling *x = digits.n == 64 ? calloc(1, sizeof(*x)) : NULL;

    if (x == NULL)
        return;
    *x = (struct settling){.worker = w};
    arena_init(&x->arena, MEMORY);
    x->space = (struct space){space.partition, arena_str(&x->arena, space.tenant)};
    snprintf(x->ref.digest, sizeof(x->ref.digest), "sha256:%.64s", digits.p);
    const struct store_command command =
        STORE_COMMAND(S("HGETALL"), key_blob(&x->arena, x->space, blob_digits(&x->ref)));
    if (store_read(w->store, &command, 1, &w->ops, book_read, x) != OK)
        settling_free(x);
}

/* --- the folder --- */

/* The files of one part, looked up in the books one after the other. */
struct scanning {
    struct blob_store *store;
    struct arena arena;
    struct blob_found *found;
    size_t n, at;
};

static void scan_next(struct scanning *x);

static void scan_later(struct blob_store *s);

static void scan_over(struct scanning *x)
{
    struct blob_store *s = x->store;

    arena_fini(&x->arena);
    free(x->found);
    free(x);
    s->scan = NULL;
    scan_later(s);
}

static void named_by(void *arg, enum code c, const struct redis_value *v)
{
    struct scanning *x = arg;
    const struct blob_found *f = &x->found[x->at++];

    if (c == OK && !str_eqz(redis_text(v), f->ref.id)) {
        log_info("blob.orphan", "tenant=%s digest=%s id=%s", f->space, f->ref.digest, f->ref.id);
        blob_remove(x->store->blobs, str_z(f->space), &f->ref);
    }
    scan_next(x);
}

static void scan_next(struct scanning *x)
{
    struct store *store = x->store->worker->store;

    arena_reset(&x->arena);
    if (x->at == x->n) {
        scan_over(x);
        return;
    }
    const struct blob_found *f = &x->found[x->at];
    struct space space = {partition_of(str_z(f->space)), str_z(f->space)};
    const struct store_command command =
        STORE_COMMAND(S("HGET"), key_blob(&x->arena, space, blob_digits(&f->ref)), S("id"));
    if (store_read(store, &command, 1, &x->store->ops, named_by, x) != OK)
        scan_over(x);
}

static void part_scanned(void *arg, const struct blob_found *found, size_t n)
{
    struct blob_store *s = arg;
    struct scanning *x = n == 0 ? NULL : calloc(1, sizeof(*x));

    if (x == NULL) {
        scan_later(s);
        return;
    }
    *x = (struct scanning){.store = s, .n = n, .found = calloc(n, sizeof(*found))};
    arena_init(&x->arena, MEMORY);
    s->scan = x;
    if (x->found == NULL) {
        scan_over(x);
        return;
    }
    memcpy(x->found, found, n * sizeof(*found));
    scan_next(x);
}

static void scan_part(void *arg)
{
    struct blob_store *s = arg;
    unsigned part = s->part++ % PARTS;

    if (!store_ready(s->worker->store) ||
        !blob_scan_start(s->blobs, part, FILE_AGE_MS, FILES_AT_ONCE, &s->ops, part_scanned, s))
        scan_later(s);
}

static void scan_later(struct blob_store *s)
{
    int64_t pause = s->worker->settings->blob_check / PARTS;

    timer_start(&s->scanner, &s->worker->loop, pause < SCAN_PAUSE_MS ? SCAN_PAUSE_MS : pause, scan_part, s);
}

void blob_scan_begin(struct blob_store *s)
{
    if (s->worker->index == 0) /* for the whole process */
        scan_later(s);
}

void blob_scan_end(struct blob_store *s)
{
    timer_stop(&s->scanner);
    if (s->scan == NULL)
        return;
    arena_fini(&s->scan->arena);
    free(s->scan->found);
    free(s->scan);
    s->scan = NULL;
}
