/* What a person lets a client do in their name. A grant is a credential (server/auth.h) of kind "grant", `of` the person
 * and the client, and named by the claim `sid` of its access tokens: with it end all of them. It lives as long as its
 * refresh token is renewed.
 *
 * It comes from an authorization code (RFC 6749 §4.1): a record of kind "code", good once and for GRANT_CODE_MS, with
 * what it is bound to. A refresh token (§6) is a record of kind "refresh", good once as well: each is replaced by the
 * next, and one that comes a second time was stolen, or its successor was: the grant ends (RFC 9700 §4.14.2). */
#ifndef SERVER_OAUTH_GRANT_H
#define SERVER_OAUTH_GRANT_H

#include "lib/id.h"
#include "server/request.h"
#include "server/store/commit.h"

enum {
    GRANT_CODE_MS = 60000,
    GRANT_REMEMBER_MS = 600000, /* how long a used code is known as such */
    GRANT_CHALLENGE = 43        /* characters of a PKCE challenge (RFC 7636 §4.2) */
};

#define GRANT_CODE_PREFIX    "slac"
#define GRANT_REFRESH_PREFIX "slrt"
#define GRANT_DEVICE_PREFIX  "sldc"

struct client; /* server/oauth/client.h */

struct grant { /* texts live in the arena */
    struct str id, user, user_name, client, scope;
    unsigned partition;
    struct str tenant;
    int64_t since_ms; /* when the person gave their password */
};

struct redis_value;
/* Of its record, or of that of a code. False when memory ran out. */
bool grant_read(struct grant *out, struct arena *a, unsigned partition, const struct redis_value *record);
/* Both in a commit of the tenant. `client_name`: for the person, who finds the grant among key_user_grants. */
void grant_begin(struct commit *c, const struct settings *s, const struct grant *g, struct str client_name,
                 int64_t now_ms);
void grant_end(struct commit *c, const struct settings *s, struct str id, int64_t now_ms);
struct str grant_key(struct arena *a, const struct settings *s, unsigned partition, struct str id);

/* Makes an authorization code. */
struct code_terms {
    const struct grant *grant;
    struct str redirect_uri, challenge;
};
void grant_put_code(struct commit *c, const struct settings *s, const struct code_terms *t, int64_t now_ms,
                    char code[ID_KEY_MAX]);
/* Makes a refresh token of the grant, and lets both live on for refresh-token-ttl. */
void grant_put_refresh(struct commit *c, const struct settings *s, const struct grant *g, int64_t now_ms,
                       char token[ID_KEY_MAX]);

/* The grants of the token endpoint: authorization_code, refresh_token, device_code. */
enum flow grant_redeem(struct request *r, const struct client *c);
enum flow grant_refresh(struct request *r, const struct client *c);
enum flow grant_device(struct request *r, const struct client *c);
/* Whether the text is a refresh token of ours. */
bool grant_is_refresh(struct str token, unsigned *partition);

#endif
