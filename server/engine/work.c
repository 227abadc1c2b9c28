/* Steps that an instance carries out itself: http-request and notify; and those for which it makes a job.
 *
 * Happy path:
 * - the drain that begins the step commits a queue entry that others see only when WORK_LEASE_MS is over, and starts it;
 * - the request is sent; while it is under way its entry is renewed;
 * - the result is appended to the run's inbox, and the transition takes the entry off the queue.
 * Failure modes: this worker dies, the entry becomes visible, a sweep hands it to another one, which reads the run and
 * sends the request again: at least once, so every request carries the step's task id as Idempotency-Key. The result
 * cannot be appended now: it is tried again for a while, and the entry renewed.
 *
 * A step of a job is begun the same way (job_step.h). Its entry stays on the queue as long as it runs, and comes up every
 * JOB_LOOK_MS: so whatever went wrong between the job and the step is put right by whoever sees it. */
#include "server/engine/drain_private.h"

#include "lib/cidr.h"
#include "lib/log.h"
#include "server/agent/mask.h"
#include "server/engine/job_step.h"
#include "server/engine/redact.h"
#include "server/engine/seal.h"
#include "server/settings.h"
#include "server/store/lease.h"
#include "server/worker.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WORK_MOST = 256, /* under way in a worker; more wait in the queue */
    WORK_RENEW_MS = WORK_LEASE_MS / 3,
    JOB_LOOK_MS = 30000, /* how often a step that is a job's is looked at */
    WORK_AGAIN_MS = 1000,
    WORK_AGAIN_MOST = 20
};

struct work {
    struct list link;
    struct drains *drains;
    struct place place;
    struct arena arena;
    struct ops ops;
    struct timer timer;
    struct str node, task;
    int64_t attempt;
    struct fetch_request request;
    const struct json *expect; /* statuses; NULL: 2xx */
    bool notify;
    struct job_step job;  /* of a step BY_JOB: `type` is set */
    struct str result_id; /* the result counts once, also when the job tells it itself */
    struct mask *mask;    /* takes the run's secrets out of answers that repeat them; NULL: there are none */
    struct run_event result;
    unsigned tries;
};

static void append_result(void *arg);

static struct work *work_make(struct drains *ds, const struct place *p)
{
    struct work *w = ds->work_count >= WORK_MOST ? NULL : calloc(1, sizeof *w);

    if (w == NULL)
        return NULL;
    w->drains = ds;
    place_set(&w->place, p->kind, p->space, p->id);
    arena_init(&w->arena, DRAIN_MEMORY);
    ops_init(&w->ops);
    list_append(&ds->works, &w->link);
    ds->work_count++;
    return w;
}

void work_free(struct work *w)
{
    list_remove(&w->link);
    w->drains->work_count--;
    timer_stop(&w->timer);
    ops_detach(&w->ops);
    mask_free(w->mask);
    arena_fini(&w->arena);
    free(w);
}

/* --- the request --- */

static bool header_safe(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < ' ' || s.p[i] == 0x7f)
            return false;
    return true;
}

static void add_header(struct buf *b, struct str name, struct str value)
{
    if (!header_safe(name) || !header_safe(value) || str_index(name, ':') >= 0)
        return;
    buf_str(b, name);
    buf_z(b, ": ");
    buf_str(b, value);
    buf_char(b, '\n');
}

static bool has_header(const struct json *headers, struct str name)
{
    for (struct json_iter it = json_members(headers); json_next(&it);)
        if (str_ieq(it.name, name))
            return true;
    return false;
}

static struct str header_lines(struct work *w, const struct json *headers, bool json_body)
{
    struct buf b;

    buf_init_arena(&b, &w->arena, 256);
    for (struct json_iter it = json_members(headers); json_next(&it);)
        add_header(&b, it.name, json_str(it.value));
    if (!has_header(headers, S("idempotency-key")))
        add_header(&b, S("Idempotency-Key"), w->task);
    if (json_body && !has_header(headers, S("content-type")))
        add_header(&b, S("Content-Type"), S("application/json"));
    if (!has_header(headers, S("user-agent")))
        add_header(&b, S("User-Agent"), S("slipway"));
    return b.failed ? STR_NONE : buf_view(&b);
}

static struct str text_of(struct work *w, const struct json *j)
{
    struct buf b;

    if (j == NULL || json_is(j, JSON_STRING))
        return arena_str(&w->arena, json_str(j));
    buf_init_arena(&b, &w->arena, 256);
    json_write(&b, j);
    return buf_view(&b);
}

