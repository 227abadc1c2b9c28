#include "test/unit/job_fixture.h"

int job_set_up(void **state)
{
    struct job_fixture *f = calloc(1, sizeof *f);

    arena_init(&f->arena, 0);
    f->now = 1000000;
    *state = f;
    return 0;
}

int job_tear_down(void **state)
{
    struct job_fixture *f = *state;

    arena_fini(&f->arena);
    free(f);
    return 0;
}

struct json *job_json(struct job_fixture *f, const char *text)
{
    struct json_fault fault = {0};
    struct json *j = json_parse(&f->arena, str_z(text), NULL, &fault);

    if (j == NULL)
        fail_msg("%s at %zu of %s", fault.message, fault.offset, text);
    return j;
}

void job_of_plan(struct job_fixture *f, const char *plan)
{
    static const struct run_origin origin = {.id = {"job-1", 5},
                                             .tenant = {"tenant-1", 8},
                                             .template_id = {"job", 3},
                                             .template_version = 1,
                                             .created_ms = 900000};
    const struct template *t;

    f->plan = job_json(f, plan);
    t = job_parse(&f->arena, f->plan);
    assert_non_null(t);
    f->r = run_new(&f->arena, t, &origin);
    effects_init(&f->fx, &f->arena);
}

static void put_targets(struct buf *b, struct str names)
{
    const char *comma = "";

    while (names.n > 0) {
        struct str name = str_cut(&names, ',');
        bool skip = str_starts(name, S("-"));

        name = str_slice(name, skip, name.n);
        buf_printf(b,
                   "%s{\"id\":\"" STR_FMT "\",\"name\":\"web-" STR_FMT "\",\"path\":\"/srv/" STR_FMT
                   "\",\"keep\":3,\"previous\":{\"id\":\"r1\",\"name\":\"1.0\",\"components\":[]},"
                   "\"previousJobId\":\"job-0\"%s}",
                   comma, STR_ARG(name), STR_ARG(name), STR_ARG(name), skip ? ",\"skip\":\"in maintenance\"" : "");
        comma = ",";
    }
}

void job_make(struct job_fixture *f, const char *strategy, const char *config, const char *targets)
{
    struct buf b;

    buf_init_arena(&b, &f->arena, 1024);
    buf_printf(
        &b,
        "{\"strategy\":\"%s\",\"config\":{%s},\"timeoutSeconds\":600,\"createdBy\":\"ann\",\"promotionId\":\"p1\","
        "\"parent\":{\"run\":\"run-1\",\"node\":\"deploy\",\"attempt\":2},"
        "\"release\":{\"id\":\"r2\",\"name\":\"2.0\",\"components\":[]},"
        "\"environment\":{\"id\":\"e1\",\"name\":\"prod\",\"variables\":{\"MODE\":\"x\",\"DB_PASSWORD\":\"hush\"},"
        "\"agentLabels\":[\"zone=a\"]},\"targets\":[",
        strategy, config);
    put_targets(&b, str_z(targets));
    buf_z(&b, "]}");
    job_of_plan(f, arena_z(&f->arena, buf_view(&b)));
}

/* --- events --- */

static struct run_event answer(struct job_fixture *f, int step)
{
    struct run_event e = {.type = EVENT_TASK_ASSIGNED,
                          .node = f->r->template->nodes[step].id,
                          .attempt = f->r->steps[step].attempt,
                          .agent = S("agent-1")};

    if (f->deaf != NULL && (f->deaf_to == NULL || str_eqz(e.node, f->deaf_to))) {
        e.type = EVENT_TASK_UNASSIGNED;
        e.agent = STR_NONE;
        e.message = str_z(f->deaf);
    }
    return e;
}

void job_send(struct job_fixture *f, struct run_event e)
{
    size_t i = f->fx.n;

    run_transition(f->r, &e, f->now, &f->fx);
    for (; i < f->fx.n; i++)
        if (f->fx.list[i].type == EFFECT_CHOOSE) {
            struct run_event chosen = answer(f, f->fx.list[i].step);

            run_transition(f->r, &chosen, f->now, &f->fx);
        }
    assert_false(f->fx.failed);
}

void job_event(struct job_fixture *f, enum run_event_type type)
{
    job_send(f, (struct run_event){.type = type, .by = S("ann"), .reason = S("because"), .success = true});
}

void job_start(struct job_fixture *f)
{
    job_event(f, EVENT_START);
}

