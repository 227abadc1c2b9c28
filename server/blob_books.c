#include "server/blob_private.h"

#include "server/settings.h"
#include "server/worker.h"

#include <stdio.h>
#include <string.h>

struct looking {
    struct blob_books books;
    blob_books_then *then;
    void *arg;
};

static void books_read(void *arg, enum code c, const struct redis_value *v)
{
    struct looking *l = arg;
    const struct redis_value *book = redis_at(v, 0);
    struct str id = redis_text(redis_at(book, 0));

    if (c == OK && id.p != NULL) {
        l->books.there = id.n < ID_UUID;
        snprintf(l->books.ref.id, sizeof(l->books.ref.id), STR_FMT, STR_ARG(id));
        l->books.ref.size = (uint64_t)redis_int(redis_at(book, 1), 0);
    }
    l->books.used = redis_int(redis_at(v, 1), 0);
    l->then(l->arg, c, c == OK ? &l->books : NULL);
}

enum code blob_books_read(struct blob_store *s, struct arena *a, struct space space, struct str digest,
                          struct ops *asker, blob_books_then *then, void *arg)
{
    struct looking *l = arena_new(a, struct looking);

    if (l == NULL)
        return SYS_OVERLOADED;
    if (!blob_digest_valid(digest))
        return RES_NOT_FOUND;
    *l = (struct looking){.then = then, .arg = arg};
    memcpy(l->books.ref.digest, digest.p, digest.n);
    const struct store_command commands[] = {
        STORE_COMMAND(S("HMGET"), key_blob(a, space, blob_digits(&l->books.ref)), S("id"), S("size")),
        STORE_COMMAND(S("HGET"), key_blob_usage(a, space), S("bytes")),
    };
    return store_read(s->worker->store, commands, ARRAY_LEN(commands), asker, books_read, l);
}

struct str blob_number(struct arena *a, int64_t n)
{
    return n == 0 ? STR_NONE : arena_int(a, n);
}

/* The bytes are new: they get a book and count. */
static enum code open_book(struct blob_store *s, struct commit *c, struct arena *a, struct space space,
                           const struct blob_books *books, const struct blob_ref *made)
{
    struct str book = key_blob(a, space, blob_digits(made)), usage = key_blob_usage(a, space);
    int64_t used = books->used + (int64_t)made->size;

    if (!books->there && used > s->worker->settings->blob_quota)
        return RES_QUOTA_EXCEEDED;
    commit_hset(c, book, S("id"), str_z(made->id));
    commit_hset(c, book, S("size"), arena_printf(a, "%llu", (unsigned long long)made->size));
    if (!s->files && made->size > 0) {
        struct str bytes = key_blob_bytes(a, space, str_z(made->id));
        commit_expect_exists(c, SYS_STORAGE, "bytes", bytes); /* they may have expired: it took too long */
        commit_expire(c, bytes, -1);
    }
    if (books->there)
        return OK;
    commit_expect_field(c, RES_ALREADY_EXISTS, "blob", usage, S("bytes"), blob_number(a, books->used));
    commit_hset(c, usage, S("bytes"), blob_number(a, used));
    return OK;
}

enum code blob_refer(struct blob_store *s, struct commit *c, struct arena *a, struct space space,
                     const struct blob_books *books, const struct blob_ref *made, bool replace, struct str owner)
{
    struct str book = key_blob(a, space, blob_digits(made));
    struct str field = arena_printf(a, "r:" STR_FMT, STR_ARG(owner));
    enum code code = OK;

    commit_expect_field(c, RES_ALREADY_EXISTS, "blob", book, S("id"), books->there ? str_z(books->ref.id) : STR_NONE);
    if (!books->there || replace)
        code = open_book(s, c, a, space, books, made);
    commit_hset(c, book, field, S("1"));
    commit_timer(c, "blob", blob_digits(made), store_now_ms(s->worker->store) + s->worker->settings->blob_check);
    return code;
}
