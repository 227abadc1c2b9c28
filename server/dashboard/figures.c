#include "server/dashboard/figures.h"

#include <inttypes.h>

#include "server/bitmap.h"
#include "server/engine/freeze.h"
#include "server/worker.h"

// clang-format off
const struct figure figures_table[] = {
    {"releaseOperations", "inFlight",         FIGURE_FACET, "promotion", "status=deploying", NULL},
    {"releaseOperations", "queued",           FIGURE_FACET, "promotion", "status=approved", NULL},
    {"releaseOperations", "pendingApproval",  FIGURE_FACET, "promotion", "status=awaiting_approval", NULL},
    {"releaseOperations", "completedToday",   FIGURE_TODAY, "promotion", "deployed", NULL},
    {"releaseOperations", "failedLast24h",    FIGURE_DAY,   "promotion", "failed", NULL},
    {"deployments",       "running",          FIGURE_FACET, "job",       "status=running", NULL},
    {"deployments",       "paused",           FIGURE_FACET, "job",       "status=paused", NULL},
    {"deployments",       "rollingBack",      FIGURE_FACET, "job",       "status=rolling_back", NULL},
    {"runs",              "running",          FIGURE_FACET, "run",       "status=running", NULL},
    {"runs",              "waiting",          FIGURE_FACET, "run",       "status=waiting", NULL},
    {"runs",              "paused",           FIGURE_FACET, "run",       "status=paused", NULL},
    {"estate",            "agentsOnline",     FIGURE_FACET, "agent",     "status=online", "lifecycleState=revoked"},
    {"estate",            "agentsDegraded",   FIGURE_FACET, "agent",     "status=degraded", "lifecycleState=revoked"},
    {"estate",            "agentsOffline",    FIGURE_FACET, "agent",     "status=offline", "lifecycleState=revoked"},
    {"estate",            "targetsTotal",     FIGURE_ALL,   "target",    NULL, NULL},
    {"estate",            "targetsHealthy",   FIGURE_FACET, "target",    "healthStatus=healthy", NULL},
    {"estate",            "targetsUnhealthy", FIGURE_FACET, "target",    "healthStatus=unhealthy", NULL},
    {"estate",            "targetsDrifted",   FIGURE_FACET, "target",    "hasDrift=true", NULL},
    {0},
};

#define COUNT(name, text) {name, FIELD_INT, .min = 0, .max = INT64_MAX, .doc = (text)}
static const struct field operation_rows[] = {
    COUNT("inFlight", "Promotions that deploy."),
    COUNT("queued", "Approved ones that wait for their environment."),
    COUNT("pendingApproval", "Those that wait for people."),
    COUNT("completedToday", "Deployed since midnight, UTC."),
    COUNT("failedLast24h", "Failed in the last 24 hours."),
    {0}};
static const struct field deployment_rows[] = {
    COUNT("running", "Deployment jobs."), COUNT("paused", "Deployment jobs."), COUNT("rollingBack", "Deployment jobs."), {0}};
static const struct field run_rows[] = {
    COUNT("running", "Workflow runs."), COUNT("waiting", "Workflow runs."), COUNT("paused", "Workflow runs."), {0}};
static const struct field estate_rows[] = {
    COUNT("agentsOnline", "Revoked agents are not counted."),
    COUNT("agentsDegraded", "They were not heard of for a while."),
    COUNT("agentsOffline", "They were not heard of for long."),
    COUNT("targetsTotal", "All targets."),
    COUNT("targetsHealthy", "By their last check."),
    COUNT("targetsUnhealthy", "By their last check."),
    COUNT("targetsDrifted", "Drift was found when it was last looked for."),
    {0}};
static const struct field release_rows[] = {
    {"id", FIELD_UUID, FIELD_REQUIRED},
    {"name", FIELD_STRING, FIELD_REQUIRED, .max = 255},
    {0}};
