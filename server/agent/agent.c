#include "server/agent/agent.h"
#include "lib/clock.h"
#include "lib/id.h"
#include "lib/log.h"
#include "lib/signal.h"
#include "lib/timer.h"
#include "server/agent/protocol.h"
#include "server/commands.h"
#include "server/agent/usage.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

enum {
    BACKOFF_FIRST_MS = 500,
    BACKOFF_MOST_MS = 30000,
    BACKOFF_BUSY_MS = 1500,  /* at most, while there are tasks: somebody waits for what they print */
    IDLE_MS = 75000,         /* the server pings every 30 s */
    BUSY_MS = 5000,          /* the same while there are tasks: what they print must not wait for a link that is dead */
    QUEUE_MOST = 512 * 1024, /* bytes under way to the server before tasks have to wait */
    BEAT_AGAIN_MS = 1000,    /* when one could not be said */
    RENEW_BEFORE_MS = 600000, /* of the token's end; at most a fifth of its life */
    RENEW_AGAIN_MS = 30000,
    GONE_MS = 2000, /* to say that we leave when there is no stream */
    GOING_AWAY = 1001,
    REPLACED = 4409
};

struct agent {
    const struct agent_settings *settings;
    struct loop loop;
    struct ops ops;
    struct identity identity;
    struct identity_call call;
    struct tasks tasks;
    struct usage usage;
    struct client_ws *ws;
    bool synced;  /* everything the server had to say about our tasks has come */
    bool asking;  /* a call for tokens is under way */
    bool leaving; /* told to, or revoked */
    bool over;    /* nothing is to be started any more */
    struct timer tick, again, beat, renew, patience;
    struct signal_watch term, interrupt;
    int64_t backoff_ms;
    int64_t heartbeat_ms;
    int64_t idle_ms;   /* of the connection, as it was told */
    int64_t offset_ms; /* the server's clock is ahead of ours by this */
    enum agent_exit status;
};

static void connect_again(void *arg);
static void leave(struct agent *a, enum agent_exit status);

/* --- tasks --- */

static bool send_message(void *arg, struct str message)
{
    struct agent *a = arg;
    return client_ws_queued(a->ws) < QUEUE_MOST && client_ws_send(a->ws, message);
}

/* False: there was no memory for it. */
static bool say_beat(struct agent *a)
{
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("capabilities"));
    json_open(&o, '[');
    for (size_t i = 0; i < a->settings->facts.capability_count; i++)
        json_put_z(&o, a->settings->facts.capabilities[i]);
    json_close(&o, ']');
    json_key(&o, S("resourceUsage"));
    usage_write(&a->usage, a->settings->data, &o);
    json_key(&o, S("runningTaskIds"));
    tasks_write_ids(&a->tasks, &o);
    json_key(&o, S("status"));
    json_put_z(&o, a->leaving ? "offline" : "online");
    json_key(&o, S("type"));
    json_put_z(&o, "heartbeat");
    json_key(&o, S("version"));
    json_put_z(&o, SLIPWAY_VERSION);
    json_close(&o, '}');
    bool said = !b.failed && client_ws_send(a->ws, buf_view(&b));
    buf_free(&b);
    return said;
}

static void told(void *arg, const struct client_answer *answer)
{
    (void)arg;
    (void)answer; /* the server finds out by itself in the end */
}

/* There is no stream to say it on. */
static void say_gone(struct agent *a)
{
    char path[64 + IDENTITY_AGENT], bearer[IDENTITY_TOKEN + 8];
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("runningTaskIds"));
    tasks_write_ids(&a->tasks, &o);
    json_key(&o, S("status"));
    json_put_z(&o, "offline");
    json_close(&o, '}');
    snprintf(path, sizeof path, "/api/v1/agents/%s/heartbeat", a->identity.agent);
    snprintf(bearer, sizeof bearer, "Bearer %s", a->identity.token);
    const struct client_header headers[] = {{"Authorization", str_z(bearer)}, {0}};
    const struct client_request request = {.url = &a->settings->url,
                                           .method = "POST",
                                           .path = str_z(path),
                                           .headers = headers,
                                           .body = buf_view(&b),
                                           .deadline_ms = GONE_MS};
    if (!b.failed)
        client_call(&a->loop, &request, NULL, told, NULL);
    buf_free(&b);
}

