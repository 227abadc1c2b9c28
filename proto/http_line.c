#include "proto/http_line.h"

#include <string.h>

#define FINE                ((struct http_refusal){0, NULL})
#define REFUSE(status, why) ((struct http_refusal){(status), (why)})

/* tchar (RFC 9110 §5.6.2) to its lower case; 0 is no tchar. */
// clang-format off
static const unsigned char token[256] = {
    ['!'] = '!', ['#'] = '#', ['$'] = '$', ['%'] = '%', ['&'] = '&', ['\''] = '\'', ['*'] = '*', ['+'] = '+', ['-'] = '-',
    ['.'] = '.', ['^'] = '^', ['_'] = '_', ['`'] = '`', ['|'] = '|', ['~'] = '~',
    ['0'] = '0', ['1'] = '1', ['2'] = '2', ['3'] = '3', ['4'] = '4', ['5'] = '5', ['6'] = '6', ['7'] = '7', ['8'] = '8',
    ['9'] = '9',
    ['A'] = 'a', ['B'] = 'b', ['C'] = 'c', ['D'] = 'd', ['E'] = 'e', ['F'] = 'f', ['G'] = 'g', ['H'] = 'h', ['I'] = 'i',
    ['J'] = 'j', ['K'] = 'k', ['L'] = 'l', ['M'] = 'm', ['N'] = 'n', ['O'] = 'o', ['P'] = 'p', ['Q'] = 'q', ['R'] = 'r',
    ['S'] = 's', ['T'] = 't', ['U'] = 'u', ['V'] = 'v', ['W'] = 'w', ['X'] = 'x', ['Y'] = 'y', ['Z'] = 'z',
    ['a'] = 'a', ['b'] = 'b', ['c'] = 'c', ['d'] = 'd', ['e'] = 'e', ['f'] = 'f', ['g'] = 'g', ['h'] = 'h', ['i'] = 'i',
    ['j'] = 'j', ['k'] = 'k', ['l'] = 'l', ['m'] = 'm', ['n'] = 'n', ['o'] = 'o', ['p'] = 'p', ['q'] = 'q', ['r'] = 'r',
    ['s'] = 's', ['t'] = 't', ['u'] = 'u', ['v'] = 'v', ['w'] = 'w', ['x'] = 'x', ['y'] = 'y', ['z'] = 'z',
};
// clang-format on

static size_t token_length(const char *p, size_t n)
{
    size_t i = 0;
    while (i < n && token[(unsigned char)p[i]] != 0)
        i++;
    return i;
}

/* Eight bytes at a time: is one of them below 0x20 or DEL? (A byte above 0x7f never counts.) */
static bool has_control(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101u, high = 0x8080808080808080u;
    uint64_t below = (x - ones * 0x20) & ~x & high;
    uint64_t del = x ^ (ones * 0x7f);
    return (below | ((del - ones) & ~del & high)) != 0;
}

bool http_text_ok(const char *p, size_t n)
{
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t x;
        memcpy(&x, p + i, 8);
        if (has_control(x))
            break; /* a tab, or a fault: look byte by byte */
    }
    for (; i < n; i++) {
        unsigned char c = (unsigned char)p[i];
        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

/* "HTTP/1.0" and "HTTP/1.1" set minor; any other well-formed version is 505, everything else 400. */
static struct http_refusal version(struct str v, int *minor)
{
    if (v.n != 8 || memcmp(v.p, "HTTP/", 5) != 0 || v.p[5] < '0' || v.p[5] > '9' || v.p[6] != '.' || v.p[7] < '0' ||
        v.p[7] > '9')
        return REFUSE(400, "the request line does not end in an HTTP version");
    if (v.p[5] != '1' || v.p[7] > '1')
        return REFUSE(505, "only HTTP/1.0 and HTTP/1.1 are spoken");
    *minor = v.p[7] - '0';
    return FINE;
}

static bool target_ok(struct str t)
{
    for (size_t i = 0; i < t.n; i++) {
        unsigned char c = (unsigned char)t.p[i];
        if (c <= 0x20 || c >= 0x7f || c == '#')
            return false;
    }
    return true;
}

struct http_refusal http_line_request(struct str line, struct http_head *h)
{
    size_t method = token_length(line.p, line.n);
    if (method == 0 || method == line.n || line.p[method] != ' ')
        return REFUSE(400, "the request line does not begin with a method and one space");
    h->method = (struct str){line.p, method};
    struct str rest = str_slice(line, method + 1, line.n);
    ptrdiff_t space = str_index(rest, ' ');
    if (space < 0)
        return REFUSE(505, "the request line has no version (HTTP/0.9 is not spoken)");
    h->target = str_slice(rest, 0, (size_t)space);
    if (h->target.n == 0 || !target_ok(h->target))
        return REFUSE(400, "the request target has a byte that must be percent-encoded");
    struct http_refusal r = version(str_slice(rest, (size_t)space + 1, rest.n), &h->minor);
    if (r.status != 0)
        return r;
    if (str_eq(h->method, S("CONNECT")) || str_eq(h->method, S("TRACE")))
        return REFUSE(405, "this method is refused everywhere");
    return FINE;
}

struct http_refusal http_line_status(struct str line, struct http_head *h)
{
    if (line.n < 12 || version(str_slice(line, 0, 8), &h->minor).status != 0 || line.p[8] != ' ')
        return REFUSE(502, "the status line is not one of HTTP/1.x");
    h->status = 0;
    for (size_t i = 9; i < 12; i++) {
        if (line.p[i] < '0' || line.p[i] > '9')
            return REFUSE(502, "the status is not a number of three digits");
        h->status = h->status * 10 + (line.p[i] - '0');
    }
    if (h->status < 100 || (line.n > 12 && line.p[12] != ' ') || !http_text_ok(line.p + 12, line.n - 12))
        return REFUSE(502, "the status line is damaged");
    h->reason = str_slice(line, 13, line.n);
    return FINE;
}

/* An absolute target ("http://host/path") names the host itself; it outranks the Host field (RFC 9112 §3.2.2). */
static bool absolute(struct str target, struct str *rest)
{
    static const char *const schemes[] = {"http://", "https://"};
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++) {
        struct str scheme = str_z(schemes[i]);
        if (target.n > scheme.n && str_ieq(str_slice(target, 0, scheme.n), scheme)) {
            *rest = str_slice(target, scheme.n, target.n);
            return true;
        }
    }
    return false;
}

