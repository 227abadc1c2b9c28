#include "server/engine/agents.h"

#include "lib/clock.h"
#include "lib/id.h"
#include "lib/log.h"
#include "server/agent/protocol.h"
#include "server/audit.h"
#include "server/dashboard/event.h"
#include "server/document.h"
#include "server/engine/choose.h"
#include "server/engine/drain.h"
#include "server/settings.h"
#include "server/worker.h"

#include <stdlib.h>
#include <string.h>

enum { TRIES = 5, OFFERS = 20 /* runs told of one that may take something */ };

const char *const agent_capabilities[] = {"script", "host", "docker", "compose", "ssh", "winrm", "ecs", "nomad", NULL};

bool agents_capabilities(const struct json *j)
{
    if (!json_is(j, JSON_ARRAY))
        return false;
    for (size_t i = 0; i < json_count(j); i++) {
        size_t k = 0;
        while (agent_capabilities[k] != NULL && !str_eqz(json_str(json_at(j, i)), agent_capabilities[k]))
            k++;
        if (agent_capabilities[k] == NULL)
            return false;
    }
    return true;
}

void agents_roster(struct buf *b, const struct json *document)
{
    const struct choose_agent agent = {
        .name = json_str(json_get(document, "name")),
        .status = json_str(json_get(document, "status")),
        .lifecycle = json_str(json_get(document, "lifecycleState")),
        .labels = json_get(document, "labels"),
        .capabilities = json_get(document, "capabilities"),
        .max_tasks = json_int(json_get(document, "maxTasks"), CHOOSE_MAX_TASKS),
        .interval_s = json_int(json_path(document, S("config.heartbeatInterval")), CHOOSE_INTERVAL_S),
    };
    choose_write(b, &agent);
}

void agents_tell_status(struct commit *c, struct arena *a, struct str agent, struct str name, struct str status,
                        struct str lifecycle)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, a, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("type"));
    json_put_z(&o, "agent_status_changed");
    json_key(&o, S("agentId"));
    json_put_str(&o, agent);
    json_key(&o, S("lifecycleState"));
    json_put_str(&o, lifecycle);
    json_key(&o, S("name"));
    json_put_str(&o, name);
    json_key(&o, S("status"));
    json_put_str(&o, status);
    json_close(&o, '}');
    dashboard_event(c, b.failed ? STR_NONE : str_slice(buf_view(&b), 1, b.n));
}

void agents_pulse(struct buf *b, int64_t now_ms, const struct json *usage)
{
    static const char *const names[] = {"cpuPercent", "diskPercent", "memoryPercent"};
    struct json_out o;
    char time[CLOCK_TEXT];
    clock_text(now_ms, time);
    buf_printf(b, "\"lastHeartbeat\":\"%s\",\"resourceUsage\":", time);
    json_out_init(&o, b);
    if (!json_is(usage, JSON_OBJECT)) {
        json_put_null(&o);
        return;
    }
    json_open(&o, '{');
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        double v = json_real(json_get(usage, names[i]), -1);
        if (!(v >= 0 && v <= 100))
            continue;
        json_key(&o, str_z(names[i]));
        json_put_real(&o, v);
    }
    json_close(&o, '}');
}

/* --- offers --- */

struct offering {
    struct worker *worker;
    char tenant[40];
    unsigned partition;
    struct str runs[OFFERS];
    size_t told;
};

/* Told once each; the list has room for OFFERS. */
static void offer_run(struct offering *o, struct str member)
{
    struct str run = str_cut(&member, ':');
    const struct run_kind *kind = run_kind_of_node(member);
    for (size_t i = 0; i < o->told; i++)
        if (str_eq(o->runs[i], run))
            return;
    if (kind == NULL)
        return;
    o->runs[o->told++] = run;
    drain_append(o->worker, kind, (struct space){o->partition, str_z(o->tenant)}, run, STR_NONE,
                 &(struct run_event){.type = EVENT_OFFER}, NULL, NULL, NULL); /* refused: the run asks again itself */
}

/* Half of them those that have waited longest. They may wait for an agent that never comes, so the others are taken from
 * anywhere. */