static void finish(struct agent *a)
{
    if (a->over)
        return;
    a->over = true;
    timer_stop(&a->tick);
    timer_stop(&a->again);
    timer_stop(&a->beat);
    timer_stop(&a->renew);
    timer_stop(&a->patience);
    ops_detach(&a->ops);
    tasks_link(&a->tasks, NULL, NULL);
    if (a->ws != NULL && a->synced)
        say_beat(a);
    else if (a->identity.agent[0] != '\0' && a->status == AGENT_LEFT)
        say_gone(a);
    if (a->ws != NULL)
        client_ws_close(a->ws, GOING_AWAY, "the agent leaves");
    log_info("agent.leaves", "tasks=%zu", a->tasks.running);
}

static void watch_link(struct agent *a)
{
    int64_t ms = a->tasks.running > 0 ? BUSY_MS : IDLE_MS;
    if (a->ws == NULL || !a->synced || a->idle_ms == ms)
        return;
    a->idle_ms = ms;
    client_ws_idle(a->ws, ms);
}

static void on_tick(void *arg)
{
    struct agent *a = arg;
    bool more = tasks_tick(&a->tasks);
    watch_link(a);
    bool ended = a->status == AGENT_REVOKED ? tasks_idle(&a->tasks) : !more;
    if (a->leaving && ended)
        finish(a);
    else if (more)
        timer_start(&a->tick, &a->loop, PROTOCOL_BATCH_MS, on_tick, a);
}

static void tick_soon(struct agent *a)
{
    if (!a->over && !timer_running(&a->tick))
        timer_start(&a->tick, &a->loop, PROTOCOL_BATCH_MS, on_tick, a);
}

/* --- tokens --- */

static void again(struct agent *a, int64_t at_least_ms)
{
    if (a->over)
        return;
    int64_t half = a->backoff_ms / 2;
    timer_start(&a->again, &a->loop, at_least_ms + half + random_below((uint32_t)half + 1), connect_again, a);
    int64_t most = a->tasks.running > 0 ? BACKOFF_BUSY_MS : BACKOFF_MOST_MS;
    a->backoff_ms = a->backoff_ms * 2 < most ? a->backoff_ms * 2 : most;
}

static void renew(void *arg);

static void renew_later(struct agent *a)
{
    int64_t left = a->identity.expires_ms - clock_wall_ms();
    int64_t before = left / 5 < RENEW_BEFORE_MS ? left / 5 : RENEW_BEFORE_MS;
    timer_start(&a->renew, &a->loop, left > before ? left - before : 0, renew, a);
}

static void refused(struct agent *a, const char *why)
{
    log_error("agent.refused", "why=\"%s\"", why);
    tasks_cancel_all(&a->tasks, S("the agent was revoked"));
    leave(a, AGENT_REVOKED);
}

static void authenticate(struct agent *a)
{
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("token"));
    json_put_z(&o, a->identity.token);
    json_key(&o, S("type"));
    json_put_z(&o, "auth");
    json_close(&o, '}');
    if (!b.failed)
        client_ws_send(a->ws, buf_view(&b));
    buf_free(&b);
}

static void renewed(void *arg, enum identity_result result, const char *why)
{
    struct agent *a = arg;
    a->asking = false;
    if (result == IDENTITY_REFUSED) {
        refused(a, why);
        return;
    }
    if (result == IDENTITY_OK) {
        int error = identity_save(&a->identity, a->settings->data);
        if (error != 0)
            log_error("agent.identity", "error=\"%s\"", strerror(error));
        log_info("agent.renewed", "agent=%s", a->identity.agent);
        renew_later(a);
    } else {
        log_warn("agent.token", "why=\"%s\"", why);
        timer_start(&a->renew, &a->loop, RENEW_AGAIN_MS, renew, a);
    }
    if (a->ws != NULL && result == IDENTITY_OK)
        authenticate(a);
    if (a->ws == NULL && !timer_running(&a->again))
        again(a, 0);
}

static void registered(void *arg, enum identity_result result, const char *why)
{
    struct agent *a = arg;
    a->asking = false;
    if (result == IDENTITY_REFUSED) {
        refused(a, why);
        return;
    }
    if (result == IDENTITY_LATER) {
        log_warn("agent.register", "why=\"%s\"", why);
        again(a, 0);
        return;
    }
    int error = identity_save(&a->identity, a->settings->data);
    log_info("agent.registered", "agent=%s name=" STR_FMT, a->identity.agent, STR_ARG(a->settings->facts.name));
    if (error != 0)
        log_error("agent.identity", "error=\"%s\"", strerror(error));
    renew_later(a);
    connect_again(a);
}

