#include "lib/address.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static bool copy(char *to, size_t room, struct str from)
{
    if (from.n >= room || memchr(from.p, 0, from.n))
        return false;
    memcpy(to, from.p, from.n);
    to[from.n] = 0;
    return true;
}

static bool parse_port(struct str text, uint16_t *port)
{
    uint64_t n;

    if (text.n > 5 || !str_u64(text, &n) || n > 65535)
        return false;
    *port = (uint16_t)n;
    return true;
}

/* Cuts "host:port", "[host]:port" or "host" apart; a bare IPv6 address has no port. */
static bool split(struct str text, struct str *host, struct str *port)
{
    ptrdiff_t colon;

    *port = STR_NONE;
    if (text.n && text.p[0] == '[') {
        ptrdiff_t end = str_index(text, ']');

        if (end < 0)
            return false;
        *host = str_slice(text, 1, (size_t)end);
        text = str_slice(text, (size_t)end + 1, text.n);
        if (text.n && text.p[0] != ':')
            return false;
        if (text.n)
            *port = str_slice(text, 1, text.n);
        return host->n > 0;
    }
    colon = str_index(text, ':');
    if (colon < 0 || str_index(str_slice(text, (size_t)colon + 1, text.n), ':') >= 0) {
        *host = text;
        return text.n > 0;
    }
    *host = str_slice(text, 0, (size_t)colon);
    *port = str_slice(text, (size_t)colon + 1, text.n);
    return true;
}

bool address_parse(struct str text, int default_port, struct address *out)
{
    struct address a = {0};
    struct str host, port;

    if (str_starts(text, S("unix:")))
        text = str_slice(text, 5, text.n);
    else if (!text.n || text.p[0] != '/') {
        if (!split(text, &host, &port) || !copy(a.host, sizeof a.host, host))
            return false;
        if (port.p ? !parse_port(port, &a.port) : default_port < 0)
            return false;
        if (!port.p)
            a.port = (uint16_t)default_port;
        for (size_t i = 0; i < host.n; i++)
            if ((unsigned char)host.p[i] <= ' ' || host.p[i] == '/' || host.p[i] == 0x7f)
                return false;
        *out = a;
        return true;
    }
    if (str_starts(text, S("///")))
        text = str_slice(text, 2, text.n);
    if (!text.n || text.p[0] != '/' || !copy(a.path, sizeof a.path, text))
        return false;
    *out = a;
    return true;
}

void address_text(const struct address *a, struct buf *out)
{
    if (a->path[0])
        buf_printf(out, "unix:%s", a->path);
    else if (strchr(a->host, ':'))
        buf_printf(out, "[%s]:%u", a->host, (unsigned)a->port);
    else
        buf_printf(out, "%s:%u", a->host, (unsigned)a->port);
}

void address_peer(const struct sockaddr_storage *from, struct buf *out, uint16_t *port)
{
    char text[INET6_ADDRSTRLEN] = "unix";
    uint16_t at = 0;

    if (from->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)from;

        inet_ntop(AF_INET, &in->sin_addr, text, sizeof text);
        at = ntohs(in->sin_port);
    } else if (from->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)(const void *)from;

        if (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr))
            inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], text, sizeof text);
        else
            inet_ntop(AF_INET6, &in6->sin6_addr, text, sizeof text);
        at = ntohs(in6->sin6_port);
    }
    buf_z(out, text);
    if (port)
        *port = at;
}
