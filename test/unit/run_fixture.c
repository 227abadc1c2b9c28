#include "test/unit/run_fixture.h"

int run_set_up(void **state)
{
    struct run_fixture *f = calloc(1, sizeof *f);

    arena_init(&f->arena, 0);
    f->now = 1000000;
    *state = f;
    return 0;
}

int run_tear_down(void **state)
{
    struct run_fixture *f = *state;

    arena_fini(&f->arena);
    free(f);
    return 0;
}

struct json *run_parse(struct run_fixture *f, struct str text)
{
    struct json_fault fault = {0};
    struct json *j = json_parse(&f->arena, text, NULL, &fault);

    if (j == NULL)
        fail_msg("%s at %zu of " STR_FMT, fault.message, fault.offset, STR_ARG(text));
    return j;
}

void run_send(struct run_fixture *f, struct run_event e)
{
    f->seen = f->fx.n;
    run_transition(f->r, &e, f->now, &f->fx);
    for (size_t i = f->seen; i < f->fx.n; i++) {
        int step = f->fx.list[i].step;

        if (f->fx.list[i].type == EFFECT_CHOOSE)
            run_transition(f->r,
                           &(struct run_event){.type = f->deaf ? EVENT_TASK_UNASSIGNED : EVENT_TASK_ASSIGNED,
                                               .node = f->r->template->nodes[step].id,
                                               .attempt = f->r->steps[step].attempt,
                                               .agent = f->deaf ? STR_NONE : S("agent-1"),
                                               .message = f->deaf ? S("nobody is there") : STR_NONE},
                           f->now, &f->fx);
    }
    assert_false(f->fx.failed);
}

/* Nodes named "job" are carried out by one. */
static void give_jobs(const struct template *t)
{
    static const struct field none[] = {{0}};
    static const struct step_type by_job = {
        .key = "job", .name = "Job", .category = "deploy", .executor = BY_JOB, .config = none, .outputs = none};

    for (int i = 0; i < t->n; i++)
        if (str_eqz(t->nodes[i].name, "job")) {
            t->nodes[i].type = &by_job;
            t->nodes[i].config = NULL;
        }
}

void run_begin(struct run_fixture *f, const char *text)
{
    struct template_report report;
    struct run_origin origin = {.id = S("0190a0b0-0000-7000-8000-000000000001"),
                                .tenant = S("0190a0b0-0000-7000-8000-000000000002"),
                                .template_id = S("0190a0b0-0000-7000-8000-000000000003"),
                                .template_version = 1,
                                .triggered_by = S("someone"),
                                .trigger = S("api")};
    const struct template *t;
    struct buf b;

    buf_init_arena(&b, &f->arena, 1024);
    for (; *text != '\0'; text++)
        if (*text == '$' && text[1] != '{')
            buf_z(&b, "\"type\":\"script\",\"config\":{\"command\":[\"true\"]}");
        else
            buf_char(&b, *text == '\'' ? '"' : *text);
    origin.inputs = run_parse(f, S("{\"flag\":true,\"password\":\"hunter22\"}"));
    origin.facts = run_parse(f, S("{}"));
    t = template_parse(&f->arena, run_parse(f, buf_view(&b)), &report);
    if (t == NULL)
        fail_msg("%s " STR_FMT ": " STR_FMT, report.errors[0].code, STR_ARG(report.errors[0].path),
                 STR_ARG(report.errors[0].message));
    give_jobs(t);
    f->r = run_new(&f->arena, t, &origin);
    effects_init(&f->fx, &f->arena);
    run_send(f, (struct run_event){.type = EVENT_START});
}

struct step *run_step_of(struct run_fixture *f, const char *id)
{
    int i = template_find(f->r->template, str_z(id));

    assert_true(i >= 0);
    return &f->r->steps[i];
}

void run_say(struct run_fixture *f, enum run_event_type type, const char *id)
{
    run_send(f, (struct run_event){.type = type,
                                   .node = str_z(id),
                                   .attempt = run_step_of(f, id)->attempt,
                                   .agent = run_step_of(f, id)->agent});
}

void run_succeed(struct run_fixture *f, const char *id)
{
    run_send(f, (struct run_event){.type = EVENT_TASK_COMPLETED,
                                   .node = str_z(id),
                                   .attempt = run_step_of(f, id)->attempt,
                                   .agent = run_step_of(f, id)->agent,
                                   .success = true,
                                   .outputs = run_parse(f, S("{\"exitCode\":0}"))});
}

void run_fail_with(struct run_fixture *f, const char *id, const char *type)
{
    run_send(f, (struct run_event){.type = EVENT_TASK_COMPLETED,
                                   .node = str_z(id),
                                   .attempt = run_step_of(f, id)->attempt,
                                   .agent = run_step_of(f, id)->agent,
                                   .error_type = str_z(type),
                                   .message = S("it went wrong"),
                                   .retriable = true});
}

void run_fail_step(struct run_fixture *f, const char *id)
{
    run_fail_with(f, id, "exit_code");
}
void run_tick(struct run_fixture *f, int64_t ms)
{
    f->now += ms;
    run_send(f, (struct run_event){.type = EVENT_TICK});
}

void run_is_step(struct run_fixture *f, const char *id, enum step_status status)
{
    if (run_step_of(f, id)->status != status)
        fail_msg("step %s is %s, not %s", id, step_status_name(run_step_of(f, id)->status), step_status_name(status));
}

void run_is(struct run_fixture *f, enum run_status status)
{
    if (f->r->status != status)
        fail_msg("the run is %s, not %s", run_status_name(f->r->status), run_status_name(status));
}

const struct effect *run_effect_of(struct run_fixture *f, enum effect_type type)
{
    for (size_t i = f->seen; i < f->fx.n; i++)
        if (f->fx.list[i].type == type)
            return &f->fx.list[i];
    return NULL;
}

bool run_framed(struct run_fixture *f, const char *part)
{
    for (size_t i = f->seen; i < f->fx.n; i++)
        if (f->fx.list[i].type == EFFECT_EVENT && str_find(f->fx.list[i].text, str_z(part)) >= 0)
            return true;
    return false;
}