static void renew(void *arg)
{
    struct agent *a = arg;
    if (a->asking || a->over)
        return;
    a->call = (struct identity_call){.identity = &a->identity, .then = renewed, .arg = a};
    a->asking = identity_renew(&a->call, &a->loop, &a->settings->url, &a->ops);
    if (!a->asking)
        timer_start(&a->renew, &a->loop, RENEW_AGAIN_MS, renew, a);
}

/* --- the server's messages --- */

static void heartbeat(void *arg)
{
    struct agent *a = arg;
    if (a->ws == NULL)
        return;
    bool said = say_beat(a); /* without one it gets no tasks */
    timer_start(&a->beat, &a->loop, said ? a->heartbeat_ms : BEAT_AGAIN_MS, heartbeat, a);
}

static void on_ready(struct agent *a, const struct json *m)
{
    int64_t then;
    if (clock_parse(json_str(json_get(m, "timestamp")), &then))
        a->offset_ms = then - clock_wall_ms();
    log_info("agent.connected", "agent=%s", a->identity.agent);
}

static void on_synced(struct agent *a, const struct json *m)
{
    (void)m;
    a->synced = true;
    a->backoff_ms = BACKOFF_FIRST_MS;
    tasks_link(&a->tasks, send_message, a);
    heartbeat(a);
    tick_soon(a);
}

static void on_assigned(struct agent *a, const struct json *m)
{
    tasks_assign(&a->tasks, json_get(m, "task"), clock_wall_ms() + a->offset_ms);
    tick_soon(a);
}

static void on_cancel(struct agent *a, const struct json *m)
{
    tasks_cancel(&a->tasks, json_str(json_get(m, "taskId")), json_str(json_get(m, "reason")),
                 json_real(json_get(m, "graceSeconds"), PROTOCOL_GRACE_S));
}

static void on_ack(struct agent *a, const struct json *m)
{
    tasks_ack(&a->tasks, json_str(json_get(m, "ref")));
}

static void on_nack(struct agent *a, const struct json *m)
{
    tasks_nack(&a->tasks, json_str(json_get(m, "ref")), json_int(json_get(m, "next"), 0));
}

static void on_config(struct agent *a, const struct json *m)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    int64_t seconds = json_int(json_path(m, S("config.heartbeatInterval")), 0);
    if (seconds >= 1 && seconds <= 3600)
        a->heartbeat_ms = seconds * 1000;
    if (a->synced)
        timer_start(&a->beat, &a->loop, a->heartbeat_ms, heartbeat, a);
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (str_eqz(json_str(json_path(m, S("config.logLevel"))), levels[i]))
            log_setup((enum log_level)i, (enum log_format)a->settings->log_format, 2);
}

static void on_expiring(struct agent *a, const struct json *m)
{
    (void)m;
    renew(a);
}

static void on_drain(struct agent *a, const struct json *m)
{
    (void)a;
    log_info("agent.drained", "reconnect_ms=%lld", (long long)json_int(json_get(m, "reconnectInMs"), 0));
}

static void on_error(struct agent *a, const struct json *m)
{
    (void)a;
    log_warn("agent.error", "code=" STR_FMT " message=\"" STR_FMT "\"", STR_ARG(json_str(json_get(m, "code"))),
             STR_ARG(json_str(json_get(m, "message"))));
}

static void on_text(void *arg, struct str text)
{
    // clang-format off
    static const struct {
        const char *type;
        void (*take)(struct agent *a, const struct json *message);
    } rows[] = {
        {"ready",          on_ready},
        {"synced",         on_synced},
        {"task_assigned",  on_assigned},
        {"task_cancel",    on_cancel},
        {"ack",            on_ack},
        {"nack",           on_nack},
        {"config_update",  on_config},
        {"token_expiring", on_expiring},
        {"drain",          on_drain},
        {"error",          on_error},
    };
    // clang-format on
    struct agent *a = arg;
    struct arena arena;
    arena_init(&arena, 0);
    const struct json *m = json_parse(&arena, text, NULL, NULL);
    struct str type = json_str(json_get(m, "type"));
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eqz(type, rows[i].type))
            rows[i].take(a, m);
    bool lost = arena.failed;
    arena_fini(&arena);
    if (lost && a->ws != NULL) /* on the next connection it is said again */
        client_ws_close(a->ws, GOING_AWAY, "memory ran out");
}

/* --- the connection --- */

static void on_open(void *arg)
{
    struct agent *a = arg;
    a->idle_ms = IDLE_MS;
    client_ws_idle(a->ws, IDLE_MS);
}

static void on_drained(void *arg)
{
    struct agent *a = arg;
    if (a->synced && !a->over)
        tasks_tick(&a->tasks);
}

