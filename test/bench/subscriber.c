#include "test/bench/subscriber.h"
#include "test/bench/secure.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

enum { INPUT = 262144, OPENING = 64 };

struct subscribers subscribers;
static char input[INPUT]; /* of whoever reads: what is left over moves to `kept` */

/* The payload's first byte and its length; false when the head of the frame is not whole. */
static bool frame_head(struct str in, size_t *head, size_t *length)
{
    if (in.n < 2)
        return false;
    *head = 2;
    *length = (unsigned char)in.p[1] & 0x7f;
    if (*length >= 126) {
        size_t more = *length == 126 ? 2 : 8;
        *head += more;
        if (in.n < *head)
            return false;
        *length = 0;
        for (size_t i = 2; i < *head; i++)
            *length = *length << 8 | (unsigned char)in.p[i];
    }
    return true;
}

/* What a compressed frame says; each is compressed by itself. */
static struct str inflated(struct str frame)
{
    static z_stream z;
    static unsigned char plain[INPUT];
    static const unsigned char end[] = {0, 0, 0xff, 0xff}; /* RFC 7692 §7.2.2 */
    struct str parts[] = {frame, {(const char *)end, sizeof end}};
    if (z.state == NULL && inflateInit2(&z, -MAX_WBITS) != Z_OK)
        give_up("memory", "none left");
    inflateReset(&z);
    z.next_out = plain;
    z.avail_out = sizeof plain;
    for (size_t i = 0; i < 2; i++) {
        z.next_in = (unsigned char *)(uintptr_t)parts[i].p;
        z.avail_in = (unsigned)parts[i].n;
        int e = inflate(&z, Z_SYNC_FLUSH);
        if (e != Z_OK && e != Z_BUF_ERROR && e != Z_STREAM_END)
            give_up("a compressed frame", z.msg == NULL ? "is none" : z.msg);
    }
    return (struct str){(const char *)plain, sizeof plain - z.avail_out};
}

/* Takes whole frames off the front; answers what is left. */
static struct str take_frames(struct subscriber *s, struct str in)
{
    size_t head, length;
    while (frame_head(in, &head, &length) && in.n - head >= length) {
        struct str frame = str_slice(in, head, head + length);
        if ((in.p[0] & 0x0f) == 1)
            subscribers.on_frame(s, (in.p[0] & 0x40) != 0 ? inflated(frame) : frame);
        if ((in.p[0] & 0x0f) == 8 && !s->done)
            give_up("a subscriber", "was closed before the end");
        in = str_slice(in, head + length, in.n);
    }
    return in;
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
    subscribers.upgraded++;
    subscribers.on_upgraded(s);
    open_next();
    return str_slice(in, (size_t)end + 4, in.n);
}

static void on_input_space(uv_handle_t *handle, size_t suggested, uv_buf_t *out)
{
    (void)handle;
    (void)suggested;
    *out = uv_buf_init(input, INPUT);
}

static void take_input(struct subscriber *s, struct str in)
{
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

static void on_input(uv_stream_t *stream, ssize_t n, const uv_buf_t *space)
{
    struct subscriber *s = stream->data;
    if (n < 0 && !s->done)
        give_up("read", uv_strerror((int)n));
    if (n < 0)
        uv_read_stop(stream);
    if (n <= 0)
        return;
    subscribers.now = uv_hrtime();
    if (s->secure == NULL)
        take_input(s, (struct str){space->base, (size_t)n});
    else
        secure_read(s->secure, (struct str){space->base, (size_t)n});
}

/* So little at a time that the kernel takes it. */
static void send_raw(void *owner, struct str bytes)
{
    struct subscriber *s = owner;
    uv_buf_t all = uv_buf_init((char *)(uintptr_t)bytes.p, (unsigned)bytes.n);
    if (uv_try_write((uv_stream_t *)&s->tcp, &all, 1) != (int)bytes.n)
        give_up("write", "refused");
}

static void send_request(void *owner)
{
    static char request[MAX_REQUEST];
    struct subscriber *s = owner;
    struct str text = {request, template_fill(&subscribers.load->request, request)};
    if (s->secure == NULL)
        send_raw(s, text);
    else
        secure_write(s->secure, text);
}

static void on_plain(void *owner, struct str bytes)
{
    take_input(owner, bytes);
}

static const struct secure_events secure_events = {send_request, on_plain, send_raw};

static void on_connect(uv_connect_t *connect, int status)
{
    struct subscriber *s = connect->handle->data;
    if (status != 0)
        give_up("connect", uv_strerror(status));
    if (subscribers.load->certificate != NULL)
        s->secure = secure_begin(subscribers.load, &secure_events, s);
    uv_read_start((uv_stream_t *)&s->tcp, on_input_space, on_input);
    if (s->secure == NULL)
        send_request(s);
}

static void open_next(void)
{
    if (subscribers.opened == subscribers.load->connections)
        return;
    struct subscriber *s = &subscribers.all[subscribers.opened++];
    uv_tcp_init(&subscribers.loop, &s->tcp);
    s->tcp.data = s;
    int e = uv_tcp_connect(&s->connect, &s->tcp, (const struct sockaddr *)&subscribers.load->address, on_connect);
    if (e != 0)
        give_up("connect", uv_strerror(e));
}

void subscribers_open(struct load *load)
{
    subscribers.load = load;
    subscribers.all = calloc(load->connections, sizeof *subscribers.all);
    if (subscribers.all == NULL || uv_loop_init(&subscribers.loop) != 0)
        give_up("memory", "none left");
    for (unsigned i = 0; i < OPENING; i++)
        open_next();
}
