#include "proto/ws.h"

#include "lib/id.h"
#include "proto/deflate.h"

#include <string.h>

enum { HEAD, PAYLOAD, OVER };
enum { FIN = 0x80, RESERVED = 0x70, COMPRESSED = 0x40, OPCODE = 0x0f, MASKED = 0x80, LENGTH = 0x7f, CONTROL = 0x08 };

void ws_init(struct ws *w, enum ws_role role, const struct ws_limits *limits)
{
    memset(w, 0, sizeof(*w));
    w->role = (uint8_t)role;
    w->limits = limits;
    w->message.max = (size_t)limits->message;
}

/* What does not become smaller becomes a little larger. */
static uint64_t most(const struct ws *w)
{
    return w->packed ? w->limits->message + w->limits->message / 1024 + 64 : w->limits->message;
}

void ws_fini(struct ws *w)
{
    buf_free(&w->message);
}

bool ws_idle(const struct ws *w)
{
    return w->fragments == 0 && w->state == HEAD && w->head_n == 0;
}

static enum ws_event fault(struct ws *w, int code, const char *why)
{
    w->state = OVER;
    w->code = code;
    w->why = why;
    return WS_FAULT;
}

static enum ws_event too_big(struct ws *w, const char *why)
{
    return fault(w, w->limits->code != 0 ? w->limits->code : WS_TOO_BIG, why);
}

/* Validation of UTF-8 that may be cut anywhere (RFC 3629): how many continuation bytes are due, and the range of the
 * next one, packed into 32 bits. */
static bool utf8_byte(uint32_t *state, unsigned char c)
{
    unsigned due = *state & 3, low = *state >> 8 & 0xff, high = *state >> 16 & 0xff;
    if (due > 0) {
        if (c < low || c > high)
            return false;
        *state = due - 1 == 0 ? 0 : (due - 1) | 0x80u << 8 | 0xbfu << 16;
        return true;
    }
    if (c < 0x80)
        return true;
    if (c < 0xc2 || c > 0xf4)
        return false;
    due = c < 0xe0 ? 1 : c < 0xf0 ? 2 : 3;
    low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    *state = due | low << 8 | high << 16;
    return true;
}

static bool utf8_run(uint32_t *state, const char *p, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t x;
        if (*state == 0 && i + 8 <= n) {
            memcpy(&x, p + i, 8);
            if ((x & 0x8080808080808080u) == 0) {
                i += 8;
                continue;
            }
        }
        if (!utf8_byte(state, (unsigned char)p[i++]))
            return false;
    }
    return true;
}

/* Copies and unmasks; with `at` the mask may be begun anywhere, so a frame may come in any parts. */
static void unmask(char *to, const char *from, size_t n, const uint8_t mask[4], unsigned at)
{
    uint8_t turned[8];
    uint64_t x, m;
    size_t i = 0;
    for (unsigned k = 0; k < 8; k++)
        turned[k] = mask[(at + k) % 4];
    memcpy(&m, turned, 8);
    for (; i + 8 <= n; i += 8) {
        memcpy(&x, from + i, 8);
        x ^= m;
        memcpy(to + i, &x, 8);
    }
    for (; i < n; i++)
        to[i] = (char)((uint8_t)from[i] ^ turned[i % 8]);
}

static size_t head_length(const uint8_t *head)
{
    unsigned length = head[1] & LENGTH;
    return 2u + (length == 126 ? 2u : length == 127 ? 8u : 0u) + (head[1] & MASKED ? 4u : 0u);
}

static const char *check_reserved(const struct ws *w)
{
    unsigned bits = w->head[0] & RESERVED, opcode = w->head[0] & OPCODE;
    if (bits == 0)
        return NULL;
    if (bits != COMPRESSED || w->deflate == NULL)
        return "a reserved bit is set without an extension";
    return opcode == WS_TEXT || opcode == WS_BINARY ? NULL
                                                    : "only the first frame of a message says that it is compressed";
}

/* What the first two bytes of a frame already forbid. */
static const char *check_kind(const struct ws *w)
{
    unsigned opcode = w->head[0] & OPCODE, length = w->head[1] & LENGTH;
    const char *why = check_reserved(w);
    if (why != NULL)
        return why;
    if (((w->head[1] & MASKED) != 0) != (w->role == WS_SERVER))
        return w->role == WS_SERVER ? "a client's frame is not masked" : "a server's frame is masked";
    if (opcode & CONTROL) {
        if (opcode > WS_PONG)
            return "the opcode is reserved";
        if (!(w->head[0] & FIN))
            return "a control frame is fragmented";
        return length > 125 ? "a control frame is longer than 125 bytes" : NULL;
    }
    if (opcode > WS_BINARY)
        return "the opcode is reserved";
    if (opcode == 0)
        return w->fragments == 0 ? "a continuation continues nothing" : NULL;
    return w->fragments > 0 ? "a message begins inside another" : NULL;
}