static const struct field card_rows[] = {
    {"environmentId", FIELD_UUID, FIELD_REQUIRED},
    {"name", FIELD_STRING, FIELD_REQUIRED, .max = 63},
    {"displayName", FIELD_STRING, .max = 200},
    {"currentRelease", FIELD_OBJECT, FIELD_REQUIRED | FIELD_NULLABLE, .fields = release_rows, .doc = "null before the first deployment."},
    {"deployedAt", FIELD_TIME, .doc = "With a release."},
    {"deployedBy", FIELD_STRING, .max = 255, .doc = "Who asked for it."},
    COUNT("targetsTotal", "Its targets."),
    COUNT("targetsHealthy", "By their last check."),
    COUNT("pendingPromotions", "Promotions into it that do not deploy yet."),
    {"freezeActive", FIELD_BOOL, FIELD_REQUIRED, .doc = "A freeze window is in force."},
    {0}};
const struct field figures_rows[] = {
    {"releaseOperations", FIELD_OBJECT, .fields = operation_rows, .doc = "Promotions of the tenant."},
    {"deployments", FIELD_OBJECT, .fields = deployment_rows, .doc = "Deployment jobs of the tenant."},
    {"runs", FIELD_OBJECT, .fields = run_rows, .doc = "Workflow runs of the tenant."},
    {"estate", FIELD_OBJECT, .fields = estate_rows, .doc = "Agents and targets of the tenant."},
    {"environments", FIELD_LIST, .item = FIELD_OBJECT, .fields = card_rows, .max = FIGURE_CARDS, .doc = "The first of them, in their order."},
    {"removedEnvironments", FIELD_LIST, .item = FIELD_UUID, .max = FIGURE_CARDS, .doc = "Those that are no longer shown."},
    {0}};
// clang-format on

_Static_assert(ARRAY_LEN(figures_table) - 1 <= FIGURES_MOST, "a value for each figure");

size_t figures_count(void)
{
    return ARRAY_LEN(figures_table) - 1;
}

int64_t figure_value(struct arena *a, const struct figure *row, const struct redis_value *answer,
                     const struct redis_value *also)
{
    struct bitmap have, but;
    if (row->how != FIGURE_FACET)
        return redis_int(answer, 0);
    if (!bitmap_join(a, answer, &have) || !bitmap_join(a, also, &but))
        return -1;
    for (size_t i = 0; i < have.n && i < but.n; i++)
        have.words[i] &= ~but.words[i];
    return (int64_t)bitmap_count(&have);
}

/* --- reading --- */

enum {
    PER_CARD = 5,
    CARDS_AT_ONCE = 12,
    WINDOWS = 60, /* freeze windows looked at: those that end next */
    COMMANDS = 64,
    DAY_MS = 24 * 3600 * 1000
};

struct card { /* as far as it is read */
    struct str id, fact;
    bool frozen;
};

struct reading {
    struct worker *worker;
    struct arena *arena;
    struct space space;
    struct ops *asker;
    figures_then *then;
    void *arg;
    int64_t now_ms;
    struct figures out;
    struct bitmap healthy;
    struct card *cards;
    size_t n, at; /* environments; how many are done with */
    struct str *windows;
    size_t n_windows;
};

static void card_next(struct reading *r);

static void reading_end(struct reading *r, enum code c)
{
    r->then(r->arg, c, c == OK ? &r->out : NULL);
}

static struct str facet_key(struct reading *r, const char *kind, const char *facet)
{
    return key_facet(r->arena, r->space, kind, str_z(facet));
}

static void put_number(struct json_out *o, const char *name, int64_t n)
{
    json_key(o, str_z(name));
    json_put_int(o, n);
}

/* {id, name} of what P:er has, and since when. */
static void put_release(struct json_out *o, const struct json *fact)
{
    json_key(o, S("currentRelease"));
    if (json_get(fact, "id") == NULL) {
        json_put_null(o);
        return;
    }
    json_open(o, '{');
    json_key(o, S("id"));
    json_put(o, json_get(fact, "id"));
    json_key(o, S("name"));
    json_put(o, json_get(fact, "name"));
    json_close(o, '}');
    json_key(o, S("deployedAt"));
    json_put(o, json_get(fact, "deployedAt"));
    json_key(o, S("deployedBy"));
    json_put(o, json_get(fact, "deployedBy"));
}

/* Of the environment's targets. False: memory. */
static bool put_targets(struct reading *r, struct json_out *o, const struct redis_value *chunks)
{
    struct bitmap all;
    int64_t total, healthy = 0;
    if (!bitmap_join(r->arena, chunks, &all))
        return false;
    total = (int64_t)bitmap_count(&all);
    for (size_t i = 0; i < all.n && i < r->healthy.n; i++)
        healthy += __builtin_popcountll(all.words[i] & r->healthy.words[i]);
    put_number(o, "targetsTotal", total);
    put_number(o, "targetsHealthy", healthy);
    return true;
}

