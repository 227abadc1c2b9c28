/* Server-sent events: whatever id, type and data are written, a reader that follows the standard sees exactly these, and
 * one event for each. The input is three fields parted by 0x01; a first byte chooses comments and retry between them. */
#include "proto/sse.h"

#include "lib/must.h"

#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct event {
    struct buf id, type, data;
    bool has_id, has_data;
};

static void event_clear(struct event *e)
{
    buf_free(&e->id);
    buf_free(&e->type);
    buf_free(&e->data);
    *e = (struct event){0};
}

static void set(struct buf *b, struct str value)
{
    buf_clear(b);
    buf_str(b, value);
}

/* HTML §9.2.6: one line of the stream, which is not empty. */
static void read_line(struct event *e, struct str line)
{
    int colon = (int)str_index(line, ':');
    struct str name = colon < 0 ? line : str_slice(line, 0, (size_t)colon);
    struct str value = colon < 0 ? S("") : str_slice(line, (size_t)colon + 1, line.n);
    if (value.n > 0 && value.p[0] == ' ')
        value = str_slice(value, 1, value.n);
    if (str_eq(name, S("data"))) {
        if (e->has_data)
            buf_char(&e->data, '\n');
        buf_str(&e->data, value);
        e->has_data = true;
    } else if (str_eq(name, S("id"))) {
        must(str_index(value, '\0') < 0);
        set(&e->id, value);
        e->has_id = true;
    } else if (str_eq(name, S("event"))) {
        set(&e->type, value);
    } else {
        must(name.n == 0 || str_eq(name, S("retry"))); /* a comment begins with the colon */
    }
}

/* Reads to the first event; what is left must be none. */
static void read_stream(struct str text, struct event *e)
{
    bool done = false;
    while (text.n > 0) {
        size_t n = 0;
        while (n < text.n && text.p[n] != '\n' && text.p[n] != '\r')
            n++;
        must(n < text.n); /* every line has its end */
        must(text.p[n] == '\n');
        if (n > 0) {
            must(!done || text.p[0] == ':');
            read_line(e, str_slice(text, 0, n));
        }
        done = done || (n == 0 && e->has_data);
        text = str_slice(text, n + 1, text.n);
    }
    must(done);
}

/* Data as it comes out: any of CR, LF, CRLF has become one LF. */
static void normalise(struct buf *out, struct str data)
{
    for (size_t i = 0; i < data.n; i++) {
        if (data.p[i] == '\r' && i + 1 < data.n && data.p[i + 1] == '\n')
            continue;
        buf_char(out, data.p[i] == '\r' ? '\n' : data.p[i]);
    }
}

static bool one_line(struct str s)
{
    return str_index(s, '\n') < 0 && str_index(s, '\r') < 0 && str_index(s, '\0') < 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    struct str rest = {(const char *)data + 1, size - 1};
    struct str id = str_cut(&rest, 1), type = str_cut(&rest, 1);
    struct buf out = {0}, want = {0};
    struct event e = {0};
    if (data[0] & 1)
        sse_write_comment(&out, rest);
    if (data[0] & 2)
        sse_write_retry(&out, data[0]);
    sse_write(&out, id, type, rest);
    must(out.failed == !(one_line(id) && one_line(type)));
    if (!out.failed) {
        if (data[0] & 4)
            sse_write_comment(&out, id);
        read_stream(buf_view(&out), &e);
        normalise(&want, rest);
        must(e.has_id == (id.p != NULL));
        must(str_eq(buf_view(&e.id), id));
        must(str_eq(buf_view(&e.type), type));
        must(str_eq(buf_view(&e.data), buf_view(&want)));
    }
    event_clear(&e);
    buf_free(&want);
    buf_free(&out);
    return 0;
}