static struct str notification(struct work *w, const struct run *r, const struct json *config)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &w->arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("nodeId"));
    json_put_str(&o, w->node);
    json_key(&o, S("runId"));
    json_put_str(&o, w->place.id);
    json_key(&o, S("templateId"));
    json_put_str(&o, r->origin.template_id);
    json_key(&o, S("templateName"));
    json_put_str(&o, r->origin.template_name);
    json_key(&o, S("text"));
    json_put(&o, json_get(config, "message"));
    json_close(&o, '}');
    return buf_view(&b);
}

static void build_request(struct work *w, const struct run *r, int step, const struct json *config)
{
    const struct json *body = json_get(config, "body");

    w->notify = str_eqz(str_z(r->template->nodes[step].type->key), "notify");
    w->request.method = w->notify ? S("POST") : arena_str(&w->arena, json_str(json_get(config, "method")));
    w->request.url = arena_str(&w->arena, json_str(json_get(config, "url")));
    w->request.body = w->notify ? notification(w, r, config) : text_of(w, body);
    w->request.fields =
        header_lines(w, json_get(config, "headers"), w->notify || (body != NULL && !json_is(body, JSON_STRING)));
    w->request.timeout_ms = r->template->nodes[step].timeout_ms;
    w->request.max_bytes = WORK_ANSWER_MAX;
    w->expect = json_get(config, "expectStatus");
}

/* False: no memory, or more secrets than can be looked for. */
static bool know_secrets(struct work *w, const struct run *r, const struct json *config)
{
    struct str *secrets = arena_array(&w->arena, MASK_SECRETS, sizeof *secrets);
    size_t n = 0;

    if (secrets == NULL)
        return false;
    redact_collect(r->origin.inputs, secrets, MASK_SECRETS, &n);
    redact_collect(config, secrets, MASK_SECRETS, &n);
    if (n > 0)
        w->mask = mask_new(secrets, n);
    return n == 0 || w->mask != NULL;
}

static const struct json *copy_json(struct work *w, const struct json *j)
{
    struct buf b;

    if (j == NULL)
        return NULL;
    buf_init_arena(&b, &w->arena, 256);
    json_write(&b, j);
    return b.failed ? NULL : json_parse(&w->arena, buf_view(&b), NULL, NULL);
}

static void know_job(struct work *w, const struct run *r, int step, const struct json *config)
{
    const struct template_node *node = &r->template->nodes[step];

    w->job = (struct job_step){.space = w->place.space,
                               .run = w->place.id,
                               .node = w->node,
                               .task = w->task,
                               .attempt = w->attempt,
                               .type = node->type,
                               .config = config,
                               .context = copy_json(w, r->origin.context),
                               .triggered_by = arena_str(&w->arena, r->origin.triggered_by),
                               .timeout_ms = node->timeout_ms,
                               .job = arena_str(&w->arena, r->steps[step].job),
                               .arena = &w->arena};
}

static void prepare(struct work *w, const struct run *r, int step)
{
    struct str why;
    const struct json *config;

    w->node = arena_str(&w->arena, r->template->nodes[step].id);
    w->attempt = r->steps[step].attempt;
    w->task = w->result_id = run_task_id(&w->arena, r, step);
    config = run_step_config(&w->arena, r, step, false, &why);
    if (config != NULL && r->template->nodes[step].type->executor == BY_JOB)
        know_job(w, r, step, config);
    else if (config != NULL && know_secrets(w, r, config))
        build_request(w, r, step, config);
}

struct work *work_new(struct drains *ds, const struct place *p, const struct run *r, int step)
{
    struct work *w = ds->closing ? NULL : work_make(ds, p);

    if (w != NULL)
        prepare(w, r, step);
    return w;
}

/* --- the result --- */

static void result_appended(void *arg, enum code c, const struct drained *d)
{
    struct work *w = arg;

    (void)d;
    if (c == OK || c == RES_NOT_FOUND || c == SYS_TIMEOUT || ++w->tries > WORK_AGAIN_MOST)
        work_free(w);
    else
        timer_start(&w->timer, &w->drains->worker->loop, WORK_AGAIN_MS, append_result, w);
}

static void append_result(void *arg)
{
    struct work *w = arg;
    enum code c = drain_append(w->drains->worker, w->place.kind, w->place.space, w->place.id, w->result_id, &w->result,
                               &w->ops, result_appended, w);

    if (c != OK)
        result_appended(w, c, NULL);
}

static bool expected(const struct work *w, int status)
{
    if (w->notify || json_count(w->expect) == 0)
        return status >= 200 && status < 300;
    for (size_t i = 0; i < json_count(w->expect); i++)
        if (json_int(json_at(w->expect, i), 0) == status)
            return true;
    return false;
}

