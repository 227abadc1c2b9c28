#include "proto/http.h"

#include "lib/must.h"
#include "proto/http_line.h"

#include <llhttp.h>
#include <string.h>

enum {
    START,       /* between messages: a few empty lines are skipped (RFC 9112 §2.2) */
    HEAD,        /* collecting the head's lines */
    READY,       /* the head was handed over; the body, if any, begins */
    LENGTH,      /* a body of known length */
    CHUNK_SIZE,  /* collecting a chunk-size line */
    CHUNK_DATA,  /* inside a chunk */
    CHUNK_END,   /* the CRLF behind a chunk */
    TRAILER,     /* collecting trailer lines */
    UNTIL_CLOSE, /* a response that lasts until the peer closes */
    OVER,        /* handed over HTTP_END */
    BROKEN
};

enum { BLANK_MAX = 4 };

const struct http_limits http_limits_default = {8 << 10, 16 << 10, 100, 1 << 20};

/* Fields that may come once; the first ones decide framing. */
enum known { KNOWN_HOST, KNOWN_LENGTH, KNOWN_CODING, KNOWN_EXPECT, KNOWN_OTHERS };
static const struct str known[] = {
    S("host"),          S("content-length"),   S("transfer-encoding"), S("expect"),
    S("content-type"),  S("authorization"),    S("idempotency-key"),   S("sec-websocket-key"),
    S("last-event-id"), S("content-encoding"), S("x-request-id"),      S("sec-websocket-version"),
};

static llhttp_t *machine(struct http_parser *p)
{
    _Static_assert(sizeof(llhttp_t) <= sizeof(p->machine), "room for llhttp's state");
    return (llhttp_t *)(void *)p->machine;
}

static int on_headers_complete(llhttp_t *m)
{
    struct http_parser *p = m->data;
    p->head.keep_alive = llhttp_should_keep_alive(m);
    p->head.upgrade = m->upgrade;
    return p->no_body ? 1 : 0;
}

static int on_body(llhttp_t *m, const char *at, size_t n)
{
    struct http_parser *p = m->data;
    p->data = (struct str){at, n};
    return 0;
}

static int on_message_complete(llhttp_t *m)
{
    struct http_parser *p = m->data;
    p->complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_headers_complete = on_headers_complete, .on_body = on_body, .on_message_complete = on_message_complete};

