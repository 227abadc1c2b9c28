#include <string.h>
#include "proto/redis.h"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes into a C string. */
static bool decode(struct str from, char *to, size_t room)
{
    size_t n = 0;

    for (size_t i = 0; i < from.n; i++) {
        int c = (unsigned char)from.p[i];

        if (c == '%') {
            int high = i + 2 < from.n ? hex_digit(from.p[i + 1]) : -1;
            int low = high >= 0 ? hex_digit(from.p[i + 2]) : -1;

            if (low < 0)
                return false;
            c = high << 4 | low;
            i += 2;
        }
        if (c == 0 || n + 1 >= room)
            return false;
        to[n++] = (char)c;
    }
    to[n] = 0;
    return true;
}

static bool parse_db(struct str text, unsigned *db)
{
    uint64_t n = 0;

    if (text.n && (!str_u64(text, &n) || n > 1000000))
        return false;
    *db = (unsigned)n;
    return true;
}

static const char *parse_tcp(struct str rest, struct redis_target *t)
{
    struct str host = str_cut(&rest, '/'), user, password;
    ptrdiff_t at = -1;

    for (size_t i = 0; i < host.n; i++) /* a password may hold one, encoded or not: the last counts */
        if (host.p[i] == '@')
            at = (ptrdiff_t)i;
    if (at >= 0) {
        password = str_slice(host, 0, (size_t)at);
        host = str_slice(host, (size_t)at + 1, host.n);
        user = str_cut(&password, ':');
        if (!decode(user, t->user, sizeof t->user) || !decode(password, t->password, sizeof t->password))
            return "the user or password is too long or badly encoded";
    }
    if (!parse_db(rest, &t->db))
        return "what follows the host is no database number";
    if (!host.n)
        host = S("127.0.0.1");
    return address_parse(host, 6379, &t->address) && !t->address.path[0] ? NULL : "host and port are not readable";
}

static const char *parse_tls(struct str rest, struct redis_target *t)
{
    struct str query = rest;

    rest = str_cut(&query, '?');
    t->tls = true;
    if (query.n && (!str_starts(query, S("ca=/")) || !decode(str_slice(query, 3, query.n), t->ca, sizeof t->ca)))
        return "only ?ca=FILE, an absolute path, may follow";
    return parse_tcp(rest, t);
}

static const char *parse_unix(struct str path, struct redis_target *t)
{
    struct str query = path;

    path = str_cut(&query, '?');
    if (query.n && (!str_starts(query, S("db=")) || !parse_db(str_slice(query, 3, query.n), &t->db)))
        return "only ?db=N may follow the path of a socket";
    return path.n && path.p[0] == '/' && address_parse(path, -1, &t->address) ? NULL
                                                                              : "the path of a socket is not usable";
}

bool redis_target_parse(struct str url, struct redis_target *out, const char **why)
{
    struct redis_target t = {0};
    const char *fault = "it starts with none of redis://, rediss://, unix:// and /";

    if (str_starts(url, S("redis://")))
        fault = parse_tcp(str_slice(url, 8, url.n), &t);
    else if (str_starts(url, S("unix://")))
        fault = parse_unix(str_slice(url, 7, url.n), &t);
    else if (str_starts(url, S("unix:")))
        fault = parse_unix(str_slice(url, 5, url.n), &t);
    else if (str_starts(url, S("/")))
        fault = parse_unix(url, &t);
    else if (str_starts(url, S("rediss://")))
        fault = parse_tls(str_slice(url, 9, url.n), &t);
    if (why)
        *why = fault;
    if (!fault)
        *out = t;
    explicit_bzero(&t, sizeof t);
    return !fault;
}