static void offer(void *arg, enum code c, const struct redis_value *v)
{
    struct offering *o = arg;
    size_t n = c == OK ? v->count : 0, i = 0;
    for (; i < n && o->told < OFFERS / 2; i++)
        offer_run(o, redis_text(redis_at(v, i)));
    size_t from = i < n ? i + random_below((uint32_t)(n - i)) : i;
    for (size_t k = 0; i + k < n && o->told < OFFERS; k++)
        offer_run(o, redis_text(redis_at(v, i + (from - i + k) % (n - i))));
    free(o);
}

void agents_offer(struct worker *w, struct space space)
{
    struct arena scratch;
    struct offering *o = calloc(1, sizeof *o);
    if (o == NULL || space.tenant.n >= sizeof o->tenant) {
        free(o);
        return;
    }
    o->worker = w;
    o->partition = space.partition;
    memcpy(o->tenant, space.tenant.p, space.tenant.n);
    arena_init(&scratch, 0);
    const struct store_command read = STORE_COMMAND(S("ZRANGE"), key_waiting(&scratch, space), S("0"), S("999"));
    if (store_read(w->store, &read, 1, &w->ops, offer, o) != OK)
        free(o);
    arena_fini(&scratch);
}

/* --- gone --- */

void agents_gone(struct commit *c, struct arena *a, struct str agent, const struct redis_value *open)
{
    struct buf entry;
    buf_init_arena(&entry, a, 128);
    run_event_write(&entry, &(struct run_event){.type = EVENT_AGENT_GONE, .agent = agent});
    struct str text = entry.failed ? STR_NONE : buf_view(&entry);
    for (size_t i = 0; open != NULL && i + 1 < open->count; i += 2) {
        struct str task = redis_text(redis_at(open, i));
        commit_task(c, agent, task, STR_NONE);
        struct str run = str_cut(&task, ':');
        if (run_kind_of_node(task) != NULL)
            commit_inbox(c, run_kind_of_node(task)->name, run, STR_NONE, text);
    }
    commit_roster(c, agent, STR_NONE);
    commit_beat(c, agent, false);
}

void agents_told(struct worker *w, struct space space, const struct redis_value *open)
{
    for (size_t i = 0; open != NULL && i + 1 < open->count; i += 2) {
        struct str task = redis_text(redis_at(open, i)), run = str_cut(&task, ':');
        if (run_kind_of_node(task) != NULL)
            drain_run(w, run_kind_of_node(task), space, run);
    }
}

/* --- a change of one agent's state --- */

/* From reading the document to the commit, again when somebody else was faster. Its own memory; for a heartbeat the asker
 * waits by `op`, otherwise nobody does. */
struct turning {
    struct op op;
    struct worker *worker;
    struct arena arena;
    struct space space;
    struct str agent;
    struct beat beat; /* of a heartbeat */
    struct str want;  /* status */
    bool silent;      /* no heartbeat: found by the sweep */
    unsigned tries;
    struct document document;
    const struct json *old, *now; /* parsed: as read, as it is after the commit */
    struct redis_value *open;     /* copied */
    bool changed, may_offer;
    struct commit commit;
    struct commit_index index;
    int64_t now_ms;
    agents_then *then;
    void *arg;
};

static enum code turn_read(struct turning *t);

static void turn_end(struct turning *t, enum code c, const struct beaten *b)
{
    bool wanted = op_finish(&t->op);
    if (wanted && t->then != NULL)
        t->then(t->arg, c, c == OK ? b : NULL);
    arena_fini(&t->arena);
    free(t);
}

static struct turning *turn_new(struct worker *w, struct space space, struct str agent, struct ops *asker)
{
    struct turning *t = calloc(1, sizeof *t);
    if (t == NULL)
        return NULL;
    arena_init(&t->arena, 0);
    t->worker = w;
    t->space = (struct space){space.partition, arena_str(&t->arena, space.tenant)};
    t->agent = arena_str(&t->arena, agent);
    if (t->space.tenant.p == NULL || t->agent.p == NULL) {
        arena_fini(&t->arena);
        free(t);
        return NULL;
    }
    op_begin(&t->op, asker);
    return t;
}

/* Nothing came of it: `then` does not run. */
static void turn_drop(struct turning *t)
{
    op_finish(&t->op);
    arena_fini(&t->arena);
    free(t);
}

/* --- reconciliation --- */

static bool is_among(const struct json *ids, struct str id)
{
    for (size_t i = 0; i < json_count(ids); i++)
        if (str_eq(json_str(json_at(ids, i)), id))
            return true;
    return false;
}

