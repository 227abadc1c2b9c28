#include "server/engine/environment_settle.h"

#include "server/engine/drain.h"
#include "server/engine/environment_private.h"
#include "server/engine/rollback_settle.h"
#include "server/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    PUT_OFF_MS = 5000,  /* while it is settled the timer is put off by this, and up to as much again */
    POLL_MS = 5000,     /* a run has ended, but its job has not yet */
    PASSES_MOST = 1000, /* then it is left to the sweep */
    SETTLES_MOST = 1000
};

struct settles {
    struct worker *worker;
    struct list list;
    size_t n;
};

static void look(struct settle *s);

struct settles *settles_open(struct worker *w)
{
    struct settles *ss = calloc(1, sizeof(*ss));

    if (ss != NULL) {
        ss->worker = w;
        list_init(&ss->list);
    }
    return ss;
}

static void settle_free(struct settle *s)
{
    ops_detach(&s->ops);
    loop_undefer(&s->task);
    list_remove(&s->link);
    s->settles->n--;
    arena_fini(&s->arena);
    free(s);
}

void settles_close(struct settles *ss)
{
    while (ss != NULL && !list_empty(&ss->list))
        settle_free(list_entry(ss->list.next, struct settle, link));
    free(ss);
}

static void begin(void *arg)
{
    struct settle *s = arg;

    arena_reset(&s->arena);
    s->again = false;
    s->n_pending = s->n_approved = s->n_woken = s->n_followers = 0;
    s->held = (struct promoted){0};
    s->run = s->job = NULL;
    if (++s->passes > PASSES_MOST)
        settle_free(s);
    else
        look(s);
}

void environment_settle(struct worker *w, struct space space, struct str environment)
{
    struct settles *ss = w->settles;
    struct settle *s;

    if (ss == NULL || space.tenant.n != ID_UUID - 1 || environment.n != ID_UUID - 1)
        return;
    for (struct list *at = ss->list.next; at != &ss->list; at = at->next) {
        s = list_entry(at, struct settle, link);
        if (str_eq(s->id, environment) && str_eq(s->space.tenant, space.tenant)) {
            s->again = true;
            return;
        }
    }
    s = ss->n >= SETTLES_MOST ? NULL : calloc(1, sizeof(*s));
    if (s == NULL)
        return;
    s->settles = ss;
    memcpy(s->tenant, space.tenant.p, space.tenant.n);
    memcpy(s->environment, environment.p, environment.n);
    s->space = (struct space){space.partition, str_z(s->tenant)};
    s->id = str_z(s->environment);
    arena_init(&s->arena, 0);
    ops_init(&s->ops);
    list_append(&ss->list, &s->link);
    ss->n++;
    loop_defer(&w->loop, &s->task, begin, s);
}

void environment_wake(struct commit *c, struct str environment, int64_t now_ms)
{
    commit_timer(c, ENVIRONMENT_TIMER, environment, now_ms);
}

static struct str run_environment(const struct run *r)
{
    struct str promotion = json_str(json_get(r->origin.context, "promotionId"));

    return promotion.n == 0 ? STR_NONE : json_str(json_get(r->origin.context, "environmentId"));
}

void environment_wake_run(struct commit *c, const struct run *r, int64_t now_ms)
{
    struct str environment = run_environment(r);

    if (environment.n > 0)
        environment_wake(c, environment, now_ms);
}

void environment_settle_run(struct worker *w, struct space space, const struct run *r)
{
    environment_settle(w, space, run_environment(r));
}

/* --- what the parts share --- */

struct worker *settle_worker(struct settle *s)
{
    return s->settles->worker;
}

void settle_drop(struct settle *s)
{
    settle_free(s);
}

const struct json *settle_json(struct settle *s, const struct redis_value *v)
{
    struct str text = v == NULL || redis_is_nil(v) ? STR_NONE : arena_str(&s->arena, redis_text(v));

    return text.p == NULL ? NULL : document_json(&s->arena, text, NULL);
}

void settle_begin_commit(struct settle *s)
{
    commit_begin(&s->commit, &s->arena, s->space, COMMIT_ESSENTIAL);
    commit_expect_field(&s->commit, RES_VERSION_CONFLICT, "holder", key_environment_holders(&s->arena, s->space), s->id,
                        s->holder.n > 0 ? s->holder : STR_NONE);
}

void settle_change(struct settle *s, const struct promoted *p)
{
    promotion_change(&s->change, &s->arena, s->space, p->json, p->revision, s->now_ms);
}

