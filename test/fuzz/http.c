/* Any bytes as HTTP messages, for both ends: what comes out must not depend on how the bytes were cut, no bound may be
 * passed, and whatever was accepted must hold nothing that a stricter reader would take for something else. The first
 * byte chooses the end and the cuts. */
#include "lib/must.h"
#include "proto/http.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct http_limits limits = {200, 600, 12, 300};

static void check_text(struct str s, bool is_name)
{
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        must(c != '\r' && c != '\n' && c != 0x7f && (c >= 0x20 || c == '\t'));
        must(!is_name || (c > 0x20 && c < 0x7f && c != ':' && !(c >= 'A' && c <= 'Z')));
    }
}

static void note_head(struct buf *out, const struct http_parser *p)
{
    const struct http_head *h = &p->head;
    struct str name, value;
    size_t hosts = 0, lengths = 0;
    buf_printf(out, "H%d %d %lld %d%d%d%d ", h->status, h->minor, (long long)h->length, h->chunked, h->keep_alive,
               h->upgrade, h->expect_continue);
    buf_str(out, h->method);
    buf_str(out, h->path);
    buf_str(out, h->query);
    buf_str(out, h->host);
    for (size_t i = 0; http_field_at(h, i, &name, &value); i++) {
        check_text(name, true);
        check_text(value, false);
        hosts += str_eq(name, S("host"));
        lengths += str_eq(name, S("content-length"));
        must(http_header(h, name).p != NULL);
        buf_str(out, name);
        buf_str(out, value);
    }
    must(h->n <= limits.fields && hosts <= 1 && lengths <= 1);
    must(!h->chunked || h->length < 0);
    if (p->role == HTTP_SERVER) {
        struct buf path = {0};
        must(h->minor == 0 || hosts == 1);
        must(h->path.n > 0 && h->method.n > 0);
        if (http_path(&path, h->path))
            must(path.n <= h->path.n && str_utf8(buf_view(&path)));
        buf_free(&path);
    }
    http_has_token(h, S("connection"), S("close"));
}

/* Feeds one part; false when the parser has given up. */
static bool feed(struct http_parser *p, const uint8_t *bytes, size_t n, struct buf *out)
{
    char *copy = malloc(n + 1); /* its end is the end of the allocation */
    must(copy != NULL);
    memcpy(copy + 1, bytes, n);
    struct str in = {copy + 1, n};
    enum http_event e;
    do {
        e = http_feed(p, &in);
        if (e == HTTP_GOT_HEAD)
            note_head(out, p);
        if (e == HTTP_GOT_BODY) {
            must(p->body_n <= limits.body);
            buf_str(out, p->data);
        }
        if (e == HTTP_END) {
            buf_z(out, "E");
            http_next(p);
        }
        if (e == HTTP_FAULT) {
            must(p->status >= 400 && p->status < 600 && p->why != NULL);
            buf_printf(out, "F%zu", p->head.n);
            buf_str(out, p->head.method);
            buf_printf(out, "F%d", p->status);
        }
    } while (e != HTTP_MORE && e != HTTP_FAULT);
    must(e == HTTP_FAULT || in.n == 0);
    must(p->text.n <= limits.head && p->side.n <= limits.head + 2);
    free(copy);
    return e != HTTP_FAULT;
}

static struct buf play(enum http_role role, const uint8_t *data, size_t size, uint32_t seed)
{
    struct http_parser p;
    struct buf out = {0};
    bool alive = true;
    http_parser_init(&p, role, &limits);
    for (size_t at = 0; at < size && alive;) {
        size_t n = size - at;
        if (seed != 0) {
            seed = seed * 1664525 + 1013904223;
            n = 1 + (seed >> 24) % 7;
            n = n < size - at ? n : size - at;
        }
        alive = feed(&p, data + at, n, &out);
        at += n;
    }
    if (alive)
        buf_printf(&out, "eof%d", http_eof(&p));
    http_parser_fini(&p);
    return out;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum http_role role = data[0] & 1 ? HTTP_CLIENT : HTTP_SERVER;
    struct buf whole = play(role, data + 1, size - 1, 0);
    struct buf parts = play(role, data + 1, size - 1, data[0] | 0x100);
    must(str_eq(buf_view(&whole), buf_view(&parts)));
    buf_free(&whole);
    buf_free(&parts);
    return 0;
}
