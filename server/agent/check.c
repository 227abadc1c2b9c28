/* health-check: samples until one is good, or there were enough. */
#include "lib/clock.h"
#include "proto/fetch.h"
#include "server/agent/command.h"
#include "server/agent/hook.h"
#include "server/agent/work.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RETRIES = 3, INTERVAL_S = 10, TIMEOUT_S = 30, MOST_RETRIES = 1000, BODY = 1024 * 1024, SLICE_MS = 100 };

struct check {
    struct work *w;
    const struct json *payload;
    struct str host, url, expect_body;
    int64_t port, expect_status, retries;
    double timeout_s, interval_s;
    struct hook command;
    char why[256]; /* of the latest sample */
};

struct check_type {
    const char *name;
    bool (*read)(struct check *c);   /* the rest of the payload */
    bool (*sample)(struct check *c); /* `why` says more either way */
};

/* --- http --- */

static bool read_http(struct check *c)
{
    struct str path = json_str(json_get(c->payload, "path"));
    bool six = c->host.n > 0 && memchr(c->host.p, ':', c->host.n) != NULL;
    c->url = json_str(json_get(c->payload, "url"));
    if (c->url.n > 0)
        return true;
    if (path.n == 0)
        path = S("/");
    if (path.p[0] != '/')
        return work_fail(c->w, PROTOCOL_PAYLOAD, "payload.path does not begin with a slash");
    char port[24] = "";
    if (c->port > 0)
        snprintf(port, sizeof port, ":%lld", (long long)c->port);
    c->url = arena_printf(c->w->arena, "http://%s" STR_FMT "%s%s" STR_FMT, six ? "[" : "", STR_ARG(c->host),
                          six ? "]" : "", port, STR_ARG(path));
    return c->url.p != NULL || work_fail(c->w, PROTOCOL_TARGET, "out of memory");
}

struct heard {
    struct check *c;
    bool good;
};

static void answered(void *arg, const struct fetch_answer *a)
{
    struct heard *h = arg;
    struct check *c = h->c;
    bool status = c->expect_status > 0 ? a->status == c->expect_status : a->status >= 200 && a->status < 400;
    bool body = c->expect_body.n == 0 || str_find(a->body, c->expect_body) >= 0;
    h->good = a->fault == FETCH_NONE && status && body;
    if (a->fault != FETCH_NONE)
        snprintf(c->why, sizeof c->why, "%s", a->message);
    else
        snprintf(c->why, sizeof c->why, "status %d%s", a->status, status && !body ? ", without the expected body" : "");
}

static bool goes_on(void *arg, uint64_t got, uint64_t expected)
{
    (void)got;
    (void)expected;
    return !work_stopped(arg);
}

static bool sample_http(struct check *c)
{
    const struct fetch_request request = {
        .method = S("GET"), .url = c->url, .timeout_ms = (int64_t)(c->timeout_s * 1000), .max_bytes = BODY};
    const struct fetch_blocking how = {.unguarded = true, .goes_on = goes_on, .arg = c->w};
    struct heard heard = {.c = c};
    fetch_blocking(&(struct fetch_settings){0}, &request, &how, answered, &heard);
    return heard.good;
}

/* --- tcp --- */

static bool read_tcp(struct check *c)
{
    return c->port > 0 || work_fail(c->w, PROTOCOL_PAYLOAD, "payload.port is missing");
}

/* 0, or the errno; EINTR: the task was told to end. */
static int await_connection(struct check *c, int fd, int64_t until)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        int64_t left = until - clock_mono_ms();
        int error = 0;
        socklen_t n = sizeof error;
        if (work_stopped(c->w))
            return EINTR;
        if (left <= 0)
            return ETIMEDOUT;
        if (poll(&p, 1, left < SLICE_MS ? (int)left : SLICE_MS) > 0)
            return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) == 0 ? error : errno;
    }
}

static int try_address(struct check *c, const struct addrinfo *at, int64_t until)
{
    int fd = socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, at->ai_protocol);
    if (fd < 0)
        return errno;
    int error = connect(fd, at->ai_addr, at->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS)
        error = await_connection(c, fd, until);
    close(fd);
    return error;
}

static bool sample_tcp(struct check *c)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *list = NULL;
    char port[24];
    const char *host = arena_z(c->w->arena, c->host);
    int64_t until = clock_mono_ms() + (int64_t)(c->timeout_s * 1000);
    snprintf(port, sizeof port, "%lld", (long long)c->port);
    int failed = host != NULL ? getaddrinfo(host, port, &hints, &list) : EAI_MEMORY, error = 0;
    for (struct addrinfo *at = list; failed == 0 && at != NULL; at = at->ai_next) {
        error = try_address(c, at, until);
        if (error == 0 || error == EINTR)
            break;
    }
    if (list != NULL)
        freeaddrinfo(list);
    snprintf(c->why, sizeof c->why, "%s",
             failed != 0  ? gai_strerror(failed)
             : error != 0 ? strerror(error)
                          : "connected");
    return failed == 0 && error == 0;
}

/* --- command --- */