static void committed(void *arg, const struct commit_result *result)
{
    struct settle *s = arg;
    struct worker *w = settle_worker(s);
    bool moved = result->code == RES_VERSION_CONFLICT || result->code == RES_NOT_FOUND;

    if (result->code != OK && !moved) {
        settle_drop(s);
        return;
    }
    if (result->code == OK && s->starting != NULL && s->made.run != NULL)
        drain_run(w, &workflow_kind, s->space, str_z(s->made.id));
    for (size_t i = 0; result->code == OK && i < s->n_woken; i++)
        environment_settle(w, s->space, s->woken[i]);
    s->starting = NULL;
    s->made.run = NULL;
    begin(s);
}

void settle_commit(struct settle *s)
{
    if (store_commit(settle_worker(s)->store, &s->commit, &s->ops, committed, s) != OK)
        settle_drop(s);
}

/* --- rest --- */

static void rested(void *arg, enum code c, const struct redis_value *v)
{
    struct settle *s = arg;
    struct worker *w = settle_worker(s);

    (void)c; /* a timer that stays only makes it be looked at once more */
    (void)v;
    if (!s->again) {
        settle_free(s);
        return;
    }
    s->passes = 0;
    loop_defer(&w->loop, &s->task, begin, s);
}

static struct str timer_member(struct settle *s)
{
    return arena_printf(&s->arena, STR_FMT ":" ENVIRONMENT_TIMER ":" STR_FMT, STR_ARG(s->space.tenant), STR_ARG(s->id));
}

/* Nothing is left to do before `wake_ms` (0: ever). The timer is taken off if it is still as we put it: when somebody has
 * set it since, there is something new. */
static void rest(struct settle *s, int64_t wake_ms)
{
    struct str key = key_timers(&s->arena, s->space.partition), score = str_z(s->score);
    const struct store_command commands[] = {
        STORE_COMMAND(S("ZREMRANGEBYSCORE"), key, score, score),
        STORE_COMMAND(S("ZADD"), key, S("NX"), arena_int(&s->arena, wake_ms), timer_member(s)),
    };

    if (store_read(settle_worker(s)->store, commands, wake_ms > 0 ? 2 : 1, &s->ops, rested, s) != OK)
        settle_drop(s);
}

/* --- decide --- */

static void free_environment(struct settle *s)
{
    settle_begin_commit(s);
    commit_hset(&s->commit, key_environment_holders(&s->arena, s->space), s->id, STR_NONE);
    environment_wake(&s->commit, s->id, s->now_ms);
    settle_commit(s);
}

static void note_job(struct settle *s)
{
    settle_begin_commit(s);
    settle_change(s, &s->held);
    overlay_json(&s->change.set, "deploymentJobId", json_get(s->job, "id"));
    promotion_write(&s->commit, &s->change, PROMOTION_DEPLOYING, NULL, NULL);
    settle_commit(s);
}

/* The holder, as far as it is a promotion: true when a commit is on its way. */
static bool move_held(struct settle *s)
{
    if (!str_starts(s->holder, S(PROMOTION_KIND ":")))
        return false;
    if (s->held.json == NULL || promotion_status(s->held.json) != PROMOTION_DEPLOYING) {
        free_environment(s);
        return true;
    }
    if (settle_run_ended(s->run) && settle_job_ended(s->job)) {
        settle_end(s);
        return true;
    }
    if (s->job != NULL &&
        !str_eq(json_str(json_get(s->job, "id")), json_str(json_get(s->held.json, "deploymentJobId")))) {
        note_job(s);
        return true;
    }
    return false;
}

/* A line may name what is gone, or has moved on, only if a promotion was taken away by hand. */
static void strike(struct settle *s, struct str line, const struct promoted *p)
{
    commit_begin(&s->commit, &s->arena, s->space, COMMIT_ESSENTIAL);
    commit_zrem(&s->commit, line, p->id);
    settle_commit(s);
}

static void set_blocker(struct settle *s, const char *gate, const char *message)
{
    overlay_raw(&s->change.set, "blockers",
                arena_printf(&s->arena, "[{\"gate\":\"%s\",\"message\":\"%s\"}]", gate, message));
}

