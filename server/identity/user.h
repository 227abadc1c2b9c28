/* People. A user is a document of the tenant (kind "user": server/identity/user_resource.c) and a credential's record,
 * on which everything depends that acts in the person's name (server/auth.h): fields kind "user", tenant, id, name,
 * email, roles (between commas), permissions, groups (the hashes of their records, between spaces: what its groups have
 * counts as its own, server/store/admit.lua), password (server/identity/password.h; "" none), totp (sealed; "" none),
 * `revoked` while the user is suspended, and last_login (ms). Emails are kept in lower case; the unique index of the
 * rows finds a user by one. */
#ifndef SERVER_IDENTITY_USER_H
#define SERVER_IDENTITY_USER_H

#include "lib/json.h"
#include "lib/op.h"
#include "server/code.h"
#include "server/store/commit.h"

#define USER_KIND "user"

struct redis_value;
struct settings;
struct worker;

struct user { /* as its record says; texts live in the arena */
    struct str id, tenant, email, name, roles, permissions, password;
    struct str totp, recovery; /* server/identity/second_factor.h */
    int64_t totp_step;
    int64_t valid_after_ms; /* when the password was changed: sessions from before are over */
    unsigned partition;
    bool suspended;
};

/* The key of its record; STR_NONE when memory ran out. */
struct str user_key(struct arena *a, const struct settings *s, struct space space, struct str id);
/* `record`: its whole hash. False when it is none, or memory ran out. */
bool user_read(struct user *out, struct arena *a, unsigned partition, const struct redis_value *record);

/* OK with NULL: there is no such user. The contract is lib/op.h's; what is found lives in the arena. */
typedef void user_then(void *arg, enum code c, const struct user *u);
enum code user_by_id(struct worker *w, struct arena *a, struct space space, struct str id, struct ops *asker,
                     user_then *then, void *arg);
/* `email` in any case. Two trips. */
enum code user_by_email(struct worker *w, struct arena *a, struct space space, struct str email, struct ops *asker,
                        user_then *then, void *arg);

/* Makes or changes the record, in a commit that does so with the document. What takes rights away needs commit_revoked
 * beside it. */
struct user_record {
    struct str id, email, name, roles; /* the email in lower case; roles between commas */
    const struct json *groups;         /* an array of ids; NULL: none */
    struct str hashed;                 /* a new password, from now_ms on; STR_NONE: as it is */
    int64_t now_ms;
    int64_t suspended_ms; /* 0: active */
};
void user_put(struct commit *c, const struct settings *s, const struct user_record *u);
/* With the document goes everything in the person's name. */
void user_end(struct commit *c, const struct settings *s, struct str id, int64_t now_ms);
/* In a commit. What ends somebody's sessions or takes rights away needs commit_revoked beside it. */
void user_set(struct commit *c, const struct settings *s, struct str id, const char *field, struct str value);
/* Another password; sessions from before are over. */
void user_set_password(struct commit *c, const struct settings *s, struct str id, struct str hashed, int64_t now_ms);
/* Notes a login. */
void user_touch(struct commit *c, const struct settings *s, struct str id, int64_t now_ms);

#endif