/* `v`: the answers of its commands start at `at`. */
static enum code write_card(struct reading *r, const struct card *card, const struct redis_value *v, size_t at)
{
    struct str text = arena_str(r->arena, redis_text(redis_at(v, at)));
    const struct json *environment = text.n == 0 ? NULL : json_parse(r->arena, text, NULL, NULL);
    const struct json *fact = card->fact.n == 0 ? NULL : json_parse(r->arena, card->fact, NULL, NULL);
    int64_t pending = 0;
    struct json_out o;
    struct buf b;
    if (environment == NULL) /* deleted in between, or memory: then the rest fails as well */
        return OK;
    for (size_t i = 2; i < PER_CARD; i++)
        pending += redis_int(redis_at(v, at + i), 0);
    buf_init_arena(&b, r->arena, 384);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("environmentId"));
    json_put_str(&o, card->id);
    json_key(&o, S("name"));
    json_put(&o, json_get(environment, "name"));
    json_key(&o, S("displayName"));
    json_put(&o, json_get(environment, "displayName"));
    put_release(&o, fact);
    if (!put_targets(r, &o, redis_at(v, at + 1)))
        return SYS_OVERLOADED;
    put_number(&o, "pendingPromotions", pending);
    json_key(&o, S("freezeActive"));
    json_put_bool(&o, card->frozen);
    json_close(&o, '}');
    if (b.failed)
        return SYS_OVERLOADED;
    r->out.cards[r->out.n++] = (struct figure_card){card->id, buf_view(&b)};
    return OK;
}

static void got_cards(void *arg, enum code c, const struct redis_value *v)
{
    struct reading *r = arg;
    for (size_t i = 0; c == OK && i < CARDS_AT_ONCE && r->at < r->n; i++)
        c = write_card(r, &r->cards[r->at++], v, i * PER_CARD);
    if (c != OK)
        reading_end(r, c);
    else
        card_next(r);
}

static void card_next(struct reading *r)
{
    struct str argv[CARDS_AT_ONCE * PER_CARD][3];
    struct store_command commands[CARDS_AT_ONCE * PER_CARD];
    struct arena *a = r->arena;
    size_t n = 0;
    if (r->at >= r->n) {
        reading_end(r, OK);
        return;
    }
    for (size_t i = r->at; i < r->n && i < r->at + CARDS_AT_ONCE; i++) {
        struct str id = r->cards[i].id, facet = arena_printf(a, "environmentId=" STR_FMT, STR_ARG(id));
        const struct str parts[PER_CARD][3] = {
            {S("HGET"), key_document(a, r->space, "environment", id), S("j")},
            {S("HGETALL"), key_facet(a, r->space, "target", facet)},
            {S("ZCARD"), key_promotions_pending(a, r->space, id)},
            {S("ZCARD"), key_promotions_awaiting(a, r->space, id)},
            {S("ZCARD"), key_promotions_approved(a, r->space, id)},
        };
        for (size_t k = 0; k < PER_CARD; k++, n++) {
            for (size_t w = 0; w < 3; w++)
                argv[n][w] = parts[k][w];
            commands[n] = (struct store_command){k == 0 ? 3 : 2, argv[n]};
        }
    }
    enum code c = store_read(r->worker->store, commands, n, r->asker, got_cards, r);
    if (c != OK)
        reading_end(r, c);
}

static void mark_frozen(struct reading *r, struct str text)
{
    const struct json *window = text.n == 0 ? NULL : json_parse(r->arena, text, NULL, NULL);
    for (size_t i = 0; window != NULL && freeze_active(window, r->now_ms) && i < r->n; i++)
        if (str_eq(r->cards[i].id, json_str(json_get(window, "environmentId"))))
            r->cards[i].frozen = true;
}

static void got_windows(void *arg, enum code c, const struct redis_value *v)
{
    struct reading *r = arg;
    for (size_t i = 0; c == OK && i < r->n_windows; i++)
        mark_frozen(r, arena_str(r->arena, redis_text(r->n_windows == 1 ? v : redis_at(v, i))));
    if (c != OK)
        reading_end(r, c);
    else
        card_next(r);
}