/* A new one: on to approval, or approved at once. A freeze does not reject it; it waits as an approved one. */
static void judge_pending(struct settle *s, const struct promoted *p)
{
    int64_t required = json_int(json_get(s->document, "requiredApprovals"), 0);

    if (p->json == NULL || promotion_status(p->json) != PROMOTION_PENDING) {
        strike(s, key_promotions_pending(&s->arena, s->space, s->id), p);
        return;
    }
    settle_begin_commit(s);
    settle_change(s, p);
    overlay_raw(&s->change.set, "approvals",
                arena_printf(&s->arena, "{\"received\":0,\"remaining\":%lld,\"required\":%lld}", (long long)required,
                             (long long)required));
    if (required > 0)
        set_blocker(s, "approval", "it waits to be approved");
    promotion_write(&s->commit, &s->change, required > 0 ? PROMOTION_AWAITING : PROMOTION_APPROVED,
                    required > 0 ? "promotion.approval_requested" : "promotion.approved", NULL);
    settle_commit(s);
}

static bool same_blockers(struct settle *s, const struct promoted *p, struct str blockers)
{
    return json_equal(json_get(p->json, "blockers"), json_parse(&s->arena, blockers, NULL, NULL));
}

/* The first that may start does; the others say what they wait for. True when something is on its way. */
static bool move_approved(struct settle *s, int64_t *wake_ms)
{
    for (size_t i = 0; i < s->n_approved; i++) {
        const struct promoted *p = &s->approved[i];
        struct str blockers;
        if (p->json == NULL || promotion_status(p->json) != PROMOTION_APPROVED) {
            strike(s, key_promotions_approved(&s->arena, s->space, s->id), p);
            return true;
        }
        const struct freeze_outlook outlook =
            freeze_judge(s->freezes.windows, s->freezes.count, json_get(p->json, "freezeOverride"), s->now_ms);
        if (outlook.blocking == 0 && s->holder.n == 0) {
            settle_start(s, p);
            return true;
        }
        if (outlook.blocking > 0 && (*wake_ms == 0 || outlook.until_ms < *wake_ms))
            *wake_ms = outlook.until_ms;
        blockers = settle_blockers(&s->arena, p->json, s->holder, &s->freezes, s->now_ms);
        if (blockers.p != NULL && !same_blockers(s, p, blockers)) {
            settle_begin_commit(s);
            settle_change(s, p);
            overlay_raw(&s->change.set, "blockers", blockers);
            promotion_write(&s->commit, &s->change, PROMOTION_APPROVED, NULL, NULL);
            settle_commit(s);
            return true;
        }
    }
    return false;
}

void settle_decide(struct settle *s)
{
    int64_t wake_ms = 0;

    if (move_held(s))
        return;
    if (s->n_pending > 0) {
        judge_pending(s, &s->pending[0]);
        return;
    }
    if (move_approved(s, &wake_ms))
        return;
    if (s->run != NULL && settle_run_ended(s->run))
        wake_ms = s->now_ms + POLL_MS;
    rest(s, wake_ms);
}

/* --- load --- */

static void got_windows(void *arg, enum code c, const struct page_result *result)
{
    struct settle *s = arg;

    if (c != OK || !freeze_set_fill(&s->arena, &s->freezes, result))
        settle_drop(s);
    else if (s->held.json != NULL)
        settle_read_held(s);
    else
        settle_decide(s);
}

static void read_windows(struct settle *s)
{
    const struct page_query q = freeze_set_query(&s->freezes, s->space);

    if (s->freezes.n > 0 && s->n_approved > 0) {
        if (store_page(settle_worker(s)->store, &s->arena, &q, &s->ops, got_windows, s) != OK)
            settle_drop(s);
    } else if (s->held.json != NULL) {
        settle_read_held(s);
    } else {
        settle_decide(s);
    }
}

static void take(struct settle *s, struct promoted *p, const struct redis_value *v)
{
    p->json = settle_json(s, redis_at(v, 0));
    p->revision = redis_int(redis_at(v, 1), 0);
}

static void loaded(void *arg, enum code c, const struct redis_value *v)
{
    struct settle *s = arg;
    size_t at = 1;

    if (c != OK) {
        settle_drop(s);
        return;
    }
    take(s, &s->held, redis_at(v, at++));
    for (size_t i = 0; i < s->n_pending; i++)
        take(s, &s->pending[i], redis_at(v, at++));
    for (size_t i = 0; i < s->n_approved; i++)
        take(s, &s->approved[i], redis_at(v, at++));
    read_windows(s);
}

static bool ask(struct settle *s, struct store_command *command, struct str id)
{
    struct str *argv = arena_array(&s->arena, 4, sizeof(*argv));

    if (argv == NULL)
        return false;
    argv[0] = S("HMGET");
    argv[1] = key_document(&s->arena, s->space, PROMOTION_KIND, id.n == 0 ? S("none") : id);
    argv[2] = S("j");
    argv[3] = S("r");
    *command = (struct store_command){4, argv};
    return true;
}

