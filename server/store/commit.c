#include "server/store/commit.h"
#include <string.h>
#include "lib/log.h"
#include "lib/must.h"
#include "lib/pack.h"
#include "server/store/admit.h"
#include "server/store/internal.h"

enum { FACET_MAX = 512, LONG = 256 };

/* Absent text is false, which Lua can keep in a table. */
static void pack_maybe(struct buf *b, struct str s)
{
    if (s.p)
        pack_str(b, s);
    else
        pack_bool(b, false);
}

void commit_begin(struct commit *c, struct arena *a, struct space space, unsigned flags)
{
    memset(c, 0, sizeof *c);
    c->arena = a;
    c->space = space;
    c->flags = flags;
    buf_init_arena(&c->checks, a, 256);
    buf_init_arena(&c->writes, a, 1024);
    c->failed = !space.tenant.p;
}

/* --- checks --- */

static struct buf *add_check(struct commit *c, unsigned arguments, const char *verb, enum code refused,
                             const char *label)
{
    struct buf *b = &c->checks;

    c->check_count++;
    pack_array(b, 3 + arguments);
    pack_z(b, verb);
    pack_int(b, refused);
    pack_z(b, label);
    return b;
}

static void pack_key(struct commit *c, struct buf *b, struct str key)
{
    if (!key.p)
        c->failed = true;
    pack_maybe(b, key);
}

/* A text that may be long; then its number stands in the plan. */
static void pack_text(struct commit *c, struct buf *b, struct str text)
{
    if (text.n < LONG || c->text_count == ARRAY_LEN(c->texts)) {
        pack_key(c, b, text);
        return;
    }
    c->texts[c->text_count++] = text;
    pack_int(b, (int64_t)c->text_count);
}

void commit_expect_revision(struct commit *c, enum code refused, const char *label, const char *kind, struct str id,
                            int64_t revision)
{
    struct buf *b = add_check(c, 3, "revision", refused, label);

    pack_z(b, kind);
    pack_key(c, b, id);
    pack_int(b, revision);
}

void commit_expect_exists(struct commit *c, enum code refused, const char *label, struct str key)
{
    pack_key(c, add_check(c, 1, "exists", refused, label), key);
}

void commit_expect_absent(struct commit *c, enum code refused, const char *label, struct str key)
{
    pack_key(c, add_check(c, 1, "absent", refused, label), key);
}

void commit_expect_field(struct commit *c, enum code refused, const char *label, struct str key, struct str field,
                         struct str value)
{
    struct buf *b = add_check(c, 3, "field", refused, label);

    pack_key(c, b, key);
    pack_str(b, field);
    pack_maybe(b, value);
}

void commit_expect_unique(struct commit *c, enum code refused, const char *label, struct str key, struct str value,
                          struct str mine)
{
    struct buf *b = add_check(c, 3, "unique", refused, label);

    pack_key(c, b, key);
    pack_str(b, value);
    pack_maybe(b, mine);
}

void commit_expect_at_most(struct commit *c, enum code refused, const char *label, struct str key, int64_t most)
{
    struct buf *b = add_check(c, 2, "most", refused, label);

    pack_key(c, b, key);
    pack_int(b, most);
}

void commit_expect_lease(struct commit *c, enum code refused, const char *label, struct str run, int64_t token)
{
    struct buf *b = add_check(c, 2, "lease", refused, label);

    pack_key(c, b, run);
    pack_int(b, token);
}

/* --- how a document is found --- */

void index_begin(struct commit_index *x, struct arena *a)
{
    memset(x, 0, sizeof *x);
    buf_init_arena(&x->facets, a, 256);
    buf_init_arena(&x->numbers, a, 64);
    buf_init_arena(&x->texts, a, 64);
    buf_init_arena(&x->uniques, a, 64);
}