static void read_windows(struct reading *r)
{
    struct store_command commands[WINDOWS];
    struct str argv[WINDOWS][3];
    for (size_t i = 0; i < r->n_windows; i++) {
        argv[i][0] = S("HGET");
        argv[i][1] = key_document(r->arena, r->space, "freeze-window", r->windows[i]);
        argv[i][2] = S("j");
        commands[i] = (struct store_command){3, argv[i]};
    }
    if (r->n_windows == 0) {
        card_next(r);
        return;
    }
    enum code c = store_read(r->worker->store, commands, r->n_windows, r->asker, got_windows, r);
    if (c != OK)
        reading_end(r, c);
}

/* The names of a list's elements. False: memory. */
static bool take_ids(struct arena *a, const struct redis_value *v, struct str **out, size_t *n)
{
    *n = v->count;
    *out = arena_array(a, *n + 1, sizeof **out);
    for (size_t i = 0; *out != NULL && i < *n; i++)
        if (((*out)[i] = arena_str(a, redis_text(redis_at(v, i)))).p == NULL)
            return false;
    return *out != NULL;
}

static enum code take_counts(struct reading *r, const struct redis_value *v, size_t *at)
{
    for (size_t i = 0; figures_table[i].name != NULL; i++) {
        const struct figure *row = &figures_table[i];
        const struct redis_value *answer = redis_at(v, (*at)++);
        const struct redis_value *also = row->without == NULL ? NULL : redis_at(v, (*at)++);
        r->out.value[i] = figure_value(r->arena, row, answer, also);
        if (r->out.value[i] < 0)
            return SYS_OVERLOADED;
    }
    return bitmap_join(r->arena, redis_at(v, *at), &r->healthy) ? OK : SYS_OVERLOADED;
}

static void got_counts(void *arg, enum code c, const struct redis_value *v)
{
    struct reading *r = arg;
    struct str *ids = NULL;
    size_t at = 0;
    if (c == OK)
        c = take_counts(r, v, &at);
    if (c == OK && (!take_ids(r->arena, redis_at(v, at + 1), &ids, &r->n) ||
                    !take_ids(r->arena, redis_at(v, at + 3), &r->windows, &r->n_windows)))
        c = SYS_OVERLOADED;
    if (c == OK) {
        r->cards = arena_array(r->arena, r->n + 1, sizeof *r->cards);
        r->out.cards = arena_array(r->arena, r->n + 1, sizeof *r->out.cards);
        c = r->cards == NULL || r->out.cards == NULL ? SYS_OVERLOADED : OK;
    }
    for (size_t i = 0; c == OK && i < r->n; i++) {
        struct str fact = redis_text(redis_field(redis_at(v, at + 2), ids[i]));
        r->cards[i] = (struct card){.id = ids[i], .fact = fact.n == 0 ? STR_NONE : arena_str(r->arena, fact)};
    }
    if (c != OK)
        reading_end(r, c);
    else
        read_windows(r);
}

struct batch {
    struct str argv[COMMANDS][8];
    struct store_command commands[COMMANDS];
    size_t n;
};

static void add(struct batch *b, size_t argc, const struct str *argv)
{
    for (size_t i = 0; i < argc; i++)
        b->argv[b->n][i] = argv[i];
    b->commands[b->n] = (struct store_command){argc, b->argv[b->n]};
    b->n++;
}
#define ADD(b, ...) add((b), sizeof((struct str[]){__VA_ARGS__}) / sizeof(struct str), (struct str[]){__VA_ARGS__})

static void add_figure(struct reading *r, struct batch *b, const struct figure *row)
{
    struct arena *a = r->arena;
    int64_t since = row->how == FIGURE_TODAY ? r->now_ms - r->now_ms % DAY_MS : r->now_ms - DAY_MS;
    switch (row->how) {
    case FIGURE_FACET:
        ADD(b, S("HGETALL"), facet_key(r, row->kind, row->facet));
        if (row->without != NULL)
            ADD(b, S("HGETALL"), facet_key(r, row->kind, row->without));
        break;
    case FIGURE_ALL:
        ADD(b, S("ZCARD"), key_ordinals(a, r->space, row->kind));
        break;
    case FIGURE_TODAY:
    case FIGURE_DAY:
        ADD(b, S("ZCOUNT"), key_promotions_ended(a, r->space, row->facet), arena_printf(a, "%" PRId64, since),
            S("+inf"));
        break;
    }
}

