/* Tenants and API keys by hand: what `slipway key` does, and what a first start needs.
 *
 * A tenant's id is made from its name, so it needs no directory: every instance finds the same one. A tenant and a key
 * are documents (kinds "tenant" and "key") in the tenant's own space; a key's secret is shown once and only its hash is
 * kept, as the name of the credential's record (server/auth.h). */
#ifndef SERVER_CREDENTIAL_H
#define SERVER_CREDENTIAL_H

#include "lib/arena.h"
#include "lib/id.h"
#include "lib/op.h"
#include "server/code.h"

struct commit;
struct redis_value;
struct settings;
struct store;

#define FIRST_TENANT "default" /* the tenant that every installation begins with */

/* The id of the tenant called `name`, or `name` itself when it is a UUID. */
void tenant_id(struct str name, char out[ID_UUID]);

struct credential {
    char tenant[ID_UUID];
    struct str tenant_name;        /* of the tenant's document, made when it is missing */
    struct str name;               /* of the key, for people */
    struct str roles, permissions; /* names between commas */
    struct str networks;           /* from where it may be used, between commas; STR_NONE: from everywhere */
    struct str user;               /* whose it is, with which it ends; STR_NONE: the tenant's */
    const char *prefix;            /* server/identity/key_flavour.h; NULL: slp */
    unsigned tier;
    int64_t expires_ms;      /* 0: never */
    bool first;              /* refuse with RES_ALREADY_EXISTS when the tenant is there already */
    char id[ID_UUID];        /* made here, by credential_make */
    char secret[ID_KEY_MAX]; /* made here unless it is given */
};
/* Fills in id and secret. */
void credential_make(struct credential *c, int64_t now_ms);

/* What is wrong with roles and permissions, as a sentence in the arena; STR_NONE: nothing. */
struct str credential_fault(struct arena *a, struct str roles, struct str permissions);

/* Creating and revoking are entries of the audit trail, in the very commit.
 * All of these follow lib/op.h: OK, and `then` runs once, later; texts in `arena`, which must live until then. */
typedef void credential_then(void *arg, enum code c, struct str text);
/* Stores it; `text` is its document. */
enum code credential_create(const struct settings *s, struct store *store, struct arena *arena, struct credential *k,
                            struct ops *asker, credential_then *then, void *arg);
/* Takes a key (by its id) or an access token (by its jti) back, at once and for all workers; `text` is the key's
 * document, or STR_NONE for a token. */
enum code credential_revoke(const struct settings *s, struct store *store, struct arena *arena, struct str tenant,
                            struct str id, struct ops *asker, credential_then *then, void *arg);
/* Gives the key k->id of k->tenant another secret, k->secret; the old one is good for so long. RES_NOT_FOUND, or
 * RES_INVALID_STATE for one that was taken back or is over. `k` must live until then; `text` is the key's document. */
enum code credential_rotate(const struct settings *s, struct store *store, struct arena *arena, struct credential *k,
                            int64_t overlap_ms, struct ops *asker, credential_then *then, void *arg);
/* `text`: a JSON array of the tenant's documents of the kind ("key", "client"), oldest first, at most 1,000. */
enum code credential_list(struct store *store, struct arena *arena, struct str tenant, const char *kind,
                          struct ops *asker, credential_then *then, void *arg);
/* Notes in the directory of tenants, for `slipway tenant list`; status: active or suspended. */
void tenant_note(struct commit *c, const char *tenant, const char *status, struct str name);
/* Adds the tenant's document to a commit that makes something in a tenant without one. */
void credential_put_tenant(struct commit *c, const struct settings *s, const char *tenant, struct str name,
                           int64_t now_ms);

/* Before a process serves: the keyring must be the one of the data set (its new keys are noted there), and a data set
 * without the tenant "default" gets it, with an admin key in DATA/admin.key (mode 0600). Not OK: `text` says why;
 * SYS_STORAGE and SYS_OVERLOADED are worth another try. */
enum code credential_start(const struct settings *s, struct store *store, struct arena *arena, struct ops *asker,
                           credential_then *then, void *arg);

#endif