void index_facet(struct commit_index *x, struct str field, struct str value)
{
    char text[FACET_MAX];
    size_t n = field.n + 1 + value.n;

    if (n > sizeof text) {
        log_error("store.long_facet", "field=" STR_FMT " bytes=%zu", STR_ARG(field), value.n);
        x->facets.failed = true;
        return;
    }
    memcpy(text, field.p, field.n);
    text[field.n] = '=';
    if (value.n)
        memcpy(text + field.n + 1, value.p, value.n);
    x->facet_count++;
    pack_str(&x->facets, (struct str){text, n});
}

void index_number(struct commit_index *x, const char *field, double value)
{
    x->number_count++;
    pack_array(&x->numbers, 2);
    pack_z(&x->numbers, field);
    pack_real(&x->numbers, value);
}

void index_text(struct commit_index *x, const char *field, struct str value)
{
    x->text_count++;
    pack_array(&x->texts, 2);
    pack_z(&x->texts, field);
    pack_str(&x->texts, value);
}

void index_unique(struct commit_index *x, enum code refused, struct str parent, const char *field, struct str value)
{
    struct buf *b = &x->uniques;

    x->unique_count++;
    pack_array(b, 4);
    if (parent.n) {
        char text[128];
        int n = snprintf(text, sizeof text, STR_FMT ":%s", STR_ARG(parent), field);

        must(n > 0 && (size_t)n < sizeof text);
        pack_str(b, (struct str){text, (size_t)n});
    } else {
        pack_z(b, field);
    }
    pack_str(b, value);
    pack_int(b, refused);
    pack_z(b, field);
}

static void pack_index(struct commit *c, struct buf *out, const struct commit_index *x)
{
    struct buf b;

    buf_init_arena(&b, c->arena, x->facets.n + x->numbers.n + x->texts.n + x->uniques.n + 32);
    pack_array(&b, 4);
    pack_array(&b, x->facet_count);
    buf_str(&b, buf_view(&x->facets));
    pack_array(&b, x->number_count);
    buf_str(&b, buf_view(&x->numbers));
    pack_array(&b, x->text_count);
    buf_str(&b, buf_view(&x->texts));
    pack_array(&b, x->unique_count);
    buf_str(&b, buf_view(&x->uniques));
    c->failed |= b.failed || x->facets.failed || x->numbers.failed || x->texts.failed || x->uniques.failed;
    pack_str(out, buf_view(&b));
}

/* --- writes --- */

static struct buf *add_write(struct commit *c, unsigned arguments, const char *verb)
{
    struct buf *b = &c->writes;

    c->write_count++;
    pack_array(b, 1 + arguments);
    pack_z(b, verb);
    return b;
}

void commit_put(struct commit *c, const struct commit_document *d)
{
    struct buf *b = add_write(c, 7, "put");

    pack_z(b, d->kind);
    pack_key(c, b, d->id);
    pack_int(b, d->revision);
    pack_int(b, d->schema);
    pack_text(c, b, d->json);
    c->text = d->json;
    if (d->index)
        pack_index(c, b, d->index);
    else
        pack_bool(b, false);
    pack_maybe(b, d->sealed);
}

void commit_field(struct commit *c, const char *kind, struct str id, struct str field, struct str value)
{
    static const char *const ours[] = {"j", "r", "sv", "o", "x", "s", "ik"};
    struct buf *b = add_write(c, 4, "field");

    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        must(!str_eqz(field, ours[i]));
    pack_z(b, kind);
    pack_key(c, b, id);
    pack_key(c, b, field);
    pack_maybe(b, value);
}

void commit_delete(struct commit *c, const char *kind, struct str id, int64_t revision)
{
    struct buf *b = add_write(c, 3, "delete");

    pack_z(b, kind);
    pack_key(c, b, id);
    pack_int(b, revision);
}

void commit_event(struct commit *c, struct str channel, struct str rest)
{
    struct buf *b = add_write(c, 2, "event");

    pack_key(c, b, channel);
    pack_text(c, b, rest);
}

void commit_channel(struct commit *c, struct str channel, int64_t keep, int64_t ttl_ms)
{
    struct buf *b = add_write(c, 3, "channel");

    pack_key(c, b, channel);
    pack_int(b, keep);
    pack_int(b, ttl_ms);
}