struct http_refusal http_line_target(struct http_head *h)
{
    struct str rest = h->target;
    if (rest.p[0] == '*') {
        if (rest.n != 1 || !str_eq(h->method, S("OPTIONS")))
            return REFUSE(400, "only OPTIONS may have the target *");
    } else if (rest.p[0] != '/') {
        if (!absolute(h->target, &rest))
            return REFUSE(400, "the request target is neither a path nor an http URL");
        size_t end = 0;
        while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?')
            end++;
        h->host = str_slice(rest, 0, end);
        if (!http_line_host(h->host))
            return REFUSE(400, "the request target has no valid host");
        rest = str_slice(rest, end, rest.n);
    }
    ptrdiff_t mark = str_index(rest, '?');
    h->path = mark < 0 ? rest : str_slice(rest, 0, (size_t)mark);
    h->query = mark < 0 ? STR_NONE : str_slice(rest, (size_t)mark + 1, rest.n);
    if (h->path.n == 0)
        h->path = S("/");
    return FINE;
}

struct http_refusal http_line_field(char *line, size_t n, struct http_field *f)
{
    size_t name = 0;
    for (; name < n && token[(unsigned char)line[name]] != 0; name++)
        line[name] = (char)token[(unsigned char)line[name]];
    if (name == 0)
        return REFUSE(400, n > 0 && (line[0] == ' ' || line[0] == '\t') ? "folded header lines are refused"
                                                                        : "a header line begins with no name");
    if (name == n || line[name] != ':')
        return REFUSE(400, "a header name is followed by something else than a colon");
    size_t from = name + 1, to = n;
    while (from < to && (line[from] == ' ' || line[from] == '\t'))
        from++;
    while (to > from && (line[to - 1] == ' ' || line[to - 1] == '\t'))
        to--;
    if (!http_text_ok(line + from, to - from))
        return REFUSE(400, "a header value has a control byte");
    *f = (struct http_field){0, (uint32_t)name, (uint32_t)from, (uint32_t)(to - from)};
    return FINE;
}

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

struct http_refusal http_line_chunk(struct str line, uint64_t *size)
{
    uint64_t v = 0;
    size_t i = 0;
    for (; i < line.n && hex(line.p[i]) >= 0; i++) {
        if (v >> 59 != 0)
            return REFUSE(413, "a chunk is larger than any limit");
        v = v << 4 | (uint64_t)hex(line.p[i]);
    }
    if (i == 0 || i > 16)
        return REFUSE(400, "a chunk does not begin with its size");
    if (i < line.n && line.p[i] != ';')
        return REFUSE(400, "a chunk size is followed by something else than an extension");
    if (!http_text_ok(line.p + i, line.n - i))
        return REFUSE(400, "a chunk extension has a control byte");
    *size = v;
    return FINE;
}

static bool port_ok(struct str port)
{
    uint64_t v;
    return port.n == 0 || (port.n <= 5 && str_u64(port, &v) && v <= 65535);
}

bool http_line_host(struct str value)
{
    size_t i = 0;
    if (value.n > 0 && value.p[0] == '[') { /* an IPv6 address; its text is not ours to judge */
        for (i = 1; i < value.n && (hex(value.p[i]) >= 0 || value.p[i] == ':' || value.p[i] == '.'); i++)
            ;
        if (i < 3 || i == value.n || value.p[i] != ']')
            return false;
        i++;
    } else {
        for (; i < value.n && value.p[i] != ':'; i++) {
            unsigned char c = (unsigned char)value.p[i];
            if (token[c] == 0 || strchr("#^`|\"", c) != NULL) /* reg-name: unreserved, %, and most of sub-delims */
                return false;
        }
    }
    if (i == 0 || i > 255)
        return false;
    return i == value.n || (value.p[i] == ':' && port_ok(str_slice(value, i + 1, value.n)));
}

struct http_refusal http_line_length(struct str value, int64_t *length)
{
    for (size_t i = 0; i < value.n; i++)
        if (value.p[i] < '0' || value.p[i] > '9')
            return REFUSE(400, "Content-Length is not a number");
    if (value.n == 0)
        return REFUSE(400, "Content-Length is not a number");
    if (!str_i64(value, length))
        return REFUSE(413, "Content-Length is larger than any limit");
    return FINE;
}