void http_next(struct http_parser *p)
{
    llhttp_t *m = machine(p);
    llhttp_init(m, p->role == HTTP_SERVER ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
    m->data = p;
    buf_clear(&p->text);
    buf_clear(&p->side);
    memset(&p->head, 0, offsetof(struct http_head, fields));
    p->head.length = -1;
    p->data = STR_NONE;
    p->body_max = p->limits.body;
    p->body_n = p->left = 0;
    p->line = p->overhead = 0;
    p->seen = 0;
    p->blank = 0;
    p->complete = p->no_body = false;
    p->state = START;
}

void http_parser_init(struct http_parser *p, enum http_role role, const struct http_limits *limits)
{
    memset(p, 0, sizeof(*p));
    p->role = role;
    p->limits = *limits;
    p->text.max = (size_t)limits->head + 2;
    p->side.max = (size_t)limits->head + 2;
    http_next(p);
}

void http_parser_fini(struct http_parser *p)
{
    buf_free(&p->text);
    buf_free(&p->side);
}

bool http_idle(const struct http_parser *p)
{
    return p->state == START && p->blank == 0;
}

static enum http_event fault(struct http_parser *p, int status, const char *why)
{
    if (p->state == START || p->state == HEAD) /* views into text that may have moved */
        memset(&p->head, 0, offsetof(struct http_head, fields));
    p->state = BROKEN;
    p->status = p->role == HTTP_CLIENT ? 502 : status;
    p->why = why;
    return HTTP_FAULT;
}

static enum http_event refuse(struct http_parser *p, struct http_refusal r)
{
    return fault(p, r.status, r.why);
}

/* Shows llhttp what our rules let through. */
static bool show(struct http_parser *p, const char *bytes, size_t n)
{
    llhttp_errno_t e = llhttp_execute(machine(p), bytes, n);
    return e == HPE_OK || (p->complete && (e == HPE_PAUSED || e == HPE_PAUSED_UPGRADE));
}

static enum http_event disagree(struct http_parser *p)
{
    llhttp_errno_t e = llhttp_get_errno(machine(p));
    if (e == HPE_INVALID_METHOD)
        return fault(p, 501, "the method is not known");
    return fault(p, 400, "the message breaks HTTP's framing rules");
}

/* Takes the rest of a line from `in` and answers the line without its CRLF once it is whole: in place, or from p->side
 * when it came in parts. */
enum got { GOT_PART, GOT_LINE, GOT_FAULT };
static enum got take_line(struct http_parser *p, struct str *in, size_t max, struct str *line)
{
    if (in->n == 0)
        return GOT_PART;
    const char *lf = memchr(in->p, '\n', in->n);
    size_t n = lf != NULL ? (size_t)(lf - in->p) + 1 : in->n;
    if (p->side.n + n > max + 2) {
        fault(p, p->state == TRAILER ? 431 : 400, "a chunk-size or trailer line is too long");
        return GOT_FAULT;
    }
    struct str whole = {in->p, n};
    if (lf == NULL || p->side.n > 0) {
        buf_add(&p->side, in->p, n);
        if (p->side.failed) {
            fault(p, 503, "no memory for the message");
            return GOT_FAULT;
        }
        whole = buf_view(&p->side);
    }
    *in = str_slice(*in, n, in->n);
    if (lf == NULL)
        return GOT_PART;
    if (whole.n < 2 || whole.p[whole.n - 2] != '\r') {
        fault(p, 400, "a line ends in LF without CR");
        return GOT_FAULT;
    }
    *line = str_slice(whole, 0, whole.n - 2);
    return GOT_LINE;
}

static int known_field(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (name.n == known[i].n && memcmp(name.p, known[i].p, name.n) == 0)
            return (int)i;
    return -1;
}

static struct http_refusal check_coding(const struct http_head *h, struct str value)
{
    if (h->minor == 0)
        return (struct http_refusal){400, "HTTP/1.0 has no transfer codings"};
    if (!str_ieq(value, S("chunked")))
        return (struct http_refusal){501, "the only transfer coding is chunked"};
    return (struct http_refusal){0, NULL};
}

/* What a field means for framing, and whether it may come again. */
static struct http_refusal weigh(struct http_parser *p, struct str name, struct str value)
{
    struct http_head *h = &p->head;
    int k = known_field(name);
    if (k < 0)
        return (struct http_refusal){0, NULL};
    if (p->seen & 1u << k)
        return (struct http_refusal){400, "a header field that may come once came twice"};
    p->seen |= 1u << k;
    switch (k) {
    case KNOWN_HOST:
        if (p->role == HTTP_SERVER && !http_line_host(value))
            return (struct http_refusal){400, "Host is not a valid host"};
        break;
    case KNOWN_LENGTH:
        return http_line_length(value, &h->length);
    case KNOWN_CODING:
        h->chunked = true;
        return check_coding(h, value);
    case KNOWN_EXPECT:
        if (p->role == HTTP_SERVER && h->minor == 1 && !str_ieq(value, S("100-continue")))
            return (struct http_refusal){417, "only Expect: 100-continue is understood"};
        h->expect_continue = h->minor == 1;
        break;
    default:
        break;
    }
    return (struct http_refusal){0, NULL};
}

static struct http_refusal check_field(struct http_parser *p, char *line, size_t n)
{
    struct http_head *h = &p->head;
    struct http_field f;
    struct http_refusal r = http_line_field(line, n, &f);
    if (r.status != 0)
        return r;
    if (h->n == p->limits.fields || h->n == HTTP_FIELDS_MAX)
        return (struct http_refusal){431, "there are too many header fields"};
    r = weigh(p, (struct str){line, f.name_n}, (struct str){line + f.value, f.value_n});
    size_t base = (size_t)(line - p->text.p);
    f.name += (uint32_t)base;
    f.value += (uint32_t)base;
    h->fields[h->n++] = f;
    return r;
}

/* The head is whole: its text will not move any more, so views into it can be made. */
static enum http_event finish_head(struct http_parser *p)
{
    struct http_head *h = &p->head;
    h->text = p->text.p;
    if (p->role == HTTP_SERVER) {
        h->method.p = h->text;
        h->target.p = h->text + h->method.n + 1;
        if (h->minor == 1 && !(p->seen & 1u << KNOWN_HOST))
            return fault(p, 400, "Host is missing");
        if (p->seen & 1u << KNOWN_HOST)
            h->host = http_header(h, known[KNOWN_HOST]);
        struct http_refusal r = http_line_target(h);
        if (r.status != 0)
            return refuse(p, r);
    } else {
        h->reason.p = h->text + 13;
    }
    if (h->chunked && h->length >= 0)
        return fault(p, 400, "Content-Length and Transfer-Encoding came together");
    if (!show(p, p->text.p, p->text.n))
        return disagree(p);
    if (p->complete) {
        h->expect_continue = false;
    } else {
        h->has_body = true;
    }
    p->state = READY;
    return HTTP_GOT_HEAD;
}

/* One whole line of the head, text[p->line .. end) with its CRLF. */
static struct http_refusal check_head_line(struct http_parser *p, size_t end)
{
    char *line = p->text.p + p->line;
    size_t n = end - p->line;
    if (n < 2 || line[n - 2] != '\r')
        return (struct http_refusal){400, "a line ends in LF without CR"};
    n -= 2;
    struct http_refusal r;
    if (p->line > 0)
        r = check_field(p, line, n);
    else if (p->role == HTTP_SERVER)
        r = http_line_request((struct str){line, n}, &p->head);
    else
        r = http_line_status((struct str){line, n}, &p->head);
    p->line = end;
    return r;
}

/* What the bytes of an unfinished head already exceed. */
static enum http_event check_head_size(struct http_parser *p, size_t more)
{
    size_t n = p->text.n + more;
    if (p->line == 0 && n > p->limits.line)
        return fault(p, p->role == HTTP_SERVER ? 414 : 502, "the request line is longer than the limit");
    if (n > p->limits.head)
        return fault(p, 431, "the header block is larger than the limit");
    return HTTP_MORE;
}

static enum http_event feed_head(struct http_parser *p, struct str *in)
{
    while (in->n > 0) {
        const char *lf = memchr(in->p, '\n', in->n);
        size_t n = lf != NULL ? (size_t)(lf - in->p) + 1 : in->n;
        if (check_head_size(p, n) == HTTP_FAULT)
            return HTTP_FAULT;
        buf_add(&p->text, in->p, n);
        if (p->text.failed)
            return fault(p, 503, "no memory for the message");
        *in = str_slice(*in, n, in->n);
        if (lf == NULL)
            return HTTP_MORE;
        if (p->text.n - p->line == 2 && p->line > 0 && p->text.p[p->line] == '\r')
            return finish_head(p);
        struct http_refusal r = check_head_line(p, p->text.n);
        if (r.status != 0)
            return refuse(p, r);
    }
    return HTTP_MORE;
}

/* Empty lines before a message, and a first byte that begins none (a TLS hello, say). */
static enum http_event feed_start(struct http_parser *p, struct str *in)
{
    for (; in->n > 0; *in = str_slice(*in, 1, in->n)) {
        char c = in->p[0];
        if (c != '\r' && c != '\n') {
            if (p->blank % 2 != 0 || c <= ' ' || c >= 0x7f)
                return fault(p, 400, "this does not begin like an HTTP message");
            p->state = HEAD;
            return HTTP_MORE;
        }
        if (c != "\r\n"[p->blank % 2] || p->role == HTTP_CLIENT)
            return fault(p, 400, "this does not begin like an HTTP message");
        if (++p->blank > 2 * BLANK_MAX)
            return fault(p, 400, "there are too many empty lines before the request");
    }
    return HTTP_MORE;
}

static enum http_event begin_body(struct http_parser *p)
{
    const struct http_head *h = &p->head;
    if (p->complete) {
        p->state = OVER;
        return HTTP_END;
    }
    if (h->chunked != ((machine(p)->flags & F_CHUNKED) != 0))
        return disagree(p); /* of an answer llhttp takes the body to reach to the end, when a tab follows the coding */
    if (h->chunked) {
        p->state = CHUNK_SIZE;
    } else if (h->length >= 0) {
        if ((uint64_t)h->length > p->body_max)
            return fault(p, 413, "the body is larger than the limit");
        p->left = (uint64_t)h->length;
        p->state = LENGTH;
    } else {
        p->state = UNTIL_CLOSE;
    }
    return HTTP_MORE;
}

/* Body bytes, at most `most` of them. */
static enum http_event feed_data(struct http_parser *p, struct str *in, uint64_t most)
{
    if (in->n == 0)
        return HTTP_MORE;
    if (p->body_n == p->body_max)
        return fault(p, 413, "the body is larger than the limit");
    most = most < p->body_max - p->body_n ? most : p->body_max - p->body_n;
    size_t n = in->n < most ? in->n : (size_t)most;
    p->data = STR_NONE;
    if (!show(p, in->p, n))
        return disagree(p);
    must(p->data.n == n);
    *in = str_slice(*in, n, in->n);
    p->body_n += n;
    return HTTP_GOT_BODY;
}

static enum http_event feed_length(struct http_parser *p, struct str *in)
{
    enum http_event e = feed_data(p, in, p->left);
    if (e == HTTP_GOT_BODY) {
        p->left -= p->data.n;
        must((p->left == 0) == p->complete);
        if (p->complete)
            p->state = READY;
    }
    return e;
}

static enum http_event feed_chunk_size(struct http_parser *p, struct str *in)
{
    struct str line;
    uint64_t size = 0;
    switch (take_line(p, in, HTTP_CHUNK_LINE_MAX, &line)) {
    case GOT_PART:
        return HTTP_MORE;
    case GOT_FAULT:
        return HTTP_FAULT;
    case GOT_LINE:
        break;
    }
    struct http_refusal r = http_line_chunk(line, &size);
    if (r.status != 0)
        return refuse(p, r);
    if (size > p->body_max - p->body_n)
        return fault(p, 413, "the body is larger than the limit");
    p->overhead += line.n > 16 ? line.n - 16 : 0;
    if (p->overhead > p->limits.head)
        return fault(p, 400, "the chunk extensions are larger than the limit");
    if (!show(p, line.p, line.n + 2))
        return disagree(p);
    must(machine(p)->content_length == size);
    buf_clear(&p->side);
    p->left = size;
    p->state = size > 0 ? CHUNK_DATA : TRAILER;
    p->overhead = size > 0 ? p->overhead : 0;
    return HTTP_MORE;
}

static enum http_event feed_chunk_data(struct http_parser *p, struct str *in)
{
    enum http_event e = feed_data(p, in, p->left);
    if (e == HTTP_GOT_BODY) {
        p->left -= p->data.n;
        if (p->left == 0)
            p->state = CHUNK_END;
    }
    return e;
}

static enum http_event feed_chunk_end(struct http_parser *p, struct str *in)
{
    struct str line;
    switch (take_line(p, in, 0, &line)) {
    case GOT_PART:
        return HTTP_MORE;
    case GOT_FAULT:
        return HTTP_FAULT;
    case GOT_LINE:
        break;
    }
    if (line.n != 0)
        return fault(p, 400, "a chunk is longer than its size");
    if (!show(p, line.p, 2))
        return disagree(p);
    buf_clear(&p->side);
    p->state = CHUNK_SIZE;
    return HTTP_MORE;
}

static struct http_refusal check_trailer(struct http_parser *p, struct str line)
{
    struct http_field f;
    p->overhead += line.n + 2;
    if (p->overhead > p->limits.head)
        return (struct http_refusal){431, "the trailers are larger than the limit"};
    if (p->side.n == 0) { /* the check lower-cases the name where it stands: not in the reader's buffer */
        buf_add(&p->side, line.p, line.n + 2);
        if (p->side.failed)
            return (struct http_refusal){503, "no memory for the message"};
    }
    struct http_refusal r = http_line_field(p->side.p, line.n, &f);
    if (r.status != 0)
        return r;
    int k = known_field((struct str){p->side.p, f.name_n});
    if (k >= 0)
        return (struct http_refusal){400, "a trailer repeats a field that belongs into the head"};
    return r;
}

static enum http_event feed_trailer(struct http_parser *p, struct str *in)
{
    struct str line;
    switch (take_line(p, in, p->limits.head, &line)) {
    case GOT_PART:
        return HTTP_MORE;
    case GOT_FAULT:
        return HTTP_FAULT;
    case GOT_LINE:
        break;
    }
    if (line.n > 0) {
        struct http_refusal r = check_trailer(p, line);
        if (r.status != 0)
            return refuse(p, r);
        line = str_slice(buf_view(&p->side), 0, line.n);
    }
    bool fine = show(p, line.n > 0 ? line.p : "\r\n", line.n + 2);
    buf_clear(&p->side);
    if (!fine || (line.n == 0) != p->complete)
        return disagree(p);
    if (p->complete)
        p->state = READY;
    return HTTP_MORE;
}

enum http_event http_feed(struct http_parser *p, struct str *in)
{
    for (;;) {
        int before = p->state;
        size_t had = in->n;
        enum http_event e = HTTP_MORE;
        switch (p->state) {
        case START:
            e = feed_start(p, in);
            break;
        case HEAD:
            e = feed_head(p, in);
            break;
        case READY:
            e = begin_body(p);
            break;
        case LENGTH:
            e = feed_length(p, in);
            break;
        case CHUNK_SIZE:
            e = feed_chunk_size(p, in);
            break;
        case CHUNK_DATA:
            e = feed_chunk_data(p, in);
            break;
        case CHUNK_END:
            e = feed_chunk_end(p, in);
            break;
        case TRAILER:
            e = feed_trailer(p, in);
            break;
        case UNTIL_CLOSE:
            e = feed_data(p, in, UINT64_MAX);
            break;
        default: /* OVER and BROKEN take nothing */
            return p->state == BROKEN ? HTTP_FAULT : HTTP_END;
        }
        if (e != HTTP_MORE || (p->state == before && in->n == had))
            return e;
    }
}

enum http_event http_eof(struct http_parser *p)
{
    switch (p->state) {
    case START:
        return HTTP_MORE;
    case UNTIL_CLOSE:
        p->state = OVER;
        return HTTP_END;
    case OVER:
        return HTTP_END;
    default:
        return fault(p, 400, "the connection ended inside a message");
    }
}

static struct str field_name(const struct http_head *h, size_t i)
{
    return (struct str){h->text + h->fields[i].name, h->fields[i].name_n};
}

static struct str field_value(const struct http_head *h, size_t i)
{
    return (struct str){h->text + h->fields[i].value, h->fields[i].value_n};
}

struct str http_header(const struct http_head *h, struct str name)
{
    for (size_t i = 0; i < h->n; i++)
        if (h->fields[i].name_n == name.n && memcmp(h->text + h->fields[i].name, name.p, name.n) == 0)
            return field_value(h, i);
    return STR_NONE;
}

bool http_field_at(const struct http_head *h, size_t i, struct str *name, struct str *value)
{
    if (i >= h->n)
        return false;
    *name = field_name(h, i);
    *value = field_value(h, i);
    return true;
}

bool http_has_token(const struct http_head *h, struct str name, struct str token)
{
    for (size_t i = 0; i < h->n; i++) {
        if (!str_eq(field_name(h, i), name))
            continue;
        struct str rest = field_value(h, i);
        while (rest.p != NULL)
            if (str_ieq(str_trim(str_cut(&rest, ',')), token))
                return true;
    }
    return false;
}