static bool frame_length(const uint8_t *head, uint64_t *length)
{
    unsigned short_length = head[1] & LENGTH, bytes = short_length == 126 ? 2 : short_length == 127 ? 8 : 0;
    if (bytes == 0) {
        *length = short_length;
        return true;
    }
    uint64_t v = 0;
    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | head[2 + i];
    *length = v;
    return v >> 63 == 0 && v >= (bytes == 2 ? 126 : 65536); /* the shortest form is a must (§5.2) */
}

static bool is_control(const struct ws *w)
{
    return w->head[0] & CONTROL;
}
static bool is_last(const struct ws *w)
{
    return w->head[0] & FIN;
}

static enum ws_event begin_frame(struct ws *w)
{
    if (!frame_length(w->head, &w->left))
        return fault(w, WS_PROTOCOL_ERROR, "the payload length is not in its shortest form");
    if (w->role == WS_SERVER)
        memcpy(w->mask, w->head + head_length(w->head) - 4, 4);
    w->mask_at = 0;
    w->control_n = 0;
    w->state = PAYLOAD;
    if (is_control(w))
        return WS_MORE;
    if (w->fragments == w->limits->fragments)
        return too_big(w, "the message has too many fragments");
    if (w->fragments++ == 0) {
        w->kind = w->head[0] & OPCODE;
        w->utf8 = 0;
        w->packed = w->head[0] & COMPRESSED;
        w->message.max = (size_t)most(w);
    }
    if (w->left > most(w) - w->message.n)
        return too_big(w, "the message is larger than the limit");
    return WS_MORE;
}

static enum ws_event feed_head(struct ws *w, struct str *in)
{
    while (in->n > 0) {
        w->head[w->head_n++] = (uint8_t)in->p[0];
        *in = str_slice(*in, 1, in->n);
        if (w->head_n < 2)
            continue;
        const char *why = w->head_n == 2 ? check_kind(w) : NULL;
        if (why != NULL)
            return fault(w, WS_PROTOCOL_ERROR, why);
        if (w->head_n == head_length(w->head)) {
            w->head_n = 0;
            return begin_frame(w);
        }
    }
    return WS_MORE;
}

static enum ws_event end_close(struct ws *w)
{
    struct str reason = {(const char *)w->control, w->control_n};
    w->code = WS_NO_CODE;
    if (reason.n == 1)
        return fault(w, WS_PROTOCOL_ERROR, "a close frame has half a code");
    if (reason.n >= 2) {
        int code = w->control[0] << 8 | w->control[1];
        reason = str_slice(reason, 2, reason.n);
        if (!ws_code_ok(code))
            return fault(w, WS_PROTOCOL_ERROR, "a close frame has a code that may not be sent");
        if (!str_utf8(reason))
            return fault(w, WS_NOT_UTF8, "the reason of a close frame is not UTF-8");
        w->code = code;
    }
    w->payload = reason;
    w->state = OVER;
    return WS_CLOSED;
}

static enum ws_event unpack(struct ws *w)
{
    struct buf whole = {.max = (size_t)w->limits->message};
    enum deflate_result r = deflate_unpack(w->deflate, buf_view(&w->message), whole.max, &whole);
    buf_free(&w->message);
    w->message = whole;
    switch (r) {
    case DEFLATE_BAD:
        return fault(w, WS_PROTOCOL_ERROR, "a message is not compressed as it says");
    case DEFLATE_LONG:
        return too_big(w, "the message is larger than the limit");
    case DEFLATE_MEMORY:
        return fault(w, WS_TRY_LATER, "no memory for the message");
    case DEFLATE_OK:
        break;
    }
    if (w->kind == WS_TEXT && !utf8_run(&w->utf8, whole.p, whole.n))
        return fault(w, WS_NOT_UTF8, "a text message is not UTF-8");
    return WS_MORE;
}

static enum ws_event end_frame(struct ws *w)
{
    w->state = HEAD;
    if (is_control(w)) {
        unsigned opcode = w->head[0] & OPCODE;
        if (opcode == WS_CLOSE)
            return end_close(w);
        w->payload = (struct str){(const char *)w->control, w->control_n};
        return opcode == WS_PING ? WS_PINGED : WS_PONGED;
    }
    if (!is_last(w))
        return WS_MORE;
    enum ws_event e = w->packed ? unpack(w) : WS_MORE;
    if (e != WS_MORE)
        return e;
    if (w->kind == WS_TEXT && w->utf8 != 0)
        return fault(w, WS_NOT_UTF8, "a text message ends inside a character");
    w->opcode = w->kind;
    w->payload = (struct str){w->message.n > 0 ? w->message.p : "", w->message.n};
    w->fragments = 0;
    w->handed = true;
    return WS_MESSAGE;
}