static void on_close(void *arg, int status, unsigned code, struct str reason)
{
    struct agent *a = arg;
    bool was = a->synced;
    a->ws = NULL;
    a->synced = false;
    timer_stop(&a->beat);
    tasks_link(&a->tasks, NULL, NULL);
    if (a->over)
        return;
    log_warn("agent.disconnected", "status=%d code=%u reason=\"" STR_FMT "\" synced=%s", status, code, STR_ARG(reason),
             was ? "true" : "false");
    bool doubted = status == 401 || status == 403 || status == 404 || code == 4401 || code == 4403 || code == 4404;
    if (code == REPLACED) { /* by a copy of this folder elsewhere: do not fight over the place */
        log_error("agent.replaced", "agent=%s", a->identity.agent);
        a->backoff_ms = BACKOFF_MOST_MS;
    }
    if (doubted)
        renew(a); /* its answer says whether we are still wanted */
    if (!doubted || !a->asking)
        again(a, 0);
}

static void connect_again(void *arg)
{
    static const struct client_ws_type type = {
        .on_open = on_open, .on_text = on_text, .on_drain = on_drained, .on_close = on_close};
    struct agent *a = arg;
    char path[64 + IDENTITY_AGENT], bearer[IDENTITY_TOKEN + 8];
    if (a->over || a->ws != NULL)
        return;
    if (a->identity.agent[0] == '\0') {
        a->call = (struct identity_call){.identity = &a->identity, .then = registered, .arg = a};
        a->asking =
            identity_register(&a->call, &a->loop, &a->settings->url, a->settings->token, &a->settings->facts, &a->ops);
        if (!a->asking)
            again(a, 0);
        return;
    }
    snprintf(path, sizeof path, "/api/v1/agents/%s/task-stream", a->identity.agent);
    snprintf(bearer, sizeof bearer, "Bearer %s", a->identity.token);
    const struct client_header headers[] = {{"Authorization", str_z(bearer)}, {0}};
    const struct client_request request = {.url = &a->settings->url, .path = str_z(path), .headers = headers};
    a->ws = client_ws_open(&a->loop, &request, &type, a);
    if (a->ws == NULL)
        again(a, 0);
}

/* --- beginning and end --- */

static void on_impatience(void *arg)
{
    finish(arg);
}

static void leave(struct agent *a, enum agent_exit status)
{
    if (a->leaving) {
        finish(a);
        return;
    }
    a->leaving = true;
    a->status = status;
    tasks_drain(&a->tasks);
    if (a->ws != NULL && a->synced)
        say_beat(a);
    if (status == AGENT_LEFT && a->settings->drain_ms == 0) {
        finish(a);
        return;
    }
    if (status == AGENT_LEFT)
        timer_start(&a->patience, &a->loop, a->settings->drain_ms, on_impatience, a);
    on_tick(a);
}

static void on_signal(void *arg, int signum)
{
    (void)signum;
    leave(arg, AGENT_LEFT);
}

static int open_all(struct agent *a)
{
    int error = identity_load(&a->identity, a->settings->data);
    if (error == ENOENT && a->settings->token.n > 0)
        error = 0;
    if (error == 0)
        error = tasks_open(&a->tasks, &a->settings->tasks, a->settings->data);
    if (error != 0)
        return error;
    error = -loop_init(&a->loop);
    if (error != 0)
        tasks_close(&a->tasks);
    return error;
}

enum agent_exit agent_run(const struct agent_settings *settings)
{
    struct agent a = {
        .settings = settings, .backoff_ms = BACKOFF_FIRST_MS, .heartbeat_ms = 1000 * PROTOCOL_HEARTBEAT_S};
    ops_init(&a.ops);
    int error = open_all(&a);
    if (error != 0) {
        log_error("agent.data", "folder=%s error=\"%s\"", settings->tasks.path, strerror(error));
        return AGENT_FAILED;
    }
    signal_ignore_pipe();
    signal_open(&a.term, &a.loop, SIGTERM, on_signal, &a);
    signal_open(&a.interrupt, &a.loop, SIGINT, on_signal, &a);
    if (a.identity.agent[0] != '\0')
        renew_later(&a);
    connect_again(&a);
    on_tick(&a);
    loop_run(&a.loop);
    signal_close(&a.term, NULL, NULL);
    signal_close(&a.interrupt, NULL, NULL);
    loop_fini(&a.loop);
    tasks_close(&a.tasks);
    explicit_bzero(&a.identity, sizeof a.identity);
    return a.status;
}