static void tell_run(struct turning *t, enum run_event_type type, struct str task)
{
    struct task_place place;
    const struct run_kind *kind = task_place(task, &place) ? run_kind_of_node(place.node) : NULL;
    if (kind == NULL)
        return;
    const struct run_event e = {.type = type, .node = place.node, .attempt = place.attempt, .agent = t->agent};
    drain_append(t->worker, kind, t->space, place.run, STR_NONE, &e, NULL, NULL,
                 NULL); /* refused: with the next heartbeat */
}

/* What the agent runs and is no open task. */
static struct str *unknown_tasks(struct turning *t, size_t *n)
{
    const struct json *running = t->beat.running;
    struct str *list = arena_array(&t->arena, json_count(running) + 1, sizeof *list);
    *n = 0;
    for (size_t i = 0; list != NULL && i < json_count(running); i++) {
        struct str id = json_str(json_at(running, i));
        if (redis_is_nil(redis_field(t->open, id)))
            list[(*n)++] = id;
    }
    return list;
}

static void reconcile(struct turning *t, const struct str *unknown, size_t n)
{
    for (size_t i = 0; i < n; i++)
        tell_run(t, EVENT_TASK_ACCEPTED, unknown[i]);
    for (size_t i = 0; t->beat.running != NULL && i + 1 < t->open->count; i += 2) {
        struct str id = redis_text(redis_at(t->open, i));
        const struct json *task = json_parse(&t->arena, redis_text(redis_at(t->open, i + 1)), NULL, NULL);
        int64_t assigned_ms;
        bool lost = t->beat.leaves || (clock_parse(json_str(json_get(task, "assignedAt")), &assigned_ms) &&
                                       t->now_ms - assigned_ms > 1000 * PROTOCOL_ACCEPT_S);
        if (lost && !is_among(t->beat.running, id))
            tell_run(t, EVENT_TASK_LOST, id);
    }
}

static void turn_done(struct turning *t)
{
    size_t n = 0;
    const struct str *unknown = t->silent ? NULL : unknown_tasks(t, &n);
    if (t->may_offer)
        agents_offer(t->worker, t->space);
    if (!t->silent && unknown != NULL)
        reconcile(t, unknown, n);
    struct beaten b = {
        .now_ms = t->now_ms, .document = t->now, .open = t->open, .unknown = unknown, .unknown_count = n};
    turn_end(t, OK, &b);
}

/* --- the commit --- */

static void turned(void *arg, const struct commit_result *result)
{
    struct turning *t = arg;
    enum code c = result->code;
    t->now_ms = result->now_ms;
    if (c == RES_VERSION_CONFLICT && t->tries < TRIES)
        c = turn_read(t);
    else if (c == OK)
        return turn_done(t);
    if (c != OK)
        turn_end(t, c, NULL);
}

static const char *action_of(const struct turning *t)
{
    if (!str_eq(json_str(json_get(t->old, "status")), t->want))
        return str_eqz(t->want, "online")     ? "agent.online"
               : str_eqz(t->want, "degraded") ? "agent.degraded"
                                              : "agent.offline";
    return "agent.updated";
}

static bool put_change(struct turning *t)
{
    const struct resource *of = resource_find(AGENT_KIND);
    struct overlays set = {.arena = &t->arena};
    overlay_str(&set, "status", t->want);
    overlay_time(&set, "updatedAt", t->now_ms);
    overlay_str(&set, "updatedBy", t->silent ? S("system") : t->agent);
    overlay_int(&set, "revision", t->document.revision + 1);
    if (t->beat.version.n > 0)
        overlay_str(&set, "version", t->beat.version);
    if (t->beat.capabilities != NULL)
        overlay_json(&set, "capabilities", t->beat.capabilities);
    struct str text = document_render(&t->arena, of->fields, t->old, t->old, &set);
    t->now = text.p != NULL ? json_parse(&t->arena, text, NULL, NULL) : NULL;
    if (t->now == NULL)
        return false;
    document_index(&t->index, &t->arena, of, t->now);
    commit_put(&t->commit, &(struct commit_document){.kind = AGENT_KIND,
                                                     .id = t->agent,
                                                     .revision = t->document.revision + 1,
                                                     .schema = document_schema(of),
                                                     .json = text,
                                                     .index = &t->index});
    struct buf roster;
    buf_init_arena(&roster, &t->arena, 256);
    agents_roster(&roster, t->now);
    if (roster.failed)
        return false;
    commit_roster(&t->commit, t->agent, buf_view(&roster));
    if (!str_eq(json_str(json_get(t->old, "status")), t->want))
        agents_tell_status(&t->commit, &t->arena, t->agent, json_str(json_get(t->now, "name")), t->want,
                           json_str(json_get(t->now, "lifecycleState")));
    const struct audit_entry entry = {.action = action_of(t),
                                      .resource = AGENT_KIND,
                                      .resource_id = t->agent,
                                      .before = t->document.json,
                                      .after = text};
    audit_add_system(&t->commit, &t->arena, "agents", &entry);
    return true;
}

