/* WebSocket handshakes, each on a connection of its own that is reset as soon as it is open: a close in order would leave
 * tens of thousands of ports waiting. */
#include "test/bench/bench.h"
#include "test/bench/secure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT = 16384 };

struct slot {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct secure *secure; /* with --tls */
    bool over;             /* it was open: is being closed */
    uint64_t began;
    size_t filled;
    char input[INPUT];
};

static struct {
    struct load *load;
    uv_loop_t loop;
    uv_timer_t timer;
    uint64_t counted, failures, started, ended;
    bool counting, over;
    struct histogram latency;
} bench;

static void begin(struct slot *s);

static void on_closed(uv_handle_t *handle)
{
    struct slot *s = handle->data;
    secure_end(s->secure);
    s->secure = NULL;
    if (!bench.over)
        begin(s);
}

static bool is_open(struct str in)
{
    ptrdiff_t end = str_find(in, S("\r\n\r\n"));
    return end >= 0 &&
           (bench.load->word == NULL || str_find(str_slice(in, (size_t)end, in.n), str_z(bench.load->word)) >= 0);
}

static void on_input_space(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    static char space[INPUT];
    (void)handle, (void)suggested;
    *out = uv_buf_init(space, INPUT);
}

static void take_input(void *owner, struct str bytes)
{
    struct slot *s = owner;
    if (s->over)
        return;
    if (bytes.n > INPUT - s->filled)
        give_up("handshake", "no end of what comes");
    memcpy(s->input + s->filled, bytes.p, bytes.n);
    s->filled += bytes.n;
    struct str in = {s->input, s->filled};
    if (!is_open(in))
        return;
    if (!str_starts(in, S("HTTP/1.1 101")) && bench.failures++ == 0)
        fprintf(stderr, "bench: first failure: " STR_FMT "\n", STR_ARG(str_slice(in, 0, 600)));
    if (bench.counting) {
        bench.counted++;
        histogram_add(&bench.latency, uv_hrtime() - s->began);
    }
    s->over = true;
    uv_read_stop((uv_stream_t *)&s->tcp);
    uv_tcp_close_reset(&s->tcp, on_closed);
}

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *space)
{
    struct slot *s = stream->data;
    if (n < 0)
        give_up("handshake", uv_strerror((int)n));
    if (s->secure == NULL)
        take_input(s, (struct str){space->base, (size_t)n});
    else
        secure_read(s->secure, (struct str){space->base, (size_t)n});
}

static void send_raw(void *owner, struct str bytes)
{
    struct slot *s = owner;
    uv_buf_t all = uv_buf_init((char *)(uintptr_t)bytes.p, (unsigned)bytes.n);
    if (uv_try_write((uv_stream_t *)&s->tcp, &all, 1) != (int)bytes.n)
        give_up("write", "refused");
}

static void send_request(void *owner)
{
    static char request[MAX_REQUEST];
    struct slot *s = owner;
    struct str text = {request, template_fill(&bench.load->request, request)};
    if (s->secure == NULL)
        send_raw(s, text);
    else
        secure_write(s->secure, text);
}

static const struct secure_events secure_events = {send_request, take_input, send_raw};

static void on_connect(uv_connect_t *connect, int status)
{
    struct slot *s = connect->handle->data;
    if (status != 0)
        give_up("connect", uv_strerror(status));
    if (bench.load->certificate != NULL)
        s->secure = secure_begin(bench.load, &secure_events, s);
    uv_read_start((uv_stream_t *)&s->tcp, on_input_space, on_input);
    if (s->secure == NULL)
        send_request(s);
}

static void begin(struct slot *s)
{
    uv_tcp_init(&bench.loop, &s->tcp);
    s->tcp.data = s;
    s->filled = 0;
    s->over = false;
    s->began = uv_hrtime();
    int e = uv_tcp_connect(&s->connect, &s->tcp, (const struct sockaddr *)&bench.load->address, on_connect);
    if (e != 0)
        give_up("connect", uv_strerror(e));
}

static void on_end(uv_timer_t *timer)
{
    (void)timer;
    watch_end(&bench.load->watch);
    bench.over = true;
    bench.ended = uv_hrtime();
    uv_stop(&bench.loop);
}

static void on_warm(uv_timer_t *timer)
{
    bench.counting = true;
    bench.started = uv_hrtime();
    watch_begin(&bench.load->watch);
    uv_timer_start(timer, on_end, bench.load->seconds * 1000ull, 0);
}

int handshake_load(struct load *load)
{
    bench.load = load;
    struct slot *slots = calloc(load->connections, sizeof *slots);
    if (slots == NULL || uv_loop_init(&bench.loop) != 0)
        give_up("memory", "none left");
    for (unsigned i = 0; i < load->connections; i++)
        begin(&slots[i]);
    uv_timer_init(&bench.loop, &bench.timer);
    uv_timer_start(&bench.timer, on_warm, WARM_UP_MS, 0);
    uv_run(&bench.loop, UV_RUN_DEFAULT);
    print_figures(load, bench.counted, bench.failures, bench.ended - bench.started, &bench.latency);
    return 0;
}
