#include "server/principal.h"

#include "lib/id.h"

#include <stdlib.h>
#include <string.h>

enum { SETS = 1024, WAYS = 4, NAME_ROOM = 128, ID_ROOM = 64, TELL_MS = 60000 };

/* Everything by value. */
struct principal {
    uint8_t token[CRYPTO_HASH];
    uint64_t used; /* 0: free */
    enum caller_type type;
    char tenant[ID_UUID], id[ID_ROOM], name[NAME_ROOM], credential[65], of[67];
    unsigned partition, tier;
    struct permission_set permissions;
    char *narrowed, *networks, *granted, *user; /* NULL: none */
    int64_t expires_ms, revocations;
    int64_t told_ms; /* 0: by the look-up that brought it here, whenever that was */
};

struct principals {
    struct principal *sets[SETS]; /* WAYS each, allocated when first used */
    uint64_t clock;
    struct {
        int64_t revocations, asked_ms; /* asked_ms 0: not known */
    } counters[ID_PARTITIONS];
};

struct principals *principals_new(void)
{
    return calloc(1, sizeof(struct principals));
}

static void forget(struct principal *p)
{
    free(p->narrowed);
    free(p->networks);
    free(p->granted);
    free(p->user);
    *p = (struct principal){0};
}

void principals_free(struct principals *p)
{
    for (size_t i = 0; p != NULL && i < SETS; i++) {
        for (size_t j = 0; p->sets[i] != NULL && j < WAYS; j++)
            forget(&p->sets[i][j]);
        free(p->sets[i]);
    }
    free(p);
}

static struct principal *set_of(struct principals *p, const uint8_t token[CRYPTO_HASH])
{
    unsigned set = (token[0] | (unsigned)token[1] << 8) % SETS;
    if (p->sets[set] == NULL)
        p->sets[set] = calloc(WAYS, sizeof(struct principal));
    return p->sets[set];
}

static struct principal *find(struct principals *p, const uint8_t token[CRYPTO_HASH])
{
    struct principal *set = set_of(p, token);
    for (size_t i = 0; set != NULL && i < WAYS; i++)
        if (set[i].used != 0 && crypto_equal(set[i].token, token, CRYPTO_HASH))
            return &set[i];
    return NULL;
}

static struct str text(struct arena *a, const char *kept)
{
    return kept == NULL ? STR_NONE : arena_str(a, str_z(kept));
}

bool principals_find(struct principals *p, const uint8_t token[CRYPTO_HASH], int64_t now_ms, struct arena *a,
                     struct caller *out)
{
    struct principal *found = find(p, token);
    if (found == NULL || (found->expires_ms != 0 && found->expires_ms <= now_ms))
        return false;
    found->used = ++p->clock;
    struct caller c = {
        .type = found->type,
        .id = arena_str(a, str_z(found->id)),
        .name = arena_str(a, str_z(found->name)),
        .tenant = arena_str(a, str_z(found->tenant)),
        .partition = found->partition,
        .permissions = found->permissions,
        .narrowed = text(a, found->narrowed),
        .networks = text(a, found->networks),
        .granted = text(a, found->granted),
        .user = text(a, found->user),
        .tier = found->tier,
        .expires_ms = found->expires_ms,
        .revocations = found->revocations,
    };
    memcpy(c.credential, found->credential, sizeof c.credential);
    memcpy(c.of, found->of, sizeof c.of);
    *out = c;
    return c.id.p != NULL && c.name.p != NULL && c.tenant.p != NULL &&
           (found->narrowed == NULL || c.narrowed.p != NULL) && (found->networks == NULL || c.networks.p != NULL) &&
           (found->granted == NULL || c.granted.p != NULL) && (found->user == NULL || c.user.p != NULL);
}

static bool keep_text(char **to, struct str from)
{
    if (from.n == 0)
        return true;
    if ((*to = malloc(from.n + 1)) == NULL)
        return false;
    memcpy(*to, from.p, from.n);
    (*to)[from.n] = '\0';
    return true;
}

void principals_add(struct principals *p, const uint8_t token[CRYPTO_HASH], const struct caller *c)
{
    struct principal *set = set_of(p, token), *place = find(p, token);
    struct principal fresh = {
        .used = ++p->clock,
        .type = c->type,
        .partition = c->partition,
        .tier = c->tier,
        .permissions = c->permissions,
        .expires_ms = c->expires_ms,
        .revocations = c->revocations,
    };
    if (set == NULL || !str_copy(fresh.tenant, sizeof fresh.tenant, c->tenant) ||
        !str_copy(fresh.id, sizeof fresh.id, c->id) || !str_copy(fresh.name, sizeof fresh.name, c->name))
        return;
    if (!keep_text(&fresh.narrowed, c->narrowed) || !keep_text(&fresh.networks, c->networks) ||
        !keep_text(&fresh.granted, c->granted) || !keep_text(&fresh.user, c->user)) {
        forget(&fresh);
        return;
    }
    memcpy(fresh.token, token, CRYPTO_HASH);
    memcpy(fresh.credential, c->credential, sizeof fresh.credential);
    memcpy(fresh.of, c->of, sizeof fresh.of);
    for (size_t i = 0; place == NULL && i < WAYS; i++)
        if (set[i].used == 0)
            place = &set[i];
    if (place == NULL) {
        place = set;
        for (size_t i = 1; i < WAYS; i++)
            if (set[i].used < place->used)
                place = &set[i];
    }
    forget(place);
    *place = fresh;
}

bool principals_tell(struct principals *p, const uint8_t token[CRYPTO_HASH], int64_t now_ms)
{
    struct principal *found = find(p, token);
    if (found == NULL || (found->told_ms != 0 && now_ms - found->told_ms < TELL_MS))
        return false;
    found->told_ms = now_ms;
    return true;
}

void principals_drop(struct principals *p, const uint8_t token[CRYPTO_HASH])
{
    struct principal *found = find(p, token);
    if (found != NULL)
        forget(found);
}

void principals_note(struct principals *p, unsigned partition, int64_t revocations, int64_t asked_ms)
{
    if (asked_ms < p->counters[partition].asked_ms)
        return;
    p->counters[partition].revocations = revocations;
    p->counters[partition].asked_ms = asked_ms;
}

bool principals_trusted(const struct principals *p, const struct caller *c, int64_t now_ms, int64_t trust_ms)
{
    int64_t asked_ms = p->counters[c->partition].asked_ms;
    return asked_ms != 0 && now_ms - asked_ms < trust_ms && p->counters[c->partition].revocations == c->revocations;
}