void job_wait(struct job_fixture *f, int64_t seconds)
{
    f->now += seconds * 1000;
    job_event(f, EVENT_TICK);
}

struct step *job_step_of(struct job_fixture *f, const char *task)
{
    int i = template_find(f->r->template, str_z(task));

    assert_true(i >= 0);
    return &f->r->steps[i];
}

static struct run_event word(struct job_fixture *f, const char *task, enum run_event_type type)
{
    return (struct run_event){
        .type = type, .node = str_z(task), .attempt = job_step_of(f, task)->attempt, .agent = S("agent-1")};
}

void job_done(struct job_fixture *f, const char *task)
{
    struct run_event e = word(f, task, EVENT_TASK_COMPLETED);

    e.success = true;
    e.outputs = job_json(f, "{\"contentHash\":\"c\",\"sticker\":{\"release\":\"2.0\"}}");
    job_send(f, e);
}

static void ends(struct job_fixture *f, const char *task, bool retriable)
{
    struct run_event e = word(f, task, EVENT_TASK_COMPLETED);

    e.error_type = S("hook_failed");
    e.message = S("status 3");
    e.retriable = retriable;
    job_send(f, e);
}

void job_fails(struct job_fixture *f, const char *task)
{
    ends(f, task, false);
}

void job_stumbles(struct job_fixture *f, const char *task)
{
    ends(f, task, true);
}

/* --- what there is --- */

const char *job_task(struct job_fixture *f, const char *task)
{
    return job_task_status_name(f->r, template_find(f->r->template, str_z(task)));
}

static const char *text(struct job_fixture *f, struct buf *b)
{
    return b->n == 0 ? "" : arena_z(&f->arena, buf_view(b));
}

const char *job_tasks(struct job_fixture *f, const char *status)
{
    struct buf b;

    buf_init_arena(&b, &f->arena, 64);
    for (int i = 0; i < f->r->template->n; i++)
        if (job_task_shown(f->r, i) && strcmp(job_task_status_name(f->r, i), status) == 0)
            buf_printf(&b, "%s" STR_FMT, b.n == 0 ? "" : " ", STR_ARG(f->r->template->nodes[i].id));
    return text(f, &b);
}

static struct json *frame_of(struct job_fixture *f, const struct effect *e)
{
    return job_json(f, arena_printf(&f->arena, "{" STR_FMT, STR_ARG(e->text)).p);
}

const char *job_frames(struct job_fixture *f, const char *but)
{
    struct buf b;

    buf_init_arena(&b, &f->arena, 256);
    for (size_t i = 0; i < f->fx.n; i++) {
        const struct json *frame = f->fx.list[i].type == EFFECT_EVENT ? frame_of(f, &f->fx.list[i]) : NULL;
        struct str type = json_str(json_get(frame, "type")), task = json_str(json_get(frame, "taskId"));

        if (frame == NULL || str_find(str_z(but), type) >= 0)
            continue;
        buf_printf(&b, "%s" STR_FMT, b.n == 0 ? "" : " ", STR_ARG(type));
        if (task.n > 0)
            buf_printf(&b, ":" STR_FMT, STR_ARG(task));
        if (json_get(frame, "batch") != NULL)
            buf_printf(&b, ":%lld", (long long)json_int(json_get(frame, "batch"), 0));
    }
    return text(f, &b);
}

struct json *job_frame(struct job_fixture *f, const char *type)
{
    struct json *last = NULL;

    for (size_t i = 0; i < f->fx.n; i++) {
        struct json *frame = f->fx.list[i].type == EFFECT_EVENT ? frame_of(f, &f->fx.list[i]) : NULL;

        if (frame != NULL && str_eqz(json_str(json_get(frame, "type")), type))
            last = frame;
    }
    return last;
}

struct json *job_doc(struct job_fixture *f)
{
    struct buf b;

    buf_init_arena(&b, &f->arena, 1024);
    job_kind.document(&b, f->r, 7, f->now);
    return job_json(f, text(f, &b));
}

struct json *job_task_doc(struct job_fixture *f, const char *task)
{
    struct buf b;

    buf_init_arena(&b, &f->arena, 1024);
    job_task_document_write(&b, f->r, template_find(f->r->template, str_z(task)));
    return job_json(f, text(f, &b));
}

const struct effect *job_effect(struct job_fixture *f, enum effect_type type)
{
    const struct effect *last = NULL;

    for (size_t i = 0; i < f->fx.n; i++)
        if (f->fx.list[i].type == type)
            last = &f->fx.list[i];
    return last;
}
