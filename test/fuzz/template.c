/* Any JSON as a workflow template. What is found valid must be valid again and must run: a run of it is started, and
 * every one of its steps is told that it succeeded, until the run has ended. */
#include "server/engine/run.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void play(struct arena *a, const struct template *t, const struct json *empty)
{
    struct run_origin origin = {
        .id = S("r"), .template_id = S("t"), .template_version = 1, .inputs = empty, .facts = empty};
    struct run *r = run_new(a, t, &origin);
    struct effects fx;
    int64_t now = 1;

    effects_init(&fx, a);
    run_transition(r, &(struct run_event){.type = EVENT_START}, now, &fx);
    for (int turn = 0; turn < 2 * t->n + 2 && !run_status_ended(r->status); turn++) {
        for (int i = 0; i < t->n; i++) {
            struct run_event done = {.type = t->nodes[i].type->executor == BY_AGENT ? EVENT_TASK_COMPLETED
                                                                                    : EVENT_WORK_COMPLETED,
                                     .node = t->nodes[i].id,
                                     .attempt = r->steps[i].attempt,
                                     .agent = S("a"),
                                     .success = true};

            run_transition(r, &done, now, &fx);
        }
        now += TEMPLATE_TIMEOUT_MAX_S * INT64_C(10000);
        run_transition(r, &(struct run_event){.type = EVENT_TICK}, now, &fx);
        run_transition(r, &(struct run_event){.type = EVENT_RESUME}, now, &fx);
    }
    run_transition(r, &(struct run_event){.type = EVENT_CANCEL}, now, &fx);
    for (int turn = 0; turn < 4 * t->n && !run_status_ended(r->status); turn++)
        run_transition(r, &(struct run_event){.type = EVENT_TICK}, now += TEMPLATE_TIMEOUT_MAX_S * INT64_C(2000), &fx);
    if (!fx.failed && !run_status_ended(r->status))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct json_fault fault;
    struct arena a;
    struct json *j;
    struct template_report *report;
    const struct template *t;

    arena_init(&a, 64 << 20);
    j = json_parse(&a, (struct str){(const char *)data, size}, NULL, &fault);
    report = arena_new(&a, struct template_report);
    t = j == NULL ? NULL : template_parse(&a, j, report);
    if (j != NULL && t == NULL && report->n_errors == 0)
        abort();
    if (t != NULL) {
        if (template_parse(&a, j, NULL) == NULL)
            abort();
        play(&a, t, json_parse(&a, S("{}"), NULL, &fault));
    }
    arena_fini(&a);
    return 0;
}
