#include "lib/cidr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>

static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

bool cidr_parse(struct str text, struct cidr *out)
{
    struct str rest = text, host = str_cut(&rest, '/');
    struct cidr c = {.bits = 128};
    char name[INET6_ADDRSTRLEN];
    uint64_t bits;

    if (host.n == 0 || host.n >= sizeof(name))
        return false;
    memcpy(name, host.p, host.n);
    name[host.n] = '\0';
    bool v4 = inet_pton(AF_INET, name, c.address + 12) == 1;
    if (v4)
        memcpy(c.address, mapped, sizeof(mapped));
    else if (inet_pton(AF_INET6, name, c.address) != 1)
        return false;
    if (host.n < text.n) {
        if (!str_u64(rest, &bits) || bits > (v4 ? 32 : 128))
            return false;
        c.bits = (uint8_t)(bits + (v4 ? 96 : 0));
    }
    for (unsigned bit = c.bits; bit < 128; bit++)
        if (c.address[bit / 8] & (0x80 >> bit % 8))
            return false;
    *out = c;
    return true;
}

/* The address as 16 bytes. */
static bool address_bytes(const struct sockaddr *address, uint8_t out[16])
{
    if (address->sa_family == AF_INET) {
        memcpy(out, mapped, sizeof(mapped));
        memcpy(out + 12, &((const struct sockaddr_in *)(const void *)address)->sin_addr, 4);
        return true;
    }
    if (address->sa_family == AF_INET6) {
        memcpy(out, &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr, 16);
        return true;
    }
    return false;
}

static bool block_holds(const struct cidr *block, const uint8_t address[16])
{
    unsigned whole = block->bits / 8, rest = block->bits % 8;

    return memcmp(block->address, address, whole) == 0 &&
           (rest == 0 || ((block->address[whole] ^ address[whole]) >> (8 - rest)) == 0);
}

bool cidr_holds(const struct cidr *block, const struct sockaddr *address)
{
    uint8_t bytes[16];

    return address_bytes(address, bytes) && block_holds(block, bytes);
}

bool cidr_covers(const struct cidr *block, const struct cidr *inner)
{
    return inner->bits >= block->bits && block_holds(block, inner->address);
}

void cidr_text(const struct cidr *c, char out[CIDR_TEXT])
{
    bool v4 = memcmp(c->address, mapped, sizeof(mapped)) == 0;

    inet_ntop(v4 ? AF_INET : AF_INET6, c->address + (v4 ? 12 : 0), out, CIDR_TEXT);
}

void cidr_site(struct str address, char out[CIDR_SITE])
{
    struct cidr c;
    size_t n = address.n < CIDR_SITE ? address.n : CIDR_SITE - 1;

    memcpy(out, address.p, n);
    out[n] = '\0';
    if (!cidr_parse(address, &c) || c.bits != 128)
        return;
    bool v6 = memcmp(c.address, mapped, sizeof(mapped)) != 0;
    if (v6)
        memset(c.address + 8, 0, 8);
    cidr_text(&c, out);
    if (v6)
        memcpy(out + strlen(out), "/64", 4);
}

/* IANA's special-purpose registries (RFC 6890 and its updates), as one would write them. */
static const char *const special[] = {
    "0.0.0.0/8",      "10.0.0.0/8",   "100.64.0.0/10",  "127.0.0.0/8",    "169.254.0.0/16", "172.16.0.0/12",
    "192.0.0.0/24",   "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15",  "198.51.100.0/24",
    "203.0.113.0/24", "224.0.0.0/4",  "240.0.0.0/4",    "100::/64",       "2001:db8::/32",  "3fff::/20",
    "fc00::/7",       "fe80::/10",    "fec0::/10",      "ff00::/8",       "5f00::/16",
};

static bool special_holds(const uint8_t address[16])
{
    struct cidr block;

    for (size_t i = 0; i < ARRAY_LEN(special); i++)
        if (cidr_parse(str_z(special[i]), &block) && block_holds(&block, address))
            return true;
    return false;
}

/* IPv6 forms that carry an IPv4 address, and where it stands. */
static const struct {
    const char *block;
    unsigned at;
    uint8_t flip; /* Teredo stores the complement */
} carriers[] = {
    {"::/96", 12, 0x00},
    {"64:ff9b::/96", 12, 0x00},
    {"2002::/16", 2, 0x00},
    {"2001::/32", 12, 0xff},
};

bool cidr_public(const struct sockaddr *address)
{
    uint8_t bytes[16], inner[16];
    struct cidr block;

    if (!address_bytes(address, bytes) || special_holds(bytes))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(carriers); i++) {
        if (!cidr_parse(str_z(carriers[i].block), &block) || !block_holds(&block, bytes))
            continue;
        memcpy(inner, mapped, sizeof(mapped));
        for (unsigned k = 0; k < 4; k++)
            inner[12 + k] = bytes[carriers[i].at + k] ^ carriers[i].flip;
        if (special_holds(inner))
            return false;
    }
    return true;
}
