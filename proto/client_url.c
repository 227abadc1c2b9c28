#include "proto/client.h"
#include "proto/client_private.h"

#include <string.h>

static const char *port_cut(struct str *authority, uint16_t usual, uint16_t *port)
{
    bool literal = authority->n > 0 && authority->p[0] == '[';
    struct str rest = *authority;
    struct str host = str_cut(&rest, literal ? ']' : ':');
    if (literal) {
        host = str_slice(host, 1, host.n);
        if (rest.p == NULL || (rest.n > 0 && rest.p[0] != ':'))
            return "the address in brackets is not well formed";
        rest = rest.n > 0 ? str_slice(rest, 1, rest.n) : STR_NONE;
    }
    uint64_t number = usual;
    if (rest.p != NULL && (!str_u64(rest, &number) || number == 0 || number > 65535))
        return "the port is no number from 1 to 65535";
    if (host.n == 0 || host.n > 255)
        return "there is no host";
    *authority = host;
    *port = (uint16_t)number;
    return NULL;
}

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] <= ' ' || s.p[i] == 0x7f)
            return true;
    return false;
}

static struct str base_of(struct str path)
{
    while (path.n > 0 && path.p[path.n - 1] == '/')
        path.n--;
    return path;
}

const char *client_url_parse(struct str text, struct client_url *out)
{
    struct client_url url = {0};
    if (has_control(text))
        return "a URL has no spaces and no control characters";
    if (str_starts(text, S("unix:"))) {
        struct str rest = str_slice(text, strlen("unix:"), text.n);
        url.host = str_cut(&rest, ':');
        url.base = base_of(rest);
        url.local = true;
        if (url.host.n == 0 || url.host.n > 107 || url.host.p[0] != '/')
            return "unix: wants an absolute path of at most 107 bytes";
    } else {
        ptrdiff_t scheme = str_find(text, S("://"));
        struct str name = scheme < 0 ? STR_NONE : str_slice(text, 0, (size_t)scheme);
        url.tls = str_eq(name, S("https")) || str_eq(name, S("wss"));
        if (!url.tls && !str_eq(name, S("http")) && !str_eq(name, S("ws")))
            return "a URL starts with https://, wss://, http://, ws:// or unix:";
        url.host = str_slice(text, (size_t)scheme + 3, text.n);
        ptrdiff_t slash = str_index(url.host, '/');
        if (slash >= 0) {
            url.base = base_of(str_slice(url.host, (size_t)slash, url.host.n));
            url.host = str_slice(url.host, 0, (size_t)slash);
        }
        if (str_index(url.host, '@') >= 0)
            return "a URL with user information is not taken";
        const char *wrong = port_cut(&url.host, url.tls ? 443 : 80, &url.port);
        if (wrong != NULL)
            return wrong;
    }
    if (str_index(url.base, '?') >= 0 || str_index(url.base, '#') >= 0 || str_index(url.host, '?') >= 0 ||
        str_index(url.host, '#') >= 0)
        return "a URL with a query or a fragment is not taken";
    if (url.base.n > 0 && url.base.p[0] != '/')
        return "the path starts with a slash";
    *out = url;
    return NULL;
}

bool client_address(const struct client_url *url, struct address *out)
{
    *out = (struct address){.port = url->port};
    size_t room = url->local ? sizeof out->path : sizeof out->host;
    if (url->host.n >= room)
        return false;
    memcpy(url->local ? out->path : out->host, url->host.p, url->host.n);
    return true;
}

/* --- TLS --- */

bool client_trust(struct client_url *url, const char *ca, char why[CLIENT_REASON])
{
    if (url->tls)
        url->trust = tls_trust(ca, why);
    return !url->tls || url->trust != NULL;
}

void client_distrust(struct client_url *url)
{
    tls_context_drop(url->trust);
    url->trust = NULL;
}

bool client_tls(struct stream *s, const struct client_url *url)
{
    return !url->tls || tls_connect(s, url->trust, url->host, 0);
}
