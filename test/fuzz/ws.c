/* Any bytes as WebSocket frames, for both ends, with and without compression: what comes out must not depend on how the
 * bytes were cut nor on what was decompressed before, messages keep to the limits, text is UTF-8, and a message written
 * anew is read as the same. The first byte chooses the end, compression and the cuts. */
#include "lib/must.h"
#include "proto/deflate.h"
#include "proto/ws.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct ws_limits limits = {300, 6, 0};
enum { PACKED = 64 }; /* what a compressed message may have beyond the limit */
static struct deflate *shared;

static void write_again(enum ws_role reader, const struct ws *w)
{
    struct buf frame = {0};
    struct ws second;
    ws_write(&frame, reader == WS_SERVER ? WS_CLIENT : WS_SERVER, w->opcode, w->payload);
    struct str in = buf_view(&frame);
    ws_init(&second, reader, &limits);
    must(ws_feed(&second, &in) == WS_MESSAGE && in.n == 0);
    must(second.opcode == w->opcode && str_eq(second.payload, w->payload));
    ws_fini(&second);
    buf_free(&frame);
}

static void note(struct buf *out, enum ws_role role, const struct ws *w, enum ws_event e)
{
    buf_printf(out, "%d:", e);
    if (e == WS_MESSAGE) {
        must(w->payload.n <= limits.message);
        must(w->opcode == WS_BINARY || str_utf8(w->payload));
        write_again(role, w);
    }
    if (e == WS_PINGED || e == WS_PONGED)
        must(w->payload.n <= 125);
    if (e == WS_CLOSED)
        must((w->code == WS_NO_CODE || ws_code_ok(w->code)) && str_utf8(w->payload));
    if (e == WS_FAULT)
        must(ws_code_ok(w->code) && w->why != NULL);
    else
        buf_str(out, w->payload);
    if (e == WS_CLOSED || e == WS_FAULT)
        buf_printf(out, "%d", w->code);
}

static struct buf play(enum ws_role role, bool packs, const uint8_t *data, size_t size, uint32_t seed)
{
    struct ws w;
    struct buf out = {0};
    ws_init(&w, role, &limits);
    w.deflate = packs ? shared : NULL;
    for (size_t at = 0; at < size;) {
        size_t n = size - at;
        if (seed != 0) {
            seed = seed * 1664525 + 1013904223;
            n = 1 + (seed >> 24) % 7;
            n = n < size - at ? n : size - at;
        }
        char *copy = malloc(n); /* its end is the end of the allocation */
        must(copy != NULL);
        memcpy(copy, data + at, n);
        struct str in = {copy, n};
        for (enum ws_event e; (e = ws_feed(&w, &in)) != WS_MORE;)
            note(&out, role, &w, e);
        must(in.n == 0 && w.message.n <= limits.message + (packs ? PACKED : 0));
        must(!ws_idle(&w) || w.message.p == NULL);
        free(copy);
        at += n;
    }
    ws_fini(&w);
    return out;
}

static void pack_again(struct str message)
{
    const struct ws_limits large = {.message = message.n, .fragments = 1};
    struct buf frame = {0};
    struct ws w;
    ws_write_packed(&frame, shared, WS_BINARY, message);
    must(!frame.failed && frame.n <= message.n + WS_HEAD_MAX);
    struct str in = buf_view(&frame);
    ws_init(&w, WS_CLIENT, &large);
    w.deflate = shared;
    must(ws_feed(&w, &in) == WS_MESSAGE && in.n == 0 && str_eq(w.payload, message));
    ws_fini(&w);
    buf_free(&frame);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    enum ws_role role = data[0] & 1 ? WS_CLIENT : WS_SERVER;
    bool packs = data[0] & 2;
    if (shared == NULL)
        shared = deflate_new();
    must(shared != NULL);
    struct buf whole = play(role, packs, data + 1, size - 1, 0);
    struct buf parts = play(role, packs, data + 1, size - 1, data[0] | 0x100);
    must(str_eq(buf_view(&whole), buf_view(&parts)));
    buf_free(&whole);
    buf_free(&parts);
    if (packs)
        pack_again((struct str){(const char *)data, size});
    return 0;
}
