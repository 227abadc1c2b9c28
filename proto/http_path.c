#include "proto/http.h"

#include "proto/query.h"

bool http_path(struct buf *out, struct str path)
{
    size_t from = out->n;
    for (size_t i = 0; i < path.n; i++) {
        int c = (unsigned char)path.p[i];
        if (c == '%') {
            c = query_escape(path, i);
            i += 2;
            if (c == '/' || c == '%') {
                buf_str(out, c == '/' ? S("%2F") : S("%25"));
                continue;
            }
        }
        if (c < 0x20 || c == 0x7f)
            return false;
        buf_char(out, (char)c);
    }
    return out->failed || str_utf8((struct str){out->p + from, out->n - from});
}

bool http_segment(struct buf *out, struct str segment)
{
    return query_decode(out, segment, false);
}
