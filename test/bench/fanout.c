/* Messages to many subscribers, published over a connection of our own to whatever takes them: Redis' protocol and HTTP are
 * both templates to us. A message is under way until each subscriber has it; its number is the last thing in it but `"}`,
 * so that it is found from a frame's end, whatever a server puts before it. */
#include "test/bench/subscriber.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RING = 4096, PROBE_MS = 200, LATE_MS = 20000, TAIL = 2 };

static struct {
    struct load *load;
    union {
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } to;
    uv_connect_t connect;
    uv_timer_t timer, pace, late; /* timer: probes, then warm-up and end */
    bool running, counting;
    uint64_t oldest; /* message that is not yet everywhere */
    uint64_t first;  /* message of the load; those before were probes */
    unsigned seen[RING];
    uint64_t sent_at[RING];
    uint64_t deliveries, started, ended, began;
    struct histogram delay;
} bench;

static void on_written(uv_write_t *write, int status)
{
    if (status != 0)
        give_up("publish", uv_strerror(status));
    free(write);
}

static void publish(unsigned n)
{
    struct template *message = &bench.load->message;
    uint64_t now = uv_hrtime();
    uv_write_t *write = malloc(sizeof *write + (size_t)n * MAX_REQUEST);
    size_t length = 0;
    if (write == NULL)
        give_up("memory", "none left");
    char *bytes = (char *)(write + 1);
    for (; n > 0; n--) {
        bench.sent_at[message->serial % RING] = now;
        bench.seen[message->serial % RING] = 0;
        length += template_fill(message, bytes + length);
    }
    uv_buf_t all = uv_buf_init(bytes, (unsigned)length);
    if (uv_write(write, &bench.to.stream, &all, 1, on_written) != 0)
        give_up("publish", "refused");
}

static void fill_up(void)
{
    unsigned under_way = (unsigned)(bench.load->message.serial - bench.oldest);
    if (bench.load->rate == 0 && under_way < bench.load->depth)
        publish(bench.load->depth - under_way);
}

static void on_pace(uv_timer_t *timer)
{
    uint64_t due = 1 + (uv_hrtime() - bench.began) * bench.load->rate / 1000000000u;
    uint64_t sent = bench.load->message.serial - bench.first;
    (void)timer;
    if (bench.load->message.serial - bench.oldest > RING / 2)
        give_up("fan-out", "the subscribers do not keep up with the rate");
    if (due > sent)
        publish((unsigned)(due - sent));
}

static void on_end(uv_timer_t *timer)
{
    (void)timer;
    watch_end(&bench.load->watch);
    bench.ended = uv_hrtime();
    uv_stop(&subscribers.loop);
}

static void on_warm(uv_timer_t *timer)
{
    watch_begin(&bench.load->watch);
    bench.counting = true;
    bench.started = uv_hrtime();
    uv_timer_start(timer, on_end, bench.load->seconds * 1000ull, 0);
}

/* One message came to everybody: all are subscribed. */
static void begin(void)
{
    bench.running = true;
    bench.oldest = bench.first = bench.load->message.serial;
    bench.began = uv_hrtime();
    uv_timer_stop(&bench.late);
    uv_timer_start(&bench.timer, on_warm, WARM_UP_MS, 0);
    if (bench.load->rate > 0)
        uv_timer_start(&bench.pace, on_pace, 0, 1);
    fill_up();
}

static void on_probe(uv_timer_t *timer)
{
    publish(1);
    uv_timer_start(timer, on_probe, PROBE_MS, 0);
}

static void on_reply(uv_stream_t *stream, ssize_t n, const uv_buf_t *space)
{
    (void)stream;
    if (n < 0)
        give_up("publish", uv_strerror((int)n));
    if (n > 0 && space->base[0] == '-')
        give_up("publish", space->base);
}

static void on_reply_space(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    static char reply[65536];
    (void)handle;
    (void)suggested;
    *out = uv_buf_init(reply, sizeof reply - 1);
}

static void on_publisher(uv_connect_t *connect, int status)
{
    if (status != 0)
        give_up("publish", uv_strerror(status));
    uv_read_start(connect->handle, on_reply_space, on_reply);
    on_probe(&bench.timer);
}

static void connect_publisher(const char *where)
{
    struct sockaddr_in address;
    char host[64];
    const char *colon = strrchr(where, ':');
    if (str_starts(str_z(where), S("unix:"))) {
        uv_pipe_init(&subscribers.loop, &bench.to.pipe, 0);
        uv_pipe_connect(&bench.connect, &bench.to.pipe, where + 5, on_publisher);
        return;
    }
    if (colon == NULL || (size_t)(colon - where) >= sizeof host)
        give_up(where, "not unix:PATH or HOST:PORT");
    snprintf(host, sizeof host, "%.*s", (int)(colon - where), where);
    if (uv_ip4_addr(host, atoi(colon + 1), &address) != 0)
        give_up(where, "not an address");
    uv_tcp_init(&subscribers.loop, &bench.to.tcp);
    uv_tcp_nodelay(&bench.to.tcp, 1);
    if (uv_tcp_connect(&bench.connect, &bench.to.tcp, (const struct sockaddr *)&address, on_publisher) != 0)
        give_up(where, "cannot be connected to");
}

static void on_upgraded(struct subscriber *s)
{
    (void)s;
    if (subscribers.upgraded == bench.load->connections)
        connect_publisher(bench.load->publish);
}

static bool number_of(struct str frame, uint64_t *number)
{
    size_t end = frame.n - TAIL;
    return frame.n >= bench.load->size && str_u64(str_slice(frame, end - NUMBER, end), number);
}

static void on_frame(struct subscriber *s, struct str frame)
{
    uint64_t number;
    (void)s;
    if (!number_of(frame, &number) || number < bench.oldest)
        return;
    if (bench.counting) {
        bench.deliveries++;
        histogram_add(&bench.delay, subscribers.now - bench.sent_at[number % RING]);
    }
    bench.seen[number % RING]++;
    if (!bench.running && bench.seen[number % RING] == bench.load->connections) {
        begin();
        return;
    }
    uint64_t before = bench.oldest;
    while (bench.running && bench.seen[bench.oldest % RING] == bench.load->connections &&
           bench.oldest < bench.load->message.serial)
        bench.oldest++;
    if (bench.oldest > before)
        fill_up();
}

static void on_late(uv_timer_t *timer)
{
    (void)timer;
    fprintf(stderr, "bench: %u of %u upgraded, %lu messages published\n", subscribers.upgraded, bench.load->connections,
            (unsigned long)bench.load->message.serial);
    give_up("fan-out", "no message came to all subscribers");
}

int fanout_load(struct load *load)
{
    bench.load = load;
    if (load->publish == NULL || load->message.n == 0 || load->size < NUMBER + TAIL)
        give_up("--publish, --message and --size", "are needed");
    subscribers.on_upgraded = on_upgraded;
    subscribers.on_frame = on_frame;
    subscribers_open(load);
    uv_timer_init(&subscribers.loop, &bench.timer);
    uv_timer_init(&subscribers.loop, &bench.pace);
    uv_timer_init(&subscribers.loop, &bench.late);
    uv_timer_start(&bench.late, on_late, LATE_MS, 0);
    uv_run(&subscribers.loop, UV_RUN_DEFAULT);
    print_figures(load, bench.deliveries, 0, bench.ended - bench.started, &bench.delay);
    return 0;
}