static bool read_command(struct check *c)
{
    struct arena *a = c->w->arena;
    struct str root = json_str(json_get(c->payload, "root"));
    c->command.argv = command_arguments(a, json_get(c->payload, "command"));
    c->command.env = command_environment(a, c->w->task, json_get(c->payload, "variables"), NULL, 0);
    c->command.folder = root.n > 0 ? arena_printf(a, STR_FMT "/current", STR_ARG(root)).p : ".";
    c->command.timeout_s = c->timeout_s;
    c->command.grace_s = json_real(json_get(c->payload, "graceSeconds"), PROTOCOL_GRACE_S);
    if (c->command.argv == NULL)
        return work_fail(c->w, PROTOCOL_PAYLOAD, "payload.command is no array of texts");
    return (c->command.env != NULL && c->command.folder != NULL) || work_fail(c->w, PROTOCOL_TARGET, "out of memory");
}

static bool sample_command(struct check *c)
{
    bool good = hook_run(c->w, &c->command, c->why, sizeof c->why);
    if (good)
        snprintf(c->why, sizeof c->why, "exit status 0");
    return good;
}

/* --- none --- */

static bool read_none(struct check *c)
{
    (void)c;
    return true;
}

// clang-format off
static const struct check_type types[] = {
    {"http",    read_http,    sample_http},
    {"tcp",     read_tcp,     sample_tcp},
    {"command", read_command, sample_command},
    {"none",    read_none,    NULL},
};
// clang-format on

/* --- the whole --- */

static const struct check_type *read_payload(struct check *c)
{
    struct str type = json_str(json_get(c->payload, "type"));
    const struct check_type *found = NULL;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eqz(type, types[i].name))
            found = &types[i];
    c->host = json_str(json_get(c->payload, "host"));
    if (c->host.n == 0)
        c->host = S("127.0.0.1");
    c->port = json_int(json_get(c->payload, "port"), 0);
    c->expect_status = json_int(json_get(c->payload, "expectStatus"), 0);
    c->expect_body = json_str(json_get(c->payload, "expectBody"));
    c->retries = json_int(json_get(c->payload, "retries"), RETRIES);
    c->timeout_s = json_real(json_get(c->payload, "timeoutSeconds"), TIMEOUT_S);
    c->interval_s = json_real(json_get(c->payload, "intervalSeconds"), INTERVAL_S);
    if (found == NULL)
        work_fail(c->w, PROTOCOL_PAYLOAD, "payload.type is none of http, tcp, command, none");
    else if (c->port < 0 || c->port > 65535)
        work_fail(c->w, PROTOCOL_PAYLOAD, "payload.port is not within 1 and 65535");
    else if (c->retries < 0 || c->retries > MOST_RETRIES)
        work_fail(c->w, PROTOCOL_PAYLOAD, "payload.retries is not within 0 and %d", MOST_RETRIES);
    else if (!(c->timeout_s > 0 && c->timeout_s <= 3600) || !(c->interval_s >= 0 && c->interval_s <= 3600))
        work_fail(c->w, PROTOCOL_PAYLOAD, "payload.timeoutSeconds or intervalSeconds is not within 0 and 3600");
    else if (found->read(c))
        return found;
    return NULL;
}

static void put_sample(struct check *c, struct json_out *o, int64_t at, bool good, int64_t took_ms)
{
    json_open(o, '{');
    json_key(o, S("at"));
    json_put_time(o, at);
    json_key(o, S("latencyMs"));
    json_put_int(o, took_ms);
    json_key(o, S("message"));
    json_put_z(o, c->why);
    json_key(o, S("ok"));
    json_put_bool(o, good);
    json_close(o, '}');
}

/* True with the first good one. Of many, the latest hundred are kept in the outputs; all are in the log. */
static bool sample_all(struct check *c, const struct check_type *type, struct buf *samples, int64_t *took_ms)
{
    enum { KEPT = 100 };
    struct json_out o;
    bool good = type->sample == NULL;
    json_out_init(&o, samples);
    json_open(&o, '[');
    for (int64_t i = 0; !good && i <= c->retries; i++) {
        if (i > 0)
            work_sleep(c->w, (int64_t)(c->interval_s * 1000));
        if (work_stopped(c->w))
            break;
        int64_t at = clock_wall_ms(), began = clock_mono_ms();
        good = type->sample(c);
        *took_ms = clock_mono_ms() - began;
        work_progress(c->w, (int)(100 * (i + 1) / (c->retries + 1)), "%s after %lld ms: %s", good ? "good" : "bad",
                      (long long)*took_ms, c->why);
        if (i + KEPT > c->retries || good)
            put_sample(c, &o, at, good, *took_ms);
    }
    json_close(&o, ']');
    return good;
}

bool check_run(struct work *w)
{
    struct check c = {.w = w, .payload = w->task->payload};
    struct buf samples;
    struct json_out o;
    int64_t took_ms = 0;
    const struct check_type *type = read_payload(&c);
    if (type == NULL)
        return false;
    buf_init_arena(&samples, w->arena, 512);
    bool good = sample_all(&c, type, &samples, &took_ms);
    json_out_init(&o, &w->outputs);
    json_open(&o, '{');
    json_key(&o, S("healthy"));
    json_put_bool(&o, good);
    json_key(&o, S("latencyMs"));
    json_put_int(&o, took_ms);
    json_key(&o, S("samples"));
    json_put_raw(&o, samples.failed ? S("[]") : buf_view(&samples));
    json_close(&o, '}');
    if (good)
        return true;
    return work_stopped_fail(w) ? false : work_fail(w, PROTOCOL_UNHEALTHY, "%s", c.why);
}