static bool is_change(const struct turning *t)
{
    const struct json *said = t->beat.capabilities;
    return !str_eq(json_str(json_get(t->old, "status")), t->want) ||
           (t->beat.version.n > 0 && !str_eq(json_str(json_get(t->old, "version")), t->beat.version)) ||
           (said != NULL && !json_equal(said, json_get(t->old, "capabilities")));
}

static void add_pulse(struct turning *t)
{
    struct buf b;
    buf_init_arena(&b, &t->arena, 128);
    agents_pulse(&b, t->now_ms, t->beat.usage);
    if (!b.failed)
        commit_field(&t->commit, AGENT_KIND, t->agent, S(AGENT_PULSE), buf_view(&b));
}

static enum code turn_commit(struct turning *t)
{
    t->changed = is_change(t);
    if (t->silent && !t->changed) { /* somebody else has seen to it */
        turn_end(t, OK, &(struct beaten){0});
        return OK;
    }
    commit_begin(&t->commit, &t->arena, t->space, COMMIT_ESSENTIAL);
    t->now = t->old;
    t->now_ms = store_now_ms(t->worker->store);
    if (t->changed && !put_change(t))
        return SYS_OVERLOADED;
    t->may_offer = t->changed && !t->silent && !t->beat.leaves;
    if (str_eqz(t->want, "offline"))
        commit_beat(&t->commit, t->agent, false);
    else if (!t->silent)
        commit_beat(&t->commit, t->agent, true);
    if (!t->silent)
        add_pulse(t);
    return store_commit(t->worker->store, &t->commit, &t->worker->ops, turned, t);
}

/* --- reading --- */

/* A HASH's names and values, for longer than the reply lives. */
static struct redis_value *copy(struct arena *a, const struct redis_value *v)
{
    struct redis_value *out = arena_new(a, struct redis_value);
    const struct redis_value **items = arena_array(a, v->count + 1, sizeof *items);
    if (out == NULL || items == NULL)
        return NULL;
    for (size_t i = 0; i < v->count; i++) {
        struct redis_value *item = arena_new(a, struct redis_value);
        if (item == NULL)
            return NULL;
        *item = (struct redis_value){.type = REDIS_STRING, .text = arena_str(a, redis_text(redis_at(v, i)))};
        items[i] = item;
    }
    *out = (struct redis_value){.type = REDIS_ARRAY, .count = v->count, .items = items};
    return out;
}

static enum code take_state(struct turning *t, const struct redis_value *v)
{
    enum code c = OK;
    const struct redis_value *doc = redis_at(v, 0);
    if (redis_is_nil(redis_at(doc, 0)))
        return RES_NOT_FOUND;
    t->document = (struct document){.id = t->agent,
                                    .json = arena_str(&t->arena, redis_text(redis_at(doc, 0))),
                                    .revision = redis_int(redis_at(doc, 1), 0),
                                    .schema = redis_int(redis_at(doc, 2), 1)};
    t->open = copy(&t->arena, redis_at(v, 1));
    if (t->document.json.p == NULL || t->open == NULL)
        return SYS_OVERLOADED;
    t->old = document_parse(&t->arena, resource_find(AGENT_KIND), &t->document, &c);
    if (t->old == NULL)
        return c;
    return str_eqz(json_str(json_get(t->old, "lifecycleState")), "revoked") ? AGT_REVOKED : OK;
}

static void state_read(void *arg, enum code c, const struct redis_value *v)
{
    struct turning *t = arg;
    if (c == OK)
        c = take_state(t, v);
    if (c == OK)
        c = turn_commit(t);
    if (c != OK)
        turn_end(t, c, NULL);
}