void commit_window(struct commit *c, struct str channel, int64_t window_ms)
{
    struct buf *b = add_write(c, 4, "channel");

    pack_key(c, b, channel);
    pack_int(b, 0);
    pack_int(b, 0);
    pack_int(b, window_ms);
}

void commit_audit(struct commit *c, struct str json)
{
    pack_text(c, add_write(c, 1, "audit"), json);
}

void commit_inbox(struct commit *c, const char *kind, struct str run, struct str id, struct str entry)
{
    struct buf *b = add_write(c, 4, "inbox");

    pack_key(c, b, run);
    pack_str(b, id.p ? id : S(""));
    pack_text(c, b, entry);
    pack_z(b, kind);
}

void commit_claim(struct commit *c, const char *kind, struct str run, struct str owner, int64_t lease_ms)
{
    struct buf *b = add_write(c, 4, "claim");

    pack_key(c, b, run);
    pack_key(c, b, owner);
    pack_int(b, lease_ms);
    pack_z(b, kind);
}

void commit_drained(struct commit *c, const char *kind, struct str run, int64_t token, unsigned consumed,
                    int64_t lease_ms)
{
    struct buf *b = add_write(c, 5, "drained");

    pack_key(c, b, run);
    pack_int(b, token);
    pack_int(b, consumed);
    pack_int(b, lease_ms);
    pack_z(b, kind);
}

void commit_hset(struct commit *c, struct str key, struct str field, struct str value)
{
    struct buf *b = add_write(c, 3, "hset");

    pack_key(c, b, key);
    pack_key(c, b, field);
    if (value.p)
        pack_text(c, b, value);
    else
        pack_bool(b, false);
}

void commit_hset_all(struct commit *c, struct str key, const struct commit_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        commit_hset(c, key, fields[i].name, fields[i].value);
}

void commit_zset(struct commit *c, struct str key, struct str member, double score)
{
    struct buf *b = add_write(c, 3, "zset");

    pack_key(c, b, key);
    pack_key(c, b, member);
    pack_real(b, score);
}

void commit_zrem(struct commit *c, struct str key, struct str member)
{
    struct buf *b = add_write(c, 2, "zrem");

    pack_key(c, b, key);
    pack_key(c, b, member);
}

void commit_remove(struct commit *c, struct str key)
{
    pack_key(c, add_write(c, 1, "remove"), key);
}

void commit_expire(struct commit *c, struct str key, int64_t ttl_ms)
{
    struct buf *b = add_write(c, 2, "expire");

    pack_key(c, b, key);
    pack_int(b, ttl_ms);
}

void commit_revoked(struct commit *c)
{
    add_write(c, 0, "revoked");
}

/* A member of the partition's lists names its tenant. */
static struct str member(struct commit *c, const char *kind, struct str id)
{
    if (!id.p || !c->space.tenant.p)
        return STR_NONE;
    return arena_printf(c->arena, STR_FMT ":%s" STR_FMT, STR_ARG(c->space.tenant), kind, STR_ARG(id));
}

void commit_timer(struct commit *c, const char *kind, struct str id, int64_t due_ms)
{
    struct str key = key_timers(c->arena, c->space.partition);
    struct str what = id.p ? arena_printf(c->arena, "%s:" STR_FMT, kind, STR_ARG(id)) : STR_NONE;

    if (due_ms > 0)
        commit_zset(c, key, member(c, "", what), (double)due_ms);
    else
        commit_zrem(c, key, member(c, "", what));
}

void commit_queue(struct commit *c, struct str what, int64_t visible_ms)
{
    struct str key = key_queue(c->arena, c->space.partition);

    if (visible_ms >= 0)
        commit_zset(c, key, member(c, "", what), (double)visible_ms);
    else
        commit_zrem(c, key, member(c, "", what));
}

static void zset_now(struct commit *c, struct str key, struct str what)
{
    struct buf *b = add_write(c, 3, "zset");

    pack_key(c, b, key);
    pack_key(c, b, what);
    pack_bool(b, false);
}

