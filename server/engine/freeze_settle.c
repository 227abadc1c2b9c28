/* When freeze windows start and end, the dashboard is told. */
#include "server/engine/freeze.h"

#include "lib/clock.h"
#include "server/dashboard/event.h"
#include "server/worker.h"

#include <stdlib.h>

#define FREEZE_KIND "freeze-window"
/* Field of the document's hash: what was told last. */
#define TOLD "told"

struct settling {
    struct worker *worker;
    struct arena arena;
    struct space space;
    struct str id, told;
    struct commit commit;
};

static void settled(struct settling *t)
{
    arena_fini(&t->arena);
    free(t);
}

/* On a conflict somebody else has seen to it; whatever failed, the timer stays and the sweep comes again. */
static void committed(void *arg, const struct commit_result *result)
{
    (void)result;
    settled(arg);
}

static void tell(struct commit *c, const char *type, const struct json *window, struct str id)
{
    dashboard_event(c, arena_printf(c->arena,
                                    "\"type\":\"%s\",\"environmentId\":\"" STR_FMT "\",\"windowId\":\"" STR_FMT "\"}",
                                    type, STR_ARG(json_str(json_get(window, "environmentId"))), STR_ARG(id)));
}

static int64_t start_of(const struct json *window)
{
    int64_t start;

    return clock_parse(json_str(json_get(window, "start")), &start) && start > 1 ? start : 1; /* 0 is no timer */
}

void freeze_schedule(struct commit *c, const struct json *window, struct str id)
{
    commit_timer(c, FREEZE_TIMER, id, start_of(window));
}

void freeze_taken_back(struct commit *c, const struct json *window, struct str id, int64_t now_ms)
{
    if (freeze_active(window, now_ms))
        tell(c, "freeze_ended", window, id);
    commit_timer(c, FREEZE_TIMER, id, 0);
}

/* What is due by now, and when there will be more; a window that came and went while nobody looked is told of, too. */
static void write_due(struct settling *t, const struct json *window, int64_t now_ms)
{
    struct commit *c = &t->commit;
    int64_t start = start_of(window), end = freeze_end(window);
    bool started = start <= now_ms, ended = started && end <= now_ms;

    if (started && t->told.n == 0)
        tell(c, "freeze_started", window, t->id);
    if (ended && !str_eqz(t->told, "ended"))
        tell(c, "freeze_ended", window, t->id);
    if (started)
        commit_field(c, FREEZE_KIND, t->id, S(TOLD), ended ? S("ended") : S("started"));
    commit_timer(c, FREEZE_TIMER, t->id, ended ? 0 : started ? end : start);
}

static void got_window(void *arg, enum code code, const struct redis_value *v)
{
    struct settling *t = arg;
    struct commit *c = &t->commit;
    struct str key = key_document(&t->arena, t->space, FREEZE_KIND, t->id);
    struct str text = code != OK ? STR_NONE : arena_str(&t->arena, redis_text(redis_at(v, 0)));
    const struct json *window = text.n == 0 ? NULL : json_parse(&t->arena, text, NULL, NULL);

    if (code != OK || (text.n > 0 && window == NULL)) {
        settled(t);
        return;
    }
    commit_begin(c, &t->arena, t->space, COMMIT_ESSENTIAL);
    if (window == NULL) {
        commit_expect_absent(c, RES_VERSION_CONFLICT, "window", key);
        commit_timer(c, FREEZE_TIMER, t->id, 0);
    } else {
        t->told = arena_str(&t->arena, redis_text(redis_at(v, 1)));
        commit_expect_exists(c, RES_VERSION_CONFLICT, "window", key);
        commit_expect_field(c, RES_VERSION_CONFLICT, TOLD, key, S(TOLD), t->told.n > 0 ? t->told : STR_NONE);
        write_due(t, window, store_now_ms(t->worker->store));
    }
    if (store_commit(t->worker->store, c, &t->worker->ops, committed, t) != OK)
        settled(t);
}

void freeze_settle(struct worker *w, struct space space, struct str id)
{
    struct settling *t = calloc(1, sizeof *t);

    if (t == NULL)
        return;
    arena_init(&t->arena, 0);
    t->worker = w;
    t->space = (struct space){space.partition, arena_str(&t->arena, space.tenant)};
    t->id = arena_str(&t->arena, id);
    const struct store_command read =
        STORE_COMMAND(S("HMGET"), key_document(&t->arena, t->space, FREEZE_KIND, t->id), S("j"), S(TOLD));
    if (t->id.p == NULL || store_read(w->store, &read, 1, &w->ops, got_window, t) != OK)
        settled(t);
}