static enum code turn_read(struct turning *t)
{
    const struct store_command reads[] = {
        STORE_COMMAND(S("HMGET"), key_document(&t->arena, t->space, AGENT_KIND, t->agent), S("j"), S("r"), S("sv")),
        STORE_COMMAND(S("HGETALL"), key_tasks(&t->arena, t->space, t->agent)),
    };
    t->tries++;
    return store_read(t->worker->store, reads, ARRAY_LEN(reads), &t->worker->ops, state_read, t);
}

/* --- heartbeats --- */

static const struct json *keep(struct arena *a, const struct json *j, bool *failed)
{
    struct buf b;
    if (j == NULL)
        return NULL;
    buf_init_arena(&b, a, 128);
    json_write(&b, j);
    struct json *copied = b.failed ? NULL : json_parse(a, buf_view(&b), NULL, NULL);
    *failed = *failed || copied == NULL;
    return copied;
}

enum code agents_beat(struct worker *w, struct space space, struct str agent, const struct beat *beat,
                      struct ops *asker, agents_then *then, void *arg)
{
    bool failed = false;
    struct turning *t = turn_new(w, space, agent, asker);
    if (t == NULL)
        return SYS_OVERLOADED;
    t->then = then;
    t->arg = arg;
    t->want = beat->leaves ? S("offline") : S("online");
    t->beat = (struct beat){
        .leaves = beat->leaves,
        .usage = keep(&t->arena, beat->usage, &failed),
        .version = beat->version.n > 0 ? arena_str(&t->arena, beat->version) : STR_NONE,
        .capabilities = keep(&t->arena, beat->capabilities, &failed),
        .running = keep(&t->arena, beat->running, &failed),
    };
    enum code c = failed ? SYS_OVERLOADED : turn_read(t);
    if (c != OK)
        turn_drop(t);
    return c;
}

/* --- silence --- */

struct silence {
    struct worker *worker;
    struct arena arena;
    struct space space;
    struct str agent;
    int64_t for_ms;
};

static void turn_silent(const struct silence *s, struct str want)
{
    struct turning *t = turn_new(s->worker, s->space, s->agent, NULL);
    if (t == NULL)
        return;
    t->silent = true;
    t->want = want;
    if (turn_read(t) != OK)
        turn_drop(t);
}

/* Off the liveness record without a trace: there is no such agent any more. */
static void unbeat(const struct silence *s)
{
    struct turning *t = turn_new(s->worker, s->space, s->agent, NULL);
    if (t == NULL)
        return;
    t->silent = true;
    t->tries = TRIES;
    commit_begin(&t->commit, &t->arena, t->space, COMMIT_ESSENTIAL);
    commit_beat(&t->commit, t->agent, false);
    if (store_commit(s->worker->store, &t->commit, &s->worker->ops, turned, t) != OK)
        turn_drop(t);
}

static void roster_read(void *arg, enum code c, const struct redis_value *v)
{
    struct silence *s = arg;
    struct choose_agent agent;
    int64_t least = s->worker->settings->agent_heartbeat;
    if (c == OK && redis_is_nil(v)) {
        unbeat(s);
    } else if (c == OK && choose_read(&s->arena, s->agent, redis_text(v), 0, &agent)) {
        int64_t interval = 1000 * agent.interval_s > least ? 1000 * agent.interval_s : least;
        struct str want = agent.status;
        if (s->for_ms >= AGENT_OFFLINE * interval)
            want = S("offline");
        else if (s->for_ms >= AGENT_DEGRADED * interval)
            want = S("degraded");
        if (!str_eq(want, agent.status))
            turn_silent(s, want);
    }
    arena_fini(&s->arena);
    free(s);
}

void agents_silent(struct worker *w, struct space space, struct str agent, int64_t last_ms, int64_t now_ms)
{
    struct silence *s = calloc(1, sizeof *s);
    if (s == NULL)
        return;
    arena_init(&s->arena, 0);
    s->worker = w;
    s->for_ms = now_ms - last_ms;
    s->space = (struct space){space.partition, arena_str(&s->arena, space.tenant)};
    s->agent = arena_str(&s->arena, agent);
    const struct store_command read = STORE_COMMAND(S("HGET"), key_roster(&s->arena, s->space), s->agent);
    if (s->agent.p == NULL || store_read(w->store, &read, 1, &w->ops, roster_read, s) != OK) {
        arena_fini(&s->arena);
        free(s);
    }
}
