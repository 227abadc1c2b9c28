#include "proto/http.h"

#include "lib/clock.h"
#include "proto/http_line.h"

#include <string.h>
#include <time.h>

// clang-format off
#define STATUS_MAP(X)                                                                                                      \
    X(100, "Continue") X(101, "Switching Protocols")                                                                        \
    X(200, "OK") X(201, "Created") X(202, "Accepted") X(204, "No Content") X(206, "Partial Content")                        \
    X(301, "Moved Permanently") X(302, "Found") X(303, "See Other") X(304, "Not Modified") X(307, "Temporary Redirect")     \
    X(308, "Permanent Redirect")                                                                                            \
    X(400, "Bad Request") X(401, "Unauthorized") X(402, "Payment Required") X(403, "Forbidden") X(404, "Not Found")         \
    X(405, "Method Not Allowed") X(406, "Not Acceptable") X(408, "Request Timeout") X(409, "Conflict") X(410, "Gone")       \
    X(411, "Length Required") X(412, "Precondition Failed") X(413, "Content Too Large") X(414, "URI Too Long")              \
    X(415, "Unsupported Media Type") X(416, "Range Not Satisfiable") X(417, "Expectation Failed")                           \
    X(422, "Unprocessable Content") X(425, "Too Early") X(426, "Upgrade Required") X(428, "Precondition Required")          \
    X(429, "Too Many Requests") X(431, "Request Header Fields Too Large")                                                   \
    X(500, "Internal Server Error") X(501, "Not Implemented") X(502, "Bad Gateway") X(503, "Service Unavailable")           \
    X(504, "Gateway Timeout") X(505, "HTTP Version Not Supported")
// clang-format on

static const struct {
    const char *reason;
    struct str line; /* the whole status line */
} statuses[600] = {
#define X(code, text)                                                                                                  \
    [code] = {text, {"HTTP/1.1 " #code " " text "\r\n", sizeof("HTTP/1.1 " #code " " text "\r\n") - 1}},
    STATUS_MAP(X)
#undef X
};

static bool known_status(int status)
{
    return status >= 0 && status < 600 && statuses[status].reason != NULL;
}

const char *http_reason(int status)
{
    return known_status(status) ? statuses[status].reason : "Unknown";
}

static void two(char *p, int v)
{
    p[0] = (char)('0' + v / 10 % 10);
    p[1] = (char)('0' + v % 10);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" (RFC 9110 §5.6.7), whatever the locale. */
static void write_date(int64_t seconds, char out[30])
{
    static const char days[] = "SunMonTueWedThuFriSat", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    time_t t = (time_t)seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    int year = tm.tm_year + 1900;
    memcpy(out, "Www, 00 Mmm 0000 00:00:00 GMT", 30);
    memcpy(out, days + (size_t)tm.tm_wday * 3, 3);
    two(out + 5, tm.tm_mday);
    memcpy(out + 8, months + (size_t)tm.tm_mon * 3, 3);
    two(out + 12, year / 100);
    two(out + 14, year % 100);
    two(out + 17, tm.tm_hour);
    two(out + 20, tm.tm_min);
    two(out + 23, tm.tm_sec);
}

struct str http_date(void)
{
    static _Thread_local char text[30];
    static _Thread_local int64_t second = -1;
    int64_t now = clock_wall_s();
    if (now != second) {
        write_date(now, text);
        second = now;
    }
    return (struct str){text, 29};
}

void http_write_status(struct buf *b, int status)
{
    if (known_status(status)) {
        buf_str(b, statuses[status].line);
    } else {
        buf_str(b, S("HTTP/1.1 "));
        buf_i64(b, status);
        buf_str(b, S(" Unknown\r\n"));
    }
    if (status >= 200) {
        buf_str(b, S("Date: "));
        buf_str(b, http_date());
        buf_str(b, S("\r\n"));
    }
}

void http_write_request(struct buf *b, struct str method, struct str target)
{
    for (size_t i = 0; i < target.n; i++)
        if ((unsigned char)target.p[i] <= ' ' || (unsigned char)target.p[i] >= 0x7f)
            b->failed = true;
    buf_str(b, method);
    buf_char(b, ' ');
    buf_str(b, target);
    buf_str(b, S(" HTTP/1.1\r\n"));
}

void http_write_field(struct buf *b, struct str name, struct str value)
{
    if (!http_text_ok(value.p, value.n))
        b->failed = true;
    buf_str(b, name);
    buf_str(b, S(": "));
    buf_str(b, value);
    buf_str(b, S("\r\n"));
}

void http_write_number(struct buf *b, struct str name, uint64_t value)
{
    buf_str(b, name);
    buf_str(b, S(": "));
    buf_u64(b, value);
    buf_str(b, S("\r\n"));
}

void http_write_end(struct buf *b)
{
    buf_str(b, S("\r\n"));
}
