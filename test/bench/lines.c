/* Log lines of a run, from its agents to everybody who watches. */
#include "test/bench/subscriber.h"

#include "lib/clock.h"

#include <stdio.h>

enum { SAMPLED = 64 }; /* one frame in so many is asked how old it is */

static struct {
    struct load *load;
    uv_timer_t late;
    unsigned done;
    uint64_t frames, first, last;
    struct histogram delay; /* from an event's timestamp, which has milliseconds, to its arrival */
} bench;

static void note_delay(struct str frame)
{
    static const struct str name = {"\"timestamp\":\"", 13};
    ptrdiff_t at = str_find(str_slice(frame, 0, 64), name);
    int64_t then;
    if (at < 0 || !clock_parse(str_slice(frame, (size_t)at + name.n, (size_t)at + name.n + CLOCK_TEXT - 1), &then))
        return;
    int64_t delay = clock_wall_ms() - then;
    histogram_add(&bench.delay, delay < 0 ? 0 : (uint64_t)delay * 1000000u);
}

static void on_upgraded(struct subscriber *s)
{
    (void)s;
    if (subscribers.upgraded == bench.load->connections)
        say_ready();
}

static void on_frame(struct subscriber *s, struct str frame)
{
    if (str_find(frame, S("\"step_log\"")) >= 0) {
        bench.last = subscribers.now;
        if (bench.frames++ == 0) {
            bench.first = subscribers.now;
            watch_begin(&bench.load->watch);
        }
        if (bench.frames % SAMPLED == 0)
            note_delay(frame);
    } else if (!s->done && str_find(frame, S("workflow_completed")) >= 0) {
        s->done = true;
        if (++bench.done == bench.load->connections)
            uv_stop(&subscribers.loop);
    }
}

static void on_late(uv_timer_t *timer)
{
    (void)timer;
    fprintf(stderr, "bench: %u of %u upgraded, %u ended, %lu frames\n", subscribers.upgraded, bench.load->connections,
            bench.done, (unsigned long)bench.frames);
    give_up("lines", "not done in time");
}

int lines_load(struct load *load)
{
    bench.load = load;
    subscribers.on_upgraded = on_upgraded;
    subscribers.on_frame = on_frame;
    subscribers_open(load);
    uv_timer_init(&subscribers.loop, &bench.late);
    uv_timer_start(&bench.late, on_late, load->seconds * 1000ull, 0);
    uv_run(&subscribers.loop, UV_RUN_DEFAULT);
    watch_end(&load->watch);
    print_figures(load, bench.frames, 0, bench.last - bench.first, &bench.delay);
    return 0;
}
