#include "server/oauth/redirect.h"

static const struct {
    struct str prefix;
    bool any_port;
} loopback[] = {{S("http://127.0.0.1"), true}, {S("http://[::1]"), true}, {S("http://localhost"), false}};

static bool is_plain(struct str uri)
{
    for (size_t i = 0; i < uri.n; i++)
        if (uri.p[i] <= ' ' || uri.p[i] > '~' || str_index(S("\"<>\\^`{|}#*"), uri.p[i]) >= 0)
            return false;
    return uri.n > 0;
}

static struct str behind_port(struct str rest)
{
    size_t n = 1;
    if (rest.n == 0 || rest.p[0] != ':')
        return rest;
    while (n < rest.n && rest.p[n] >= '0' && rest.p[n] <= '9')
        n++;
    return n == 1 || n > 6 ? STR_NONE : (struct str){rest.p + n, rest.n - n};
}

/* Nothing but a port may stand between host and path: no user, and no other host behind one. */
static bool is_host_end(struct str rest)
{
    struct str path = behind_port(rest);
    return path.p != NULL && (path.n == 0 || path.p[0] == '/' || path.p[0] == '?');
}

/* Behind the loopback's name; STR_NONE: it is none. */
static struct str behind_loopback(struct str uri, bool *any_port)
{
    for (size_t i = 0; i < ARRAY_LEN(loopback); i++) {
        struct str rest = str_starts(uri, loopback[i].prefix) ? str_slice(uri, loopback[i].prefix.n, uri.n) : STR_NONE;
        *any_port = loopback[i].any_port;
        if (rest.p != NULL && is_host_end(rest))
            return rest;
    }
    return STR_NONE;
}

static bool has_private_scheme(struct str uri)
{
    struct str scheme = str_cut(&uri, ':');
    bool dot = str_index(scheme, '.') > 0;
    for (size_t i = 0; i < scheme.n; i++) {
        char c = scheme.p[i];
        bool letter = c >= 'a' && c <= 'z', other = (c >= '0' && c <= '9') || c == '.' || c == '-' || c == '+';
        if (!letter && (i == 0 || !other))
            return false;
    }
    return dot && uri.n > 0;
}

static bool has_host(struct str uri)
{
    struct str rest = str_slice(uri, S("https://").n, uri.n);
    ptrdiff_t end = str_index(rest, '/'), at = str_index(rest, '@');
    return rest.n > 0 && rest.p[0] != '/' && rest.p[0] != ':' && (at < 0 || (end >= 0 && at > end));
}

const char *redirect_fault(struct str uri)
{
    bool any_port;
    if (uri.n > REDIRECT_LENGTH_MAX)
        return "is longer than 512 bytes";
    if (!is_plain(uri))
        return "is no URI, or has a fragment or a wildcard";
    if (str_starts(uri, S("https://")))
        return has_host(uri) ? NULL : "has no host";
    if (behind_loopback(uri, &any_port).p != NULL || has_private_scheme(uri))
        return NULL;
    return "is neither https, nor http on loopback, nor of a private-use scheme with a dot";
}

static bool is_same_loopback(struct str one, struct str other)
{
    bool any_port, any;
    struct str a = behind_loopback(one, &any_port), b = behind_loopback(other, &any);
    size_t host = one.n - a.n;
    if (a.p == NULL || b.p == NULL || !any_port || other.n - b.n != host ||
        !str_eq(str_slice(one, 0, host), str_slice(other, 0, host)))
        return false;
    a = behind_port(a);
    b = behind_port(b);
    return a.p != NULL && b.p != NULL && str_eq(a, b);
}

bool redirect_matches(struct str list, struct str uri)
{
    while (uri.n > 0 && list.n > 0) {
        struct str one = str_cut(&list, ' ');
        if (str_eq(one, uri) || is_same_loopback(one, uri))
            return true;
    }
    return false;
}

struct str redirect_origin(struct str uri)
{
    ptrdiff_t scheme = str_find(uri, S("://"));
    if (scheme < 0)
        return str_slice(uri, 0, (size_t)(str_index(uri, ':') + 1));
    size_t n = (size_t)scheme + 3;
    while (n < uri.n && uri.p[n] != '/' && uri.p[n] != '?')
        n++;
    return str_slice(uri, 0, n);
}
