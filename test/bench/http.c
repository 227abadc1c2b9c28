#include "test/bench/bench.h"
#include "test/bench/secure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { INPUT = 65536 };

struct client {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct secure *secure;       /* with --tls */
    uint64_t sent_at[MAX_DEPTH]; /* of the requests under way, oldest at `first` */
    unsigned first, under_way;
    size_t filled;
    char input[INPUT];
};

static struct {
    struct load *load;
    uv_loop_t loop;
    uv_timer_t timer;
    struct client *clients;
    uint64_t started, ended;
    uint64_t asked, answered, counted, failures;
    bool counting, over;
    struct histogram latency;
    FILE *ids; /* of what the answers hold; NULL: nobody asks */
} bench;

static void on_written(uv_write_t *write, int status)
{
    (void)status;
    free(write);
}

static void send_raw(struct client *c, const char *p, size_t n)
{
    uv_buf_t all = uv_buf_init((char *)(uintptr_t)p, (unsigned)n);
    int done = uv_try_write((uv_stream_t *)&c->tcp, &all, 1);
    if (done == (int)n)
        return;
    size_t left = done < 0 ? n : n - (size_t)done;
    uv_write_t *write = malloc(sizeof *write + left);
    if (write == NULL)
        give_up("memory", "none left");
    memcpy(write + 1, p + n - left, left);
    all = uv_buf_init((char *)(write + 1), (unsigned)left);
    if (uv_write(write, (uv_stream_t *)&c->tcp, &all, 1, on_written) != 0)
        give_up("write", "refused");
}

static void send_bytes(struct client *c, const char *p, size_t n)
{
    if (c->secure == NULL)
        send_raw(c, p, n);
    else
        secure_write(c->secure, (struct str){p, n});
}

static void send_requests(struct client *c, unsigned n)
{
    static char batch[MAX_DEPTH * MAX_REQUEST];
    uint64_t now = uv_hrtime(), most = bench.load->total;
    size_t length = 0;
    for (; n > 0 && (most == 0 || bench.asked < most); n--, bench.asked++) {
        length += template_fill(&bench.load->request, batch + length);
        c->sent_at[(c->first + c->under_way++) % MAX_DEPTH] = now;
    }
    if (length > 0)
        send_bytes(c, batch, length);
}

/* The length of the first whole response in `s`, 0 when it is not whole yet. */
static size_t whole_response(struct str s)
{
    ptrdiff_t head = str_find(s, S("\r\n\r\n"));
    if (head < 0)
        return 0;
    struct str rest = str_slice(s, 0, (size_t)head);
    size_t length = (size_t)head + 4;
    while (rest.p != NULL) {
        struct str line = str_cut(&rest, '\n'), name = str_cut(&line, ':');
        uint64_t n;
        if (!str_ieq(name, S("content-length")))
            continue;
        line = str_trim(line);
        if (!str_u64(str_slice(line, 0, line.n - str_ends(line, S("\r"))), &n))
            give_up("response", "bad Content-Length");
        length += n;
    }
    return length <= s.n ? length : 0;
}

/* The id of what was made: the first member of that name in the answer's data. */
static void collect_id(struct str response)
{
    ptrdiff_t data = str_find(response, S("\"data\":{"));
    struct str rest = data < 0 ? STR_NONE : str_slice(response, (size_t)data, response.n);
    ptrdiff_t at = str_find(rest, S("\"id\":\""));
    if (at < 0)
        return;
    rest = str_slice(rest, (size_t)at + 6, rest.n);
    struct str id = str_cut(&rest, '"');
    fprintf(bench.ids, STR_FMT "\n", STR_ARG(id));
}

static void one_response(struct client *c, struct str response)
{
    uint64_t now = uv_hrtime(), sent = c->sent_at[c->first];
    c->first = (c->first + 1) % MAX_DEPTH;
    c->under_way--;
    bench.answered++;
    if (response.n < 12 || response.p[9] != '2') {
        if (bench.failures++ == 0)
            fprintf(stderr, "bench: first failure: " STR_FMT "\n", STR_ARG(str_slice(response, 0, 600)));
    } else if (bench.ids != NULL) {
        collect_id(response);
    }
    if (!bench.counting)
        return;
    bench.counted++;
    histogram_add(&bench.latency, now - sent);
}

