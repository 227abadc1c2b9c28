/* Connections that are opened and then only there. */
#include "test/bench/subscriber.h"

static struct {
    struct load *load;
    uv_pipe_t end; /* standard input */
    unsigned open;
    char ignored[64];
} bench;

static void one_more(struct subscriber *s)
{
    s->done = true;
    if (++bench.open == bench.load->connections)
        say_ready();
}

static void on_upgraded(struct subscriber *s)
{
    if (bench.load->word == NULL)
        one_more(s);
}

static void on_frame(struct subscriber *s, struct str frame)
{
    if (!s->done && bench.load->word != NULL && str_find(frame, str_z(bench.load->word)) >= 0)
        one_more(s);
}

static void on_end_space(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)handle;
    (void)suggested;
    *out = uv_buf_init(bench.ignored, sizeof bench.ignored);
}

static void on_end(uv_stream_t *stream, ssize_t n, const uv_buf_t *space)
{
    (void)stream;
    (void)space;
    if (n < 0)
        uv_stop(&subscribers.loop);
}

int hold_load(struct load *load)
{
    bench.load = load;
    subscribers.on_upgraded = on_upgraded;
    subscribers.on_frame = on_frame;
    subscribers_open(load);
    uv_pipe_init(&subscribers.loop, &bench.end, 0);
    if (uv_pipe_open(&bench.end, 0) != 0 || uv_read_start((uv_stream_t *)&bench.end, on_end_space, on_end) != 0)
        give_up("standard input", "not a pipe");
    uv_run(&subscribers.loop, UV_RUN_DEFAULT);
    return 0;
}
