#include "test/bench/bench.h"

#include "lib/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT = 262144, OPENING = 64 };

struct subscriber {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    bool upgraded, done;
    struct buf kept; /* what is not a whole frame yet */
};

static struct {
    const struct load *load;
    uv_loop_t loop;
    uv_timer_t timer;
    struct subscriber *subscribers;
    char input[INPUT]; /* of whoever reads: what is left over moves to `kept` */
    unsigned opened, upgraded, done;
    uint64_t frames, bytes, first, last;
    struct histogram delay; /* milliseconds from an event's timestamp to its arrival, one frame in 64 */
} bench;

static void note_delay(struct str frame)
{
    static const struct str name = {"\"timestamp\":\"", 13};
    ptrdiff_t at = str_find(str_slice(frame, 0, 64), name);
    int64_t then;
    if (at < 0 || !clock_parse(str_slice(frame, (size_t)at + name.n, (size_t)at + name.n + CLOCK_TEXT - 1), &then))
        return;
    int64_t delay = clock_wall_ms() - then;
    histogram_add(&bench.delay, delay < 0 ? 0 : (uint64_t)delay);
}

static void on_frame(struct subscriber *s, struct str frame)
{
    if (str_find(frame, S("\"step_log\"")) >= 0) {
        bench.last = uv_hrtime();
        if (bench.frames == 0)
            bench.first = bench.last;
        bench.frames++;
        bench.bytes += frame.n;
        if (bench.frames % 64 == 0)
            note_delay(frame);
    } else if (!s->done && str_find(frame, S("workflow_completed")) >= 0) {
        s->done = true;
        if (++bench.done == bench.load->connections)
            uv_stop(&bench.loop);
    }
}

/* Takes whole frames off the front; answers what is left. */
static struct str take_frames(struct subscriber *s, struct str in)
{
    for (;;) {
        if (in.n < 2)
            return in;
        size_t head = 2, length = (unsigned char)in.p[1] & 0x7f;
        if (length >= 126) {
            size_t more = length == 126 ? 2 : 8;
            head += more;
            if (in.n < head)
                return in;
            length = 0;
            for (size_t i = 2; i < head; i++)
                length = length << 8 | (unsigned char)in.p[i];
        }
        if (in.n - head < length)
            return in;
        if ((in.p[0] & 0x0f) == 1)
            on_frame(s, str_slice(in, head, head + length));
        if ((in.p[0] & 0x0f) == 8 && !s->done)
            give_up("a subscriber", "was closed before the end");
        in = str_slice(in, head + length, in.n);
    }
}

static void open_next(void);

static struct str take_upgrade(struct subscriber *s, struct str in)
{
    ptrdiff_t end = str_find(in, S("\r\n\r\n"));
    if (end < 0)
        return in;
    if (!str_starts(in, S("HTTP/1.1 101"))) {
        fprintf(stderr, STR_FMT "\n", STR_ARG(str_slice(in, 0, 600)));
        give_up("upgrade", "refused");
    }
    s->upgraded = true;
    if (++bench.upgraded == bench.load->connections) {
        puts("ready");
        fflush(stdout);
    }
    open_next();
    return str_slice(in, (size_t)end + 4, in.n);
}

static void on_input_space(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)handle;
    (void)suggested;
    *out = uv_buf_init(bench.input, INPUT);
}

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *space)
{
    struct subscriber *s = stream->data;
    if (n < 0 && !s->done)
        give_up("read", uv_strerror((int)n));
    if (n < 0)
        uv_read_stop(stream);
    if (n <= 0)
        return;
    struct str in = {space->base, (size_t)n};
    bool joined = s->kept.n > 0;
    if (joined) {
        buf_str(&s->kept, in);
        in = buf_view(&s->kept);
    }
    size_t before = in.n;
    if (!s->upgraded)
        in = take_upgrade(s, in);
    if (s->upgraded)
        in = take_frames(s, in);
    if (joined)
        buf_drop(&s->kept, before - in.n);
    else
        buf_str(&s->kept, in);
    if (s->kept.n == 0)
        buf_free(&s->kept);
}

static void on_connect(uv_connect_t *connect, int status)
{
    struct subscriber *s = connect->handle->data;
    if (status != 0)
        give_up("connect", uv_strerror(status));
    uv_buf_t request = uv_buf_init((char *)(uintptr_t)bench.load->request.p, (unsigned)bench.load->request.n);
    uv_read_start((uv_stream_t *)&s->tcp, on_input_space, on_input);
    if (uv_write(&s->write, (uv_stream_t *)&s->tcp, &request, 1, NULL) != 0)
        give_up("write", "refused");
}

/* At most OPENING handshakes are under way: more at once is what a server may refuse. */
static void open_next(void)
{
    if (bench.opened == bench.load->connections)
        return;
    struct subscriber *s = &bench.subscribers[bench.opened++];
    uv_tcp_init(&bench.loop, &s->tcp);
    s->tcp.data = s;
    int e = uv_tcp_connect(&s->connect, &s->tcp, (const struct sockaddr *)&bench.load->address, on_connect);
    if (e != 0)
        give_up("connect", uv_strerror(e));
}

static void on_late(uv_timer_t *timer)
{
    (void)timer;
    fprintf(stderr, "bench: %u of %u upgraded, %u ended, %lu frames\n", bench.upgraded, bench.load->connections,
            bench.done, (unsigned long)bench.frames);
    give_up("fan-out", "not done in time");
}

int fanout_load(const struct load *load)
{
    bench.load = load;
    bench.subscribers = calloc(load->connections, sizeof *bench.subscribers);
    if (bench.subscribers == NULL || uv_loop_init(&bench.loop) != 0)
        give_up("memory", "none left");
    for (unsigned i = 0; i < OPENING; i++)
        open_next();
    uv_timer_init(&bench.loop, &bench.timer);
    uv_timer_start(&bench.timer, on_late, load->seconds * 1000ull, 0);
    uv_run(&bench.loop, UV_RUN_DEFAULT);

    double seconds = (double)(bench.last - bench.first) / 1e9;
    printf("{\"total\":%lu,\"failures\":0,\"bytes\":%lu,\"perSecond\":%.0f,\"p50\":%lu,\"p99\":%lu}\n",
           (unsigned long)bench.frames, (unsigned long)bench.bytes, (double)bench.frames / seconds,
           (unsigned long)histogram_at(&bench.delay, 0.5), (unsigned long)histogram_at(&bench.delay, 0.99));
    return 0;
}
