#include "server/api/orchestrator/workflow_run.h"

#include "lib/id.h"
#include "server/engine/drain.h"
#include "server/engine/kind.h"
#include "server/event.h"
#include "server/feed.h"
#include "server/worker.h"

struct reading {
    struct request *r;
    const struct run_kind *kind;
    run_then *then;
};

static void got_hash(void *arg, enum code c, const struct redis_value *v)
{
    struct reading *reading = arg;
    struct request *r = reading->r;
    const struct run *run;

    if (c != OK) {
        reply_error(r, c);
        return;
    }
    run = run_of_hash(&r->arena, reading->kind, v);
    if (run != NULL)
        reading->then(r, run);
    else
        reply_error(r, redis_is_nil(v) || v->count == 0 ? RES_NOT_FOUND : SYS_INTERNAL);
}

enum flow run_read(struct request *r, const struct run_kind *kind, run_then *then)
{
    struct reading *reading = arena_new(&r->arena, struct reading);
    struct space space = {r->caller.partition, r->caller.tenant};
    char id[ID_UUID];
    enum code c;

    if (reading == NULL)
        return reply_error(r, SYS_OVERLOADED);
    if (!id_is_uuid(r->params[0], id))
        return reply_error(r, RES_NOT_FOUND);
    *reading = (struct reading){r, kind, then};
    struct store_command command = STORE_COMMAND(S("HGETALL"), key_document(&r->arena, space, kind->name, str_z(id)));
    c = store_read(r->worker->store, &command, 1, &r->ops, got_hash, reading);
    return c == OK ? WAIT : reply_error(r, c);
}

/* --- for streams --- */

bool run_over(const struct feed_state *state)
{
    return event_member(redis_text(redis_field(state->document, S("j"))), "finishedAt").p != NULL;
}

static bool put_parts(struct json_out *o, const struct run *run, run_part *write)
{
    json_open(o, '[');
    for (int i = 0; i < run->template->n; i++) {
        struct buf part = {0};

        write(&part, run, run->template->order[i]);
        bool whole = !part.failed;
        if (part.n > 0)
            json_put_raw(o, buf_view(&part));
        buf_free(&part);
        if (!whole)
            return false;
    }
    json_close(o, ']');
    return true;
}

bool run_snapshot(const struct feed_state *state, struct json_out *o, const struct run_kind *kind, const char *parts,
                  run_part *write)
{
    struct arena arena;

    arena_init(&arena, DRAIN_MEMORY);
    const struct run *run = run_of_hash(&arena, kind, state->document);
    bool made = run != NULL;
    if (made) {
        json_open(o, '{');
        json_key(o, str_z(kind->name));
        json_put_raw(o, redis_text(redis_field(state->document, S("j"))));
        json_key(o, str_z(parts));
        made = put_parts(o, run, write);
        json_close(o, '}');
    }
    arena_fini(&arena);
    return made;
}
