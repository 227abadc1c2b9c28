/* Clients of the authorization server: programs with an id and a secret or keys of their own.
 *
 * A client is a document of its tenant (kind "client", for lists) and a credential's record, which is what its
 * authentication reads: fields kind "client", tenant, id, name, tier, scopes, grants and method (between spaces), and
 * one of `secret` (hex of its hash under the pepper), `jwks` and `trust` (server/oauth/exchange.h), and `redirects`
 * (between spaces). The id is a UUID whose last byte is the partition, so that the record is found by it alone. One
 * that was taken back leaves a record with `revoked` for as long as its tokens could live. */
#ifndef SERVER_OAUTH_CLIENT_H
#define SERVER_OAUTH_CLIENT_H

#include "lib/id.h"
#include "server/request.h"
#include "server/store/commit.h"

#define CLIENT_KIND "client"
enum { CLIENT_KEYS_MAX = 8 };

struct redis_value;
struct client { /* as its record says; texts live in the arena */
    struct str id, tenant, name, scopes, grants, method, secret, jwks, trust, redirects;
    unsigned partition, tier;
};
/* The record's name in the store; false when the id is none that we would have made. */
bool client_credential(const struct settings *s, struct str id, unsigned *partition, char hex[65]);
/* False when memory ran out. */
bool client_read(struct client *out, struct arena *a, unsigned partition, const struct redis_value *record);

/* The public client that every tenant has for `slipway login`: its id is made of the tenant's. */
void client_of_commands(struct str tenant, char id[ID_UUID]);
void client_put_of_commands(struct commit *c, const struct settings *s);

bool client_has_grant(const struct client *c, const char *name);

/* What rows cannot say about a new client's members: its scopes are known, and it has keys where it signs. */
void client_check(const struct json *members, struct faults *faults);
/* Its scopes as OAuth writes them. */
struct str client_scopes(struct arena *a, const struct json *members);

struct client_new {
    struct space space;
    const struct json *members; /* checked */
    struct str created_by;
    int64_t now_ms;
    char id[ID_UUID], secret[ID_KEY_MAX]; /* made here; secret "" for one with keys */
    struct str document, shown;           /* as stored, and with the secret; STR_NONE: memory ran out */
};
/* Makes id, secret and documents; adds document and record to the commit. */
void client_put(struct client_new *n, const struct settings *s, struct commit *c);
/* Takes a client back in the commit: no token of it is taken from then on, anywhere. Refused with RES_NOT_FOUND when
 * there is none. */
void client_end(const struct settings *s, struct commit *c, struct str id, int64_t now_ms);

#endif
