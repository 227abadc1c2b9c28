#include "server/oauth/issuer.h"

#include "proto/http.h"
#include "server/conn.h"
#include "server/settings.h"
#include "server/worker.h"

static bool is_authority(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        bool good = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == ':' || c == '[' ||
                    c == ']';
        if (!good)
            return false;
    }
    return s.n > 0 && s.n <= 255;
}

/* The host without its port. */
static struct str host_of(struct str authority)
{
    ptrdiff_t end = str_find(authority, S("]"));
    if (end >= 0)
        return str_slice(authority, 0, (size_t)end + 1);
    return str_cut(&authority, ':');
}

static bool is_loopback(struct str authority)
{
    struct str host = host_of(authority);
    return str_eq(host, S("localhost")) || str_eq(host, S("[::1]")) || str_starts(host, S("127."));
}

const char *issuer_fault(struct str url)
{
    bool plain = str_starts(url, S("http://"));
    if (!plain && !str_starts(url, S("https://")))
        return "it begins with https://";
    struct str authority = str_slice(url, plain ? 7 : 8, url.n);
    if (!is_authority(authority))
        return "it is https://HOST or https://HOST:PORT in lower case, with nothing behind it";
    return plain && !is_loopback(authority) ? "http:// is for loopback only" : NULL;
}

struct str issuer_url(struct request *r)
{
    const struct settings *s = r->worker->settings;
    if (s->public_url[0] != '\0')
        return str_z(s->public_url);
    struct str host = r->head == NULL ? STR_NONE : http_header(r->head, S("host"));
    bool known = is_authority(host) && is_loopback(host);
    return arena_printf(&r->arena, "%s" STR_FMT, conn_secure(r->conn) ? "https://" : "http://",
                        STR_ARG(known ? host : str_z(s->listen)));
}

const char *issuer_name(const struct settings *s)
{
    return s->public_url[0] != '\0' ? s->public_url : s->issuer;
}

bool issuer_taken(const struct settings *s, struct str iss)
{
    if (str_eqz(iss, s->issuer) || (s->public_url[0] != '\0' && str_eqz(iss, s->public_url)))
        return true;
    return s->public_url[0] == '\0' && (str_starts(iss, S("http://")) || str_starts(iss, S("https://")));
}
