/* Keys: what people and programs call themselves by that have no OAuth client. A key is a document of its tenant (kind
 * "key": server/identity/key_resource.c, and `slipway key`) whose hash has the name of its record under "credential", and
 * that record (server/auth.h). A rotated key has two records for as long as the old secret is good. All of them depend on
 * the record of the key itself, auth_subject "key", which is only there once the key was taken back. */
#ifndef SERVER_IDENTITY_KEY_H
#define SERVER_IDENTITY_KEY_H

#include "server/identity/key_flavour.h"
#include "server/store/commit.h"

struct faults;
struct json;
struct overlays; /* server/document.h */
struct settings;

#define KEY_KIND "key"
enum {
    KEY_DAYS_MAX = 3660,          /* of a key's time */
    KEY_OVERLAP_MAX = 30 * 86400, /* seconds for which a rotated key's old secret is good */
    KEY_HINT = 4,                 /* characters behind the partition that a hint shows */
};

struct key {                                                   /* what its document and its records say */
    struct str id, name, prefix, roles, permissions, networks; /* lists: between commas */
    struct str user;                                           /* STR_NONE: the tenant's */
    unsigned tier;
    int64_t expires_ms; /* 0: never */
};
/* From the document. SYS_OVERLOADED when memory ran out, SYS_INTERNAL for one that says what it cannot. */
enum code key_read(struct arena *a, const struct json *document, struct key *out);
/* "revoked", "expired"; NULL: it is good. */
const char *key_state(const struct json *document, const struct key *k, int64_t now_ms);

/* A new secret, in the commit: its record, and the record's name in the key's document. */
void key_put(struct commit *c, const struct settings *s, const struct key *k, struct str secret);
/* Another secret for a key; that of the record `credential` is good until then. What the document says of it is in `set`. */
void key_rotate(struct commit *c, const struct settings *s, const struct key *k, struct str credential,
                int64_t until_ms, int64_t now_ms, char secret[ID_KEY_MAX], struct overlays *set);
/* Takes the key back with all of its secrets; `hex` is the last one's record. */
void key_end(struct commit *c, const struct settings *s, struct str id, struct str hex, int64_t now_ms);

/* How a secret begins, for people to know it by. */
struct str key_hint(struct arena *a, struct str secret);
/* Whether these are not more than keys of the flavour may do. */
bool key_fits(struct arena *a, const struct key_flavour *f, struct str roles, struct str permissions);
/* The permissions that a scope grants, between commas; STR_NONE when memory ran out. */
struct str key_permissions(struct arena *a, struct str scope);
/* What rows cannot say: that networks are networks. */
void key_check(const struct json *members, struct faults *faults);

#endif
