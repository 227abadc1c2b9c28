#include "server/forwarded.h"

#include "lib/cidr.h"

#include <stdlib.h>
#include <string.h>

struct hops { /* the last of them, from left to right */
    struct cidr at[FORWARDED_HOPS_MAX];
    bool known[FORWARDED_HOPS_MAX];
    size_t n;
};

bool forwarded_init(struct forwarded *f, const struct config_list *trusted, bool standard, const char **wrong)
{
    *f = (struct forwarded){.standard = standard, .trusted = calloc(trusted->n + 1, sizeof(struct cidr))};
    *wrong = NULL;
    for (size_t i = 0; i < trusted->n && f->trusted != NULL; i++) {
        if (strcmp(trusted->items[i], "unix") == 0) {
            f->local = true;
        } else if (!cidr_parse(str_z(trusted->items[i]), &f->trusted[f->n++])) {
            *wrong = trusted->items[i];
            return false;
        }
    }
    return f->trusted != NULL;
}

void forwarded_fini(struct forwarded *f)
{
    free(f->trusted);
    f->trusted = NULL;
}

static bool is_trusted(const struct forwarded *f, const struct cidr *address)
{
    for (size_t i = 0; i < f->n; i++)
        if (cidr_covers(&f->trusted[i], address))
            return true;
    return false;
}

static bool parse_address(struct str text, struct cidr *out)
{
    return str_index(text, '/') < 0 && cidr_parse(text, out);
}

bool forwarded_trusts(const struct forwarded *f, struct str peer)
{
    struct cidr address;
    if (f->n == 0 && !f->local)
        return false;
    return str_eq(peer, S("unix")) ? f->local : parse_address(peer, &address) && is_trusted(f, &address);
}

static bool is_port(struct str text)
{
    uint64_t port;
    return text.n > 0 && text.n <= 5 && str_u64(text, &port) && port <= 65535;
}

/* 192.0.2.1, 192.0.2.1:80, 2001:db8::1, [2001:db8::1], [2001:db8::1]:80 */
static bool parse_node(struct str text, struct cidr *out)
{
    if (parse_address(text, out))
        return true;
    bool bracketed = str_starts(text, S("["));
    ptrdiff_t end = str_index(text, bracketed ? ']' : ':');
    if (end < 0)
        return false;
    struct str host = str_slice(text, bracketed ? 1 : 0, (size_t)end);
    struct str rest = str_slice(text, (size_t)end + (bracketed ? 1 : 0), text.n);
    if ((str_index(host, ':') >= 0) != bracketed || !parse_address(host, out))
        return false;
    return rest.n == 0 || (rest.p[0] == ':' && is_port(str_slice(rest, 1, rest.n)));
}

static void add_hop(struct hops *h, struct str text)
{
    if (h->n == FORWARDED_HOPS_MAX) {
        h->n--;
        memmove(h->at, h->at + 1, h->n * sizeof h->at[0]);
        memmove(h->known, h->known + 1, h->n * sizeof h->known[0]);
    }
    h->known[h->n] = parse_node(text, &h->at[h->n]);
    h->n++;
}

/* Like str_cut, but for separators inside quotes. */
static struct str cut_outside(struct str *rest, char separator)
{
    bool quoted = false;
    struct str whole = *rest;
    for (size_t i = 0; i < whole.n; i++) {
        quoted ^= whole.p[i] == '"';
        if (whole.p[i] != separator || quoted)
            continue;
        *rest = str_slice(whole, i + 1, whole.n);
        return str_slice(whole, 0, i);
    }
    *rest = STR_NONE;
    return whole;
}

/* An element of Forwarded: `for=192.0.2.1;proto=https`. What has no address, or more than one, is no address. */
static struct str node_of(struct str element)
{
    struct str found = STR_NONE;
    while (element.p != NULL) {
        struct str value = cut_outside(&element, ';'), name = str_trim(str_cut(&value, '='));
        if (!str_ieq(name, S("for")))
            continue;
        if (found.p != NULL)
            return STR_NONE;
        found = str_trim(value);
        if (found.n >= 2 && found.p[0] == '"' && found.p[found.n - 1] == '"')
            found = str_slice(found, 1, found.n - 1);
    }
    return found;
}

static void read_line(const struct forwarded *f, struct hops *h, struct str value)
{
    while (value.p != NULL)
        add_hop(h, f->standard ? node_of(cut_outside(&value, ',')) : str_trim(str_cut(&value, ',')));
}

static struct str text_of(const struct cidr *address, struct arena *a, struct str otherwise)
{
    char text[CIDR_TEXT];
    cidr_text(address, text);
    struct str copy = arena_str(a, str_z(text));
    return copy.p == NULL ? otherwise : copy;
}

struct str forwarded_client(const struct forwarded *f, struct str peer, const struct http_head *head, struct arena *a)
{
    struct hops hops = {.n = 0};
    struct str name, value;
    const struct cidr *client = NULL;
    if (head == NULL || !forwarded_trusts(f, peer))
        return peer;
    for (size_t i = 0; http_field_at(head, i, &name, &value); i++)
        if (str_eq(name, f->standard ? S("forwarded") : S("x-forwarded-for")))
            read_line(f, &hops, value);
    for (size_t i = hops.n; i > 0 && hops.known[i - 1]; i--) {
        client = &hops.at[i - 1];
        if (!is_trusted(f, client))
            break;
    }
    return client == NULL ? peer : text_of(client, a, peer);
}