void commit_waiting(struct commit *c, struct str what, bool waits)
{
    struct str key = key_waiting(c->arena, c->space);

    if (waits)
        zset_now(c, key, what);
    else
        commit_zrem(c, key, what);
}

void commit_beat(struct commit *c, struct str agent, bool alive)
{
    struct str key = key_liveness(c->arena, c->space.partition);

    if (alive)
        zset_now(c, key, member(c, "", agent));
    else
        commit_zrem(c, key, member(c, "", agent));
}

void commit_task(struct commit *c, struct str agent, struct str task, struct str envelope)
{
    commit_hset(c, key_tasks(c->arena, c->space, agent), task, envelope);
}

void commit_roster(struct commit *c, struct str agent, struct str json)
{
    commit_hset(c, key_roster(c->arena, c->space), agent, json);
}

void commit_idempotency(struct commit *c, struct str key, struct str owner, int64_t keep_ms, const struct str *fields,
                        size_t n, const struct commit_answer *of)
{
    struct buf *b = add_write(c, of == NULL ? 4 : 8, "idempotency");

    pack_key(c, b, key);
    pack_maybe(b, owner);
    pack_int(b, keep_ms);
    pack_array(b, (uint32_t)n);
    for (size_t i = 0; i < n; i++)
        pack_key(c, b, fields[i]);
    if (of == NULL)
        return;
    pack_key(c, b, str_z(of->kind));
    pack_key(c, b, of->id);
    pack_int(b, of->revision);
    if (of->json.p && of->json.p == c->text.p)
        pack_bool(b, false); /* the put has it */
    else
        pack_text(c, b, of->json);
}

/* --- sending --- */

int64_t commit_seq(const struct commit_result *r, size_t i)
{
    return redis_int(redis_at(r->seqs, i), 0);
}

static void decode(enum code c, const struct redis_value *v, void (*then)(void), void *arg)
{
    struct commit_result r = {.code = c};

    if (c == OK) {
        r.now_ms = redis_int(redis_at(v, 1), 0);
        r.epoch = redis_int(redis_at(v, 2), 0);
    }
    if (c == OK && redis_int(redis_at(v, 0), 0) == 1) {
        r.seqs = redis_at(v, 4);
        r.seq_count = r.seqs->count;
        r.audit_seq = redis_int(redis_at(v, 5), 0);
        r.dropped = (size_t)redis_int(redis_at(v, 6), 0);
        r.claimed = !redis_is_nil(redis_at(v, 7));
        if (r.claimed)
            store_read_claim(redis_at(v, 7), &r.claim);
    } else if (c == OK) {
        r.code = store_refusal(redis_at(v, 4), redis_at(v, 5), redis_at(v, 6));
        r.label = redis_text(redis_at(v, 5));
        r.found = redis_int(redis_at(v, 6), 0);
        r.found_text = redis_text(redis_at(v, 6));
    }
    ((commit_then *)then)(arg, &r);
}

enum code store_commit(struct store *s, struct commit *c, struct ops *asker, commit_then *then, void *arg)
{
    struct buf plan;

    /* What was made with an arena that refused something may lack it. */
    if (c->failed || c->checks.failed || c->writes.failed || c->arena->failed)
        return SYS_OVERLOADED;
    if ((c->flags & COMMIT_GROWS) && store_full(s))
        return SYS_STORAGE;
    buf_init_arena(&plan, c->arena, c->checks.n + c->writes.n + c->space.tenant.n + 32);
    pack_array(&plan, 3);
    pack_str(&plan, c->space.tenant);
    pack_array(&plan, c->check_count);
    buf_str(&plan, buf_view(&c->checks));
    pack_array(&plan, c->write_count);
    buf_str(&plan, buf_view(&c->writes));
    return store_send_with(s, c->flags & COMMIT_ESSENTIAL ? "finish_1" : "commit_1", c->space.partition, &plan,
                           c->texts, c->text_count, asker, decode, STORE_THEN(then), arg);
}
