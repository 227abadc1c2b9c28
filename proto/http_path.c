#include "proto/http.h"

#include "proto/query.h"

/* Bytes from `at` on that stand for themselves. */
static size_t plain_length(struct str path, size_t at)
{
    size_t i = at;
    while (i < path.n && path.p[i] != '%' && (unsigned char)path.p[i] >= 0x20 && path.p[i] != 0x7f)
        i++;
    return i - at;
}

bool http_path(struct buf *out, struct str path)
{
    size_t from = out->n;
    for (size_t i = 0; i < path.n; i++) {
        size_t plain = plain_length(path, i);
        buf_str(out, str_slice(path, i, i + plain));
        i += plain;
        if (i == path.n)
            break;
        int c = path.p[i] == '%' ? query_escape(path, i) : -1;
        if (c < 0x20 || c == 0x7f)
            return false;
        i += 2;
        if (c == '/' || c == '%')
            buf_str(out, c == '/' ? S("%2F") : S("%25"));
        else
            buf_char(out, (char)c);
    }
    return out->failed || str_utf8((struct str){out->p + from, out->n - from});
}

bool http_segment(struct buf *out, struct str segment)
{
    return query_decode(out, segment, false);
}