static enum ws_event take_data(struct ws *w, const char *p, size_t n)
{
    if (!buf_reserve(&w->message, n))
        return fault(w, WS_TRY_LATER, "no memory for the message");
    char *to = w->message.p + w->message.n;
    if (w->role == WS_SERVER)
        unmask(to, p, n, w->mask, w->mask_at);
    else
        memcpy(to, p, n);
    w->message.n += n;
    if (w->kind == WS_TEXT && !w->packed && !utf8_run(&w->utf8, to, n))
        return fault(w, WS_NOT_UTF8, "a text message is not UTF-8");
    return WS_MORE;
}

static enum ws_event feed_payload(struct ws *w, struct str *in)
{
    size_t n = in->n < w->left ? in->n : (size_t)w->left;
    enum ws_event e = WS_MORE;
    if (n > 0 && is_control(w)) {
        char *to = (char *)w->control + w->control_n;
        if (w->role == WS_SERVER)
            unmask(to, in->p, n, w->mask, w->mask_at);
        else
            memcpy(to, in->p, n);
        w->control_n = (uint8_t)(w->control_n + n);
    } else if (n > 0) {
        e = take_data(w, in->p, n);
    }
    *in = str_slice(*in, n, in->n);
    w->mask_at = (uint8_t)((w->mask_at + n) % 4);
    w->left -= n;
    if (e != WS_MORE)
        return e;
    return w->left == 0 ? end_frame(w) : WS_MORE;
}

static void forget_message(struct ws *w)
{
    if (w->handed)
        buf_clear(&w->message);
    w->handed = false;
}

enum ws_event ws_feed(struct ws *w, struct str *in)
{
    forget_message(w);
    while (w->state != OVER && (in->n > 0 || (w->state == PAYLOAD && w->left == 0))) {
        enum ws_event e = w->state == HEAD ? feed_head(w, in) : feed_payload(w, in);
        if (e != WS_MORE)
            return e;
    }
    *in = str_slice(*in, in->n, in->n);
    if (w->fragments == 0)
        buf_free(&w->message);
    return WS_MORE;
}

bool ws_code_ok(int code)
{
    return (code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006) ||
           (code >= 3000 && code <= 4999);
}

size_t ws_write_head(uint8_t out[WS_HEAD_MAX], enum ws_opcode opcode, uint64_t length)
{
    unsigned bytes = length < 126 ? 0 : length < 65536 ? 2 : 8;
    out[0] = (uint8_t)(FIN | opcode);
    out[1] = (uint8_t)(bytes == 0 ? length : bytes == 2 ? 126 : 127);
    for (unsigned i = 0; i < bytes; i++)
        out[2 + i] = (uint8_t)(length >> 8 * (bytes - 1 - i));
    return 2 + bytes;
}

void ws_write(struct buf *b, enum ws_role role, enum ws_opcode opcode, struct str payload)
{
    uint8_t head[WS_HEAD_MAX + 4];
    size_t n = ws_write_head(head, opcode, payload.n);
    if (role == WS_SERVER) {
        buf_add(b, head, n);
        buf_str(b, payload);
        return;
    }
    head[1] |= MASKED;
    random_bytes(head + n, 4);
    buf_add(b, head, n + 4);
    if (payload.n > 0 && buf_reserve(b, payload.n)) {
        unmask(b->p + b->n, payload.p, payload.n, head + n, 0);
        b->n += payload.n;
    }
}

void ws_write_packed(struct buf *b, struct deflate *d, enum ws_opcode opcode, struct str payload)
{
    uint8_t head[WS_HEAD_MAX] = {0};
    size_t start = b->n;
    if (payload.n < WS_DEFLATE_MIN) {
        ws_write(b, WS_SERVER, opcode, payload);
        return;
    }
    buf_add(b, head, sizeof(head)); /* room, whose end is not known yet */
    if (!deflate_pack(d, payload, b))
        return;
    struct str packed = str_slice(buf_view(b), start + sizeof(head), b->n);
    if (packed.n >= payload.n) {
        b->n = start;
        ws_write(b, WS_SERVER, opcode, payload);
        return;
    }
    size_t n = ws_write_head(head, opcode, packed.n);
    head[0] |= COMPRESSED;
    memcpy(b->p + start, head, n);
    memmove(b->p + start + n, packed.p, packed.n);
    b->n = start + n + packed.n;
}

void ws_write_close(struct buf *b, enum ws_role role, int code, struct str reason)
{
    uint8_t payload[125];
    size_t n = 0;
    if (code != 0 && code != WS_NO_CODE) {
        payload[0] = (uint8_t)(code >> 8);
        payload[1] = (uint8_t)code;
        n = reason.n < 123 ? reason.n : 123;
        while (n > 0 && n < reason.n && ((unsigned char)reason.p[n] & 0xc0) == 0x80)
            n--; /* never cut inside a character */
        if (n > 0)
            memcpy(payload + 2, reason.p, n);
        n += 2;
    }
    ws_write(b, role, WS_CLOSE, (struct str){(const char *)payload, n});
}