static void begin_counting(void)
{
    bench.counting = true;
    bench.started = uv_hrtime();
    watch_begin(&bench.load->watch);
}

static void end_load(void)
{
    watch_end(&bench.load->watch);
    bench.over = true;
    bench.ended = uv_hrtime();
    uv_stop(&bench.loop);
}

static void on_input_space(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    static char sealed[INPUT];
    struct client *c = handle->data;
    (void)suggested;
    *out = c->secure == NULL ? uv_buf_init(c->input + c->filled, (unsigned)(INPUT - c->filled))
                             : uv_buf_init(sealed, INPUT);
}

/* n more bytes are in c->input. */
static void take_input(struct client *c, size_t n)
{
    c->filled += n;
    struct str rest = {c->input, c->filled};
    unsigned answered = 0;
    for (size_t length; (length = whole_response(rest)) > 0; answered++) {
        one_response(c, str_slice(rest, 0, length));
        rest = str_slice(rest, length, rest.n);
    }
    if (rest.n == INPUT)
        give_up("response", "too large");
    memmove(c->input, rest.p, rest.n);
    c->filled = rest.n;
    if (answered > 0)
        send_requests(c, answered);
    if (bench.answered == bench.load->total)
        end_load();
}

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *in)
{
    struct client *c = stream->data;
    if (bench.over || n == 0)
        return;
    if (n < 0)
        give_up("read", uv_strerror((int)n));
    if (c->secure == NULL)
        take_input(c, (size_t)n);
    else
        secure_read(c->secure, (struct str){in->base, (size_t)n});
}

static void on_secure(void *owner)
{
    send_requests(owner, bench.load->depth);
}

static void on_plain(void *owner, struct str bytes)
{
    struct client *c = owner;
    if (bench.over)
        return;
    if (bytes.n > INPUT - c->filled)
        give_up("response", "too large");
    memcpy(c->input + c->filled, bytes.p, bytes.n);
    take_input(c, bytes.n);
}

static void on_sealed(void *owner, struct str bytes)
{
    send_raw(owner, bytes.p, bytes.n);
}

static const struct secure_events secure_events = {on_secure, on_plain, on_sealed};

static void on_connect(uv_connect_t *connect, int status)
{
    struct client *c = connect->handle->data;
    if (status != 0)
        give_up("connect", uv_strerror(status));
    uv_tcp_nodelay(&c->tcp, 1);
    if (bench.load->certificate != NULL)
        c->secure = secure_begin(bench.load, &secure_events, c);
    uv_read_start((uv_stream_t *)&c->tcp, on_input_space, on_input);
    if (c->secure == NULL)
        send_requests(c, bench.load->depth);
}

static void on_end(uv_timer_t *timer)
{
    (void)timer;
    end_load();
}

static void on_warm(uv_timer_t *timer)
{
    begin_counting();
    uv_timer_start(timer, on_end, bench.load->seconds * 1000ull, 0);
}

static void open_clients(void)
{
    for (unsigned i = 0; i < bench.load->connections; i++) {
        struct client *c = &bench.clients[i];
        uv_tcp_init(&bench.loop, &c->tcp);
        c->tcp.data = c;
        int e = uv_tcp_connect(&c->connect, &c->tcp, (const struct sockaddr *)&bench.load->address, on_connect);
        if (e != 0)
            give_up("connect", uv_strerror(e));
    }
}

int http_load(struct load *load)
{
    bench.load = load;
    bench.clients = calloc(load->connections, sizeof *bench.clients);
    if (bench.clients == NULL || uv_loop_init(&bench.loop) != 0)
        give_up("memory", "none left");
    if (load->collect != NULL && (bench.ids = fopen(load->collect, "w")) == NULL)
        give_up(load->collect, "cannot be written");
    open_clients();
    if (load->total > 0) {
        begin_counting();
    } else {
        uv_timer_init(&bench.loop, &bench.timer);
        uv_timer_start(&bench.timer, on_warm, WARM_UP_MS, 0);
    }
    uv_run(&bench.loop, UV_RUN_DEFAULT);
    if (bench.ids != NULL && fclose(bench.ids) != 0)
        give_up(load->collect, "cannot be written");
    print_figures(load, bench.counted, bench.failures, bench.ended - bench.started, &bench.latency);
    return 0; /* the kernel closes the rest */
}
