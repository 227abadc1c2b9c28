#include "proto/ws.h"

#include "lib/id.h"
#include "proto/http.h"

#include <string.h>

/* SHA-1 (RFC 3174) of a short text. The handshake asks for it to prove that the server speaks WebSocket; nothing secret
 * rests on it, and it is used nowhere else. */
static uint32_t roll(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static void sha1_block(uint32_t h[5], const uint8_t block[64])
{
    static const uint32_t constants[] = {0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6};
    uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];
    for (unsigned t = 0; t < 16; t++)
        w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 | (uint32_t)block[4 * t + 2] << 8 |
               block[4 * t + 3];
    for (unsigned t = 16; t < 80; t++)
        w[t] = roll(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    for (unsigned t = 0; t < 80; t++) {
        uint32_t f = t < 20 ? (b & c) | (~b & d) : t >= 40 && t < 60 ? (b & c) | (b & d) | (c & d) : b ^ c ^ d;
        uint32_t next = roll(a, 5) + f + e + w[t] + constants[t / 20];
        e = d;
        d = c;
        c = roll(b, 30);
        b = a;
        a = next;
    }
    h[0] += a;
    h[1] += b;
    h[2] += c;
    h[3] += d;
    h[4] += e;
}

enum { SHORT_TEXT = 119 }; /* two blocks hold it with its padding */

static void sha1_short(const uint8_t *text, size_t n, uint8_t out[20])
{
    uint32_t h[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    uint8_t blocks[128] = {0};
    size_t end = n < 56 ? 64 : 128;
    memcpy(blocks, text, n);
    blocks[n] = 0x80;
    blocks[end - 2] = (uint8_t)(n * 8 >> 8);
    blocks[end - 1] = (uint8_t)(n * 8);
    for (size_t at = 0; at < end; at += 64)
        sha1_block(h, blocks + at);
    for (unsigned i = 0; i < 20; i++)
        out[i] = (uint8_t)(h[i / 4] >> 8 * (3 - i % 4));
}

static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void base64(const uint8_t *p, size_t n, char *out)
{
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) | (i + 2 < n ? p[i + 2] : 0);
        *out++ = alphabet[v >> 18];
        *out++ = alphabet[v >> 12 & 63];
        *out++ = '=';
        *out++ = '=';
        if (i + 1 < n)
            out[-2] = alphabet[v >> 6 & 63];
        if (i + 2 < n)
            out[-1] = alphabet[v & 63];
    }
    *out = '\0';
}

void ws_accept(struct str key, char out[WS_ACCEPT])
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    uint8_t text[SHORT_TEXT], digest[20];
    size_t n = key.n < SHORT_TEXT - (sizeof(guid) - 1) ? key.n : SHORT_TEXT - (sizeof(guid) - 1);
    memcpy(text, key.p, n);
    memcpy(text + n, guid, sizeof(guid) - 1);
    sha1_short(text, n + sizeof(guid) - 1, digest);
    base64(digest, sizeof(digest), out);
}

void ws_new_key(char out[WS_KEY])
{
    uint8_t nonce[16];
    random_bytes(nonce, sizeof(nonce));
    base64(nonce, sizeof(nonce), out);
}

/* Base64 of 16 bytes: 22 characters and "==". */
static bool key_ok(struct str key)
{
    if (key.n != WS_KEY - 1 || key.p[22] != '=' || key.p[23] != '=')
        return false;
    for (size_t i = 0; i < 22; i++)
        if (key.p[i] == '\0' || strchr(alphabet, key.p[i]) == NULL)
            return false;
    return true;
}

/* --- extensions --- */

/* Sec-WebSocket-Extensions, part by part (§9.1). */
struct offers {
    const struct http_head *head;
    size_t field;    /* the next */
    struct str rest; /* of the present one */
    bool malformed;
};

static void skip_space(struct str *s)
{
    while (s->n > 0 && (s->p[0] == ' ' || s->p[0] == '\t'))
        *s = str_slice(*s, 1, s->n);
}

static bool take_char(struct str *s, char c)
{
    skip_space(s);
    if (s->n == 0 || s->p[0] != c)
        return false;
    *s = str_slice(*s, 1, s->n);
    return true;
}

/* Empty when there is none. */
static struct str take_token(struct str *s)
{
    static const char others[] = "!#$%&'*+-.^_`|~";
    size_t n = 0;
    skip_space(s);
    while (n < s->n && s->p[n] != '\0' &&
           ((s->p[n] >= '0' && s->p[n] <= '9') || ((s->p[n] | 0x20) >= 'a' && (s->p[n] | 0x20) <= 'z') ||
            strchr(others, s->p[n]) != NULL))
        n++;
    struct str token = str_slice(*s, 0, n);
    *s = str_slice(*s, n, s->n);
    return token;
}

/* The name of the next extension; false at the end. */
static bool next_offer(struct offers *o, struct str *name)
{
    struct str field;
    for (;;) {
        while (take_char(&o->rest, ',')) {
        }
        if (o->rest.n > 0)
            break;
        if (!http_field_at(o->head, o->field++, &field, &o->rest))
            return false;
        if (!str_eq(field, S("sec-websocket-extensions")))
            o->rest = STR_NONE;
    }
    *name = take_token(&o->rest);
    o->malformed = name->n == 0;
    return !o->malformed;
}

