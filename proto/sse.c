#include "proto/sse.h"

#include <string.h>

static void write_line(struct buf *b, struct str name, struct str value)
{
    buf_str(b, name);
    buf_str(b, value);
    buf_char(b, '\n');
}

static bool one_line(struct str s)
{
    return s.n == 0 ||
           (memchr(s.p, '\n', s.n) == NULL && memchr(s.p, '\r', s.n) == NULL && memchr(s.p, 0, s.n) == NULL);
}

/* Cuts a line off at CR, LF or CRLF, as a reader of the stream would; false when it was the last. */
static bool cut_line(struct str *rest, struct str *line)
{
    size_t i = 0;
    while (i < rest->n && rest->p[i] != '\n' && rest->p[i] != '\r')
        i++;
    *line = str_slice(*rest, 0, i);
    if (i == rest->n)
        return false;
    if (rest->p[i] == '\r' && i + 1 < rest->n && rest->p[i + 1] == '\n')
        i++;
    *rest = str_slice(*rest, i + 1, rest->n);
    return true;
}

void sse_write(struct buf *b, struct str id, struct str event, struct str data)
{
    if (!one_line(id) || !one_line(event)) {
        b->failed = true;
        return;
    }
    if (id.p != NULL)
        write_line(b, S("id: "), id);
    if (event.p != NULL)
        write_line(b, S("event: "), event);
    struct str line;
    bool more;
    do {
        more = cut_line(&data, &line);
        write_line(b, S("data: "), line);
    } while (more);
    buf_char(b, '\n');
}

void sse_write_comment(struct buf *b, struct str text)
{
    struct str line;
    bool more;
    do {
        more = cut_line(&text, &line);
        write_line(b, S(": "), line);
    } while (more);
    buf_char(b, '\n');
}

void sse_write_retry(struct buf *b, uint64_t ms)
{
    buf_str(b, S("retry: "));
    buf_u64(b, ms);
    buf_str(b, S("\n\n"));
}
