#include "server/reseal.h"

#include "lib/keyring.h"
#include "server/settings.h"
#include "server/store/commit.h"

static const char pattern[] = "{p??}:d:*";

struct walk {
    const struct settings *settings;
    struct store *store;
    struct ops *asker;
    struct arena scratch; /* of one page of the scan */
    struct str cursor;
    struct str *keys; /* of the page */
    size_t count, at;
    struct resealed result;
    struct commit commit;
    reseal_then *then;
    void *arg;
};

static void scan(struct walk *w);
static void next_document(struct walk *w);

static void finish(struct walk *w, enum code c)
{
    arena_fini(&w->scratch);
    w->then(w->arg, c, &w->result);
}

struct place { /* what a document's key says: "{p07}:d:<tenant>:<kind>:<id>" */
    struct space space;
    struct str rest; /* "<tenant>:<kind>:<id>" */
};

static bool read_place(struct str key, struct place *out)
{
    int64_t partition;
    struct str number = str_slice(key, 2, 4), rest = str_slice(key, 8, key.n);
    if (key.n < 9 || !str_i64(number, &partition))
        return false;
    out->rest = rest;
    out->space = (struct space){(unsigned)partition, str_cut(&rest, ':')};
    return true;
}

static void resealed(void *arg, const struct commit_result *r)
{
    struct walk *w = arg;
    if (r->code == OK)
        w->result.sealed++;
    else
        w->result.failed++;
    if (r->code == SYS_STORAGE || r->code == SYS_OVERLOADED)
        finish(w, r->code);
    else
        next_document(w);
}

/* Opens and seals; false when there is nothing to do, or it cannot be done and is counted. */
static bool seal_anew(struct walk *w, const struct place *place, struct str old, struct buf *fresh)
{
    struct buf plain;
    unsigned number = 0;
    struct str context = arena_printf(&w->scratch, STR_FMT ":secrets", STR_ARG(place->rest));
    buf_init_arena(&plain, &w->scratch, old.n);
    bool opened = keyring_unseal(w->settings->keyring, context, old, &plain, &number);
    if (opened && number == keyring_newest(w->settings->keyring, KEYRING_SEAL))
        return false;
    buf_init_arena(fresh, &w->scratch, old.n);
    if (opened)
        keyring_seal(w->settings->keyring, context, buf_view(&plain), fresh);
    if (plain.p != NULL)
        crypto_wipe(plain.p, plain.n);
    w->result.failed += !opened || fresh->failed;
    return opened && !fresh->failed;
}

static void document_read(void *arg, enum code c, const struct redis_value *v)
{
    struct walk *w = arg;
    struct place place;
    struct buf fresh;
    struct str key = w->keys[w->at - 1], sealed = redis_text(redis_at(v, 0));
    struct str revision = arena_str(&w->scratch, redis_text(redis_at(v, 1)));
    if (c != OK) {
        finish(w, c);
        return;
    }
    w->result.seen += sealed.n > 0;
    if (sealed.n == 0 || !read_place(key, &place) || !seal_anew(w, &place, sealed, &fresh)) {
        next_document(w);
        return;
    }
    commit_begin(&w->commit, &w->scratch, place.space, COMMIT_ESSENTIAL);
    commit_expect_field(&w->commit, RES_VERSION_CONFLICT, "revision", key, S("r"), revision);
    commit_hset(&w->commit, key, S("s"), buf_view(&fresh));
    c = store_commit(w->store, &w->commit, w->asker, resealed, w);
    if (c != OK)
        finish(w, c);
}

static void next_document(struct walk *w)
{
    if (w->at == w->count) {
        if (str_eq(w->cursor, S("0")))
            finish(w, OK);
        else
            scan(w);
        return;
    }
    struct str key = w->keys[w->at++];
    const struct store_command read = STORE_COMMAND(S("HMGET"), key, S("s"), S("r"));
    enum code c = store_read(w->store, &read, 1, w->asker, document_read, w);
    if (c != OK)
        finish(w, c);
}

static void scanned(void *arg, enum code c, const struct redis_value *v)
{
    struct walk *w = arg;
    const struct redis_value *found = redis_at(v, 1);
    if (c != OK) {
        finish(w, c);
        return;
    }
    arena_reset(&w->scratch);
    w->cursor = arena_str(&w->scratch, redis_text(redis_at(v, 0)));
    w->keys = arena_array(&w->scratch, found->count + 1, sizeof *w->keys);
    w->count = w->at = 0;
    for (size_t i = 0; w->keys != NULL && i < found->count; i++)
        w->keys[w->count++] = arena_str(&w->scratch, redis_text(redis_at(found, i)));
    if (w->keys == NULL || w->cursor.p == NULL)
        finish(w, SYS_OVERLOADED);
    else
        next_document(w);
}

static void scan(struct walk *w)
{
    const struct store_command page =
        STORE_COMMAND(S("SCAN"), w->cursor, S("MATCH"), str_z(pattern), S("COUNT"), S("500"));
    enum code c = store_read(w->store, &page, 1, w->asker, scanned, w);
    if (c != OK)
        finish(w, c);
}

enum code reseal(const struct settings *s, struct store *store, struct arena *arena, struct ops *asker,
                 reseal_then *then, void *arg)
{
    struct walk *w = arena_new(arena, struct walk);
    if (w == NULL)
        return SYS_OVERLOADED;
    *w = (struct walk){.settings = s, .store = store, .asker = asker, .cursor = S("0"), .then = then, .arg = arg};
    arena_init(&w->scratch, 0);
    const struct store_command page =
        STORE_COMMAND(S("SCAN"), S("0"), S("MATCH"), str_z(pattern), S("COUNT"), S("500"));
    enum code c = store_read(store, &page, 1, asker, scanned, w);
    if (c != OK)
        arena_fini(&w->scratch);
    return c;
}
