#include "server/api/orchestrator/workflow_run.h"

#include "lib/id.h"
#include "server/engine/drain.h"
#include "server/engine/kind.h"
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