/* The promotions that matter, in one trip; the first command keeps the answer an array. */
static void load(struct settle *s)
{
    struct store_command commands[SETTLE_PENDING + SETTLE_APPROVED + 2] = {
        STORE_COMMAND(S("EXISTS"), key_environment_holders(&s->arena, s->space))};
    size_t n = 1;
    bool ok = ask(s, &commands[n++], s->held.id);

    for (size_t i = 0; ok && i < s->n_pending; i++)
        ok = ask(s, &commands[n++], s->pending[i].id);
    for (size_t i = 0; ok && i < s->n_approved; i++)
        ok = ask(s, &commands[n++], s->approved[i].id);
    if (!ok || store_read(settle_worker(s)->store, commands, n, &s->ops, loaded, s) != OK)
        settle_drop(s);
}

/* A rollback that holds the environment ends by itself, when its job has. */
static void asked_rollback(void *arg, enum code c, bool freed)
{
    struct settle *s = arg;

    if (c != OK)
        settle_drop(s);
    else if (freed)
        begin(s);
    else
        load(s);
}

static enum code ask_rollback(struct settle *s)
{
    struct str id = s->holder;

    str_cut(&id, ':');
    return rollback_settle(settle_worker(s), s->space, s->id, id, &s->ops, asked_rollback, s);
}

/* --- look --- */

static size_t ids(struct settle *s, const struct redis_value *v, struct promoted *out, size_t most)
{
    size_t n = 0;

    for (size_t i = 0; v != NULL && i < v->count && n < most; i++)
        out[n++] = (struct promoted){.id = arena_str(&s->arena, redis_text(redis_at(v, i)))};
    return n;
}

static struct str text(struct settle *s, const struct redis_value *v)
{
    return v == NULL || redis_is_nil(v) ? STR_NONE : arena_str(&s->arena, redis_text(v));
}

static void looked(void *arg, enum code c, const struct redis_value *v)
{
    struct settle *s = arg;
    struct arena *a = &s->arena;

    if (c != OK || !freeze_set_open(a, freeze_facet(a, s->space, s->id), redis_at(v, 6), &s->freezes)) {
        settle_drop(s);
        return;
    }
    s->holder = text(s, redis_at(v, 1));
    s->fact = text(s, redis_at(v, 2));
    s->n_pending = ids(s, redis_at(v, 3), s->pending, SETTLE_PENDING);
    s->n_approved = ids(s, redis_at(v, 4), s->approved, SETTLE_APPROVED);
    s->document = settle_json(s, redis_at(redis_at(v, 5), 0));
    if (str_starts(s->holder, S(PROMOTION_KIND ":")))
        s->held.id = str_slice(s->holder, sizeof(PROMOTION_KIND), s->holder.n);
    if (s->document == NULL)
        rest(s, 0);
    else if (!str_starts(s->holder, S("rollback:")))
        load(s);
    else if (ask_rollback(s) != OK)
        settle_drop(s);
}

/* Whoever sets the timer from now on wants it to be looked at again: what we put it off to is a score of our own. */
static void look(struct settle *s)
{
    struct arena *a = &s->arena;
    double off;

    s->now_ms = store_now_ms(settle_worker(s)->store);
    off = PUT_OFF_MS + random_below(PUT_OFF_MS) + random_below(4096) / 4096.0;
    snprintf(s->score, sizeof(s->score), "%.17g", (double)s->now_ms + off);
    const struct store_command commands[] = {
        STORE_COMMAND(S("ZADD"), key_timers(a, s->space.partition), str_z(s->score), timer_member(s)),
        STORE_COMMAND(S("HGET"), key_environment_holders(a, s->space), s->id),
        STORE_COMMAND(S("HGET"), key_environment_releases(a, s->space), s->id),
        STORE_COMMAND(S("ZRANGE"), key_promotions_pending(a, s->space, s->id), S("0"), S("15")),
        STORE_COMMAND(S("ZRANGE"), key_promotions_approved(a, s->space, s->id), S("0"), S("31")),
        STORE_COMMAND(S("HMGET"), key_document(a, s->space, "environment", s->id), S("j"), S("r")),
        STORE_COMMAND(S("HGETALL"), freeze_facet(a, s->space, s->id)),
    };
    _Static_assert(SETTLE_PENDING == 16 && SETTLE_APPROVED == 32, "as many as are read");
    if (store_read(settle_worker(s)->store, commands, ARRAY_LEN(commands), &s->ops, looked, s) != OK)
        settle_drop(s);
}