enum code figures_read(struct worker *w, struct arena *a, struct space s, struct ops *asker, figures_then *then,
                       void *arg)
{
    struct reading *r = arena_new(a, struct reading);
    struct batch *b = arena_new(a, struct batch);
    if (r == NULL || b == NULL)
        return SYS_OVERLOADED;
    *r = (struct reading){.worker = w, .arena = a, .space = s, .asker = asker, .then = then, .arg = arg};
    r->now_ms = store_now_ms(w->store);
    for (const struct figure *row = figures_table; row->name != NULL; row++)
        add_figure(r, b, row);
    ADD(b, S("HGETALL"), facet_key(r, "target", "healthStatus=healthy"));
    ADD(b, S("ZRANGE"), key_sorted(a, s, "environment", "orderIndex"), S("0"), arena_printf(a, "%d", FIGURE_CARDS - 1));
    ADD(b, S("HGETALL"), key_environment_releases(a, s));
    ADD(b, S("ZRANGEBYSCORE"), key_sorted(a, s, "freeze-window", "end"), arena_printf(a, "(%" PRId64, r->now_ms),
        S("+inf"), S("LIMIT"), S("0"), arena_printf(a, "%d", WINDOWS));
    return store_read(w->store, b->commands, b->n, asker, got_counts, r);
}

/* --- writing --- */

static bool in_scope(struct str scope, struct str id)
{
    if (scope.p == NULL)
        return true;
    while (scope.n > 0)
        if (str_eq(str_cut(&scope, ','), id))
            return true;
    return false;
}

static bool write_counts(struct json_out *o, const struct figures *f, const struct figures *before)
{
    const char *group = NULL;
    for (size_t i = 0; i < figures_count(); i++) {
        const struct figure *row = &figures_table[i];
        if (before != NULL && f->value[i] == before->value[i])
            continue;
        if (group == NULL || !str_eqz(str_z(group), row->group)) {
            if (group != NULL)
                json_close(o, '}');
            json_key(o, str_z(row->group));
            json_open(o, '{');
        }
        group = row->group;
        put_number(o, row->name, f->value[i]);
    }
    if (group != NULL)
        json_close(o, '}');
    return group != NULL;
}

static const struct figure_card *find(const struct figures *f, struct str id)
{
    for (size_t i = 0; f != NULL && i < f->n; i++)
        if (str_eq(f->cards[i].id, id))
            return &f->cards[i];
    return NULL;
}

/* A list, opened with its first element; before == NULL: in any case. */
static void item(struct json_out *o, const char *name, bool *open)
{
    if (!*open) {
        json_key(o, str_z(name));
        json_open(o, '[');
    }
    *open = true;
}

static bool write_cards(struct json_out *o, const struct figures *f, const struct figures *before, struct str scope)
{
    bool some = false;
    if (before == NULL)
        item(o, "environments", &some);
    for (size_t i = 0; i < f->n; i++) {
        const struct figure_card *card = &f->cards[i], *old = find(before, card->id);
        if (!in_scope(scope, card->id) || (old != NULL && str_eq(old->json, card->json)))
            continue;
        item(o, "environments", &some);
        json_put_raw(o, card->json);
    }
    if (some)
        json_close(o, ']');
    return some;
}

static bool write_removed(struct json_out *o, const struct figures *f, const struct figures *before, struct str scope)
{
    bool some = false;
    for (size_t i = 0; before != NULL && i < before->n; i++) {
        if (!in_scope(scope, before->cards[i].id) || find(f, before->cards[i].id) != NULL)
            continue;
        item(o, "removedEnvironments", &some);
        json_put_str(o, before->cards[i].id);
    }
    if (some)
        json_close(o, ']');
    return some;
}

bool figures_write(struct json_out *o, const struct figures *f, const struct figures *before, struct str scope)
{
    bool counts = scope.p == NULL && write_counts(o, f, before);
    bool cards = write_cards(o, f, before, scope);
    return write_removed(o, f, before, scope) || cards || counts;
}