/* Its next parameter; false at its end. Without a value that is STR_NONE. */
static bool next_parameter(struct offers *o, struct str *name, struct str *value)
{
    *value = STR_NONE;
    if (!take_char(&o->rest, ';')) {
        o->malformed = o->rest.n > 0 && o->rest.p[0] != ',';
        return false;
    }
    *name = take_token(&o->rest);
    if (take_char(&o->rest, '=')) {
        bool quoted = take_char(&o->rest, '"');
        *value = take_token(&o->rest);
        o->malformed = value->n == 0 || (quoted && !take_char(&o->rest, '"'));
    }
    o->malformed = o->malformed || name->n == 0;
    return !o->malformed;
}

enum { SERVER_ANEW = 1, CLIENT_ANEW = 2, SERVER_BITS = 4, CLIENT_BITS = 8, NOT_MET = 16 };

/* Which parameter of permessage-deflate it is (RFC 7692 §7.1). What we send takes a window of 15 bits. */
static unsigned parameter(struct str name, struct str value)
{
    int64_t bits = 0;
    bool is_bits = value.n > 0 && value.p[0] != '0' && str_i64(value, &bits) && bits >= 8 && bits <= 15;
    if (str_eq(name, S("server_no_context_takeover")) && value.p == NULL)
        return SERVER_ANEW;
    if (str_eq(name, S("client_no_context_takeover")) && value.p == NULL)
        return CLIENT_ANEW;
    if (str_eq(name, S("server_max_window_bits")) && is_bits && bits == 15)
        return SERVER_BITS;
    if (str_eq(name, S("client_max_window_bits")) && (value.p == NULL || is_bits))
        return CLIENT_BITS;
    return NOT_MET;
}

/* The parameters of the offer, each at most once, or NOT_MET among them. */
static unsigned read_offer(struct offers *o, struct str extension)
{
    struct str name, value;
    unsigned seen = str_eq(extension, S("permessage-deflate")) ? 0 : NOT_MET;
    while (next_parameter(o, &name, &value)) {
        unsigned one = parameter(name, value);
        seen |= (seen & one) != 0 ? NOT_MET : one;
    }
    return seen;
}

static bool extensions_ok(const struct http_head *h)
{
    struct offers o = {.head = h};
    struct str name;
    while (!o.malformed && next_offer(&o, &name))
        read_offer(&o, name);
    return !o.malformed;
}

bool ws_accept_deflate(struct buf *b, const struct http_head *h)
{
    struct offers o = {.head = h};
    struct str name;
    while (next_offer(&o, &name)) {
        unsigned seen = read_offer(&o, name);
        if (seen & NOT_MET)
            continue;
        http_write_field(b, S("Sec-WebSocket-Extensions"),
                         seen & SERVER_BITS
                             ? S("permessage-deflate; server_no_context_takeover; "
                                 "client_no_context_takeover; server_max_window_bits=15")
                             : S("permessage-deflate; server_no_context_takeover; client_no_context_takeover"));
        return true;
    }
    return false;
}

/* --- the server's side --- */

int ws_check_request(const struct http_head *h, const char **why)
{
    *why = "the path speaks WebSocket version 13 only";
    if (h->minor == 0) {
        *why = "HTTP/1.0 cannot be upgraded";
        return 400;
    }
    if (!http_has_token(h, S("upgrade"), S("websocket")) || !http_has_token(h, S("connection"), S("upgrade")))
        return 426;
    if (!str_eq(http_header(h, S("sec-websocket-version")), S("13")))
        return 426;
    if (!str_eq(h->method, S("GET")) || h->has_body) {
        *why = "an upgrade is a GET without a body";
        return 400;
    }
    if (!key_ok(http_header(h, S("sec-websocket-key")))) {
        *why = "Sec-WebSocket-Key is not the base64 form of 16 bytes";
        return 400;
    }
    if (!extensions_ok(h)) {
        *why = "Sec-WebSocket-Extensions is malformed";
        return 400;
    }
    return 0;
}

void ws_write_accept(struct buf *b, const struct http_head *h)
{
    char accept[WS_ACCEPT];
    ws_accept(http_header(h, S("sec-websocket-key")), accept);
    http_write_field(b, S("Upgrade"), S("websocket"));
    http_write_field(b, S("Connection"), S("Upgrade"));
    http_write_field(b, S("Sec-WebSocket-Accept"), str_z(accept));
}

bool ws_check_response(const struct http_head *h, const char *key)
{
    char accept[WS_ACCEPT];
    ws_accept(str_z(key), accept);
    return h->status == 101 && http_has_token(h, S("upgrade"), S("websocket")) &&
           http_has_token(h, S("connection"), S("upgrade")) &&
           str_eq(http_header(h, S("sec-websocket-accept")), str_z(accept)) &&
           http_header(h, S("sec-websocket-extensions")).p == NULL;
}