static struct str masked(struct work *w, struct str body)
{
    struct mask_stream stream;
    struct buf b;

    if (w->mask == NULL)
        return body;
    buf_init_arena(&b, &w->arena, body.n + 64);
    if (!mask_stream_init(&stream, w->mask))
        return S("");
    mask_feed(&stream, body, &b);
    mask_end(&stream, &b);
    mask_stream_fini(&stream);
    return b.failed ? S("") : buf_view(&b);
}

/* The body as JSON when it is, else as text; what is no UTF-8 or too long is cut. */
static void put_body(struct work *w, struct json_out *o, const struct fetch_answer *answer)
{
    struct str body = masked(w, answer->body);
    struct json *j = body.n > WORK_BODY_KEPT ? NULL : json_parse(&w->arena, body, NULL, NULL);

    if (j != NULL && str_find(answer->type, S("json")) >= 0)
        json_put(o, j);
    else
        json_put_str(o, str_slice(body, 0, WORK_BODY_KEPT));
}

static struct json *outputs_of(struct work *w, const struct fetch_answer *answer)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &w->arena, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    if (w->notify) {
        json_key(&o, S("delivered"));
        json_put_bool(&o, w->result.success);
    } else {
        json_key(&o, S("body"));
        put_body(w, &o, answer);
    }
    json_key(&o, S("status"));
    json_put_int(&o, answer->status);
    json_close(&o, '}');
    return b.failed ? NULL : json_parse(&w->arena, buf_view(&b), NULL, NULL);
}

static void answered(void *arg, const struct fetch_answer *answer)
{
    struct work *w = arg;
    struct run_event *e = &w->result;

    *e = (struct run_event){.type = EVENT_WORK_COMPLETED, .node = w->node, .attempt = w->attempt, .retriable = true};
    if (answer->fault == FETCH_CLOSED) {
        work_free(w); /* another instance does it once the lease is over */
        return;
    }
    e->success = answer->fault == FETCH_NONE && expected(w, answer->status);
    if (answer->fault == FETCH_NONE)
        e->outputs = outputs_of(w, answer);
    if (!e->success) {
        e->error_type = answer->fault == FETCH_NONE ? S("http_status") : str_z(fetch_fault_name(answer->fault));
        e->message = answer->fault == FETCH_NONE ? arena_printf(&w->arena, "the answer's status is %d", answer->status)
                                                 : arena_str(&w->arena, masked(w, str_z(answer->message)));
        e->retriable = answer->fault != FETCH_URL && answer->fault != FETCH_REFUSED;
    }
    append_result(w);
}

/* --- jobs --- */

static void renewed(void *arg, enum code c, const struct taken *taken)
{
    (void)arg;
    (void)c;
    (void)taken; /* what was taken off meanwhile ends by itself: its result changes nothing */
}

static void begin_job(void *arg);

static void job_again(struct work *w)
{
    if (++w->tries > WORK_AGAIN_MOST)
        work_free(w);
    else
        timer_start(&w->timer, &w->drains->worker->loop, WORK_AGAIN_MS, begin_job, w);
}

/* Looked at again in a while; not at all when the step has ended meanwhile. */
static void leave_job(struct work *w)
{
    struct drains *ds = w->drains;
    struct str member;

    arena_reset(&ds->scratch);
    member = arena_printf(&ds->scratch, "%s:" STR_FMT, w->place.tenant, STR_ARG(w->task));
    if (member.p != NULL)
        store_take(ds->worker->store, &ds->scratch, w->place.space.partition, 0, &member, 1, JOB_LOOK_MS, &ds->ops,
                   renewed, ds);
    work_free(w);
}

static void job_answered(void *arg, enum code c, const struct run_event *e)
{
    struct work *w = arg;

    if (c == OK && e == NULL) {
        leave_job(w);
        return;
    }
    if (c != OK) {
        job_again(w);
        return;
    }
    w->result = (struct run_event){.type = e->type,
                                   .node = w->node,
                                   .attempt = w->attempt,
                                   .agent = arena_str(&w->arena, e->agent),
                                   .error_type = arena_str(&w->arena, e->error_type),
                                   .message = arena_str(&w->arena, e->message),
                                   .success = e->success,
                                   .retriable = e->retriable,
                                   .outputs = copy_json(w, e->outputs)};
    if (e->type == EVENT_JOB_STARTED)
        w->result_id = arena_printf(&w->arena, STR_FMT ":started", STR_ARG(w->task));
    append_result(w);
}

static void begin_job(void *arg)
{
    struct work *w = arg;

    if (job_step_work(w->drains->worker, &w->job, &w->ops, job_answered, w) != OK)
        job_again(w);
}

void work_begin(struct work *w)
{
    if (w->job.type != NULL) {
        begin_job(w);
        return;
    }
    if (w->request.url.n == 0 || w->request.fields.p == NULL ||
        !fetch_start(w->drains->fetcher, &w->request, &w->ops, answered, w))
        work_free(w); /* no memory now: the sweep comes back to it */
    else
        metrics_add(&w->drains->worker->metrics, METRIC_STEP_REQUESTS, 1);
}

/* --- work that others left --- */

static void loaded(void *arg, enum code c, const struct redis_value *v)
{
    struct work *w = arg;
    struct run *r = c == OK ? run_of_hash(&w->arena, w->place.kind, v) : NULL;
    int step = r == NULL ? -1 : template_find(r->template, w->node);

    if (step < 0 || !seal_open_inputs(r, w->drains->worker->settings->keyring, redis_text(redis_field(v, S("s")))) ||
        r->steps[step].status != STEP_RUNNING || r->steps[step].attempt != w->attempt) {
        work_free(w);
        return;
    }
    prepare(w, r, step);
    work_begin(w);
}

static bool under_way(const struct drains *ds, struct str task)
{
    list_for (it, &ds->works)
        if (str_eq(list_entry(it, struct work, link)->task, task))
            return true;
    return false;
}

static enum code load(struct work *w)
{
    struct store_command command =
        STORE_COMMAND(S("HGETALL"), key_document(&w->arena, w->place.space, w->place.kind->name, w->place.id));

    return store_read(w->drains->worker->store, &command, 1, &w->ops, loaded, w);
}

void work_swept(struct drains *ds, unsigned partition, struct str member)
{
    struct str rest = member, tenant = str_cut(&rest, ':'), task = rest, run = str_cut(&rest, ':'),
               node = str_cut(&rest, ':');
    int64_t attempt;
    struct place p;
    struct work *w;

    if (!place_parse(&p, run_kind_of_node(node), partition, tenant, run) || !str_i64(rest, &attempt) || ds->closing ||
        under_way(ds, task))
        return;
    w = work_make(ds, &p);
    if (w == NULL)
        return;
    w->node = arena_str(&w->arena, node);
    w->task = arena_str(&w->arena, task);
    w->attempt = attempt;
    if (load(w) != OK)
        work_free(w);
}

/* --- leases, start and stop --- */

static void renew_partition(struct drains *ds, unsigned partition)
{
    struct str members[WORK_MOST];
    size_t n = 0;

    arena_reset(&ds->scratch);
    list_for (it, &ds->works) {
        const struct work *w = list_entry(it, struct work, link);

        if (w->place.space.partition == partition && n < WORK_MOST)
            members[n++] = arena_printf(&ds->scratch, "%s:" STR_FMT, w->place.tenant, STR_ARG(w->task));
    }
    if (n > 0)
        store_take(ds->worker->store, &ds->scratch, partition, 0, members, n, WORK_LEASE_MS, &ds->ops, renewed, ds);
}

static void renew(void *arg)
{
    struct drains *ds = arg;
    bool seen[ID_PARTITIONS] = {false};

    timer_start(&ds->renewer, &ds->worker->loop, WORK_RENEW_MS, renew, ds);
    list_for (it, &ds->works)
        seen[list_entry(it, struct work, link)->place.space.partition % ID_PARTITIONS] = true;
    for (unsigned i = 0; i < ID_PARTITIONS; i++)
        if (seen[i])
            renew_partition(ds, i);
}

bool works_start(struct drains *ds)
{
    const struct config_list *allow = &ds->worker->settings->outbound_allow;
    struct cidr *blocks = calloc(allow->n + 1, sizeof *blocks);
    struct fetch_settings settings = {.allow = blocks};

    if (blocks == NULL)
        return false;
    for (size_t i = 0; i < allow->n; i++)
        if (cidr_parse(str_z(allow->items[i]), &blocks[settings.allow_count]))
            settings.allow_count++;
        else
            log_warn("outbound.allow", "ignored=%s", allow->items[i]);
    ds->fetcher = fetcher_open(&ds->worker->loop, &settings);
    free(blocks);
    if (ds->fetcher != NULL)
        timer_start(&ds->renewer, &ds->worker->loop, WORK_RENEW_MS, renew, ds);
    return ds->fetcher != NULL;
}

struct fetcher *drains_fetcher(struct drains *d)
{
    return d->fetcher;
}

void works_stop(struct drains *ds)
{
    timer_stop(&ds->renewer);
    while (!list_empty(&ds->works))
        work_free(list_entry(ds->works.next, struct work, link));
}
