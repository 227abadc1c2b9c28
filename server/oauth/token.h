/* Access tokens of clients: given out, looked at, taken back. The endpoints are rows in token.c; the handlers of the latter
 * two are in token_state.c. */
#ifndef SERVER_OAUTH_TOKEN_H
#define SERVER_OAUTH_TOKEN_H

#include "server/request.h"

enum flow token_revoke(struct request *r);     /* RFC 7009 */
enum flow token_introspect(struct request *r); /* RFC 7662 */

struct client; /* server/oauth/client.h */
struct commit;
struct commit_result;
struct grant; /* server/oauth/grant.h */

/* What is asked for comes to: an access token for the scope of the request, or a refusal. It and all it points to live in
 * the request's arena. */
struct token_order {
    const struct client *client;
    struct str scope;          /* what may be given at most */
    struct str subject;        /* whose identity token was exchanged, for people; STR_NONE: none was */
    const struct grant *grant; /* of a person; NULL: the token is the client's own */
    struct str refresh;        /* a refresh token to answer with; STR_NONE: none */
    struct commit *commit;     /* begun, with what is to be written beside; NULL: nothing is */
    bool (*refused)(struct request *r, const struct commit_result *result); /* true: it answered; NULL: never does */
};
enum flow token_give(struct request *r, const struct token_order *o);
/* The scope that the form asks for, every part of it covered by `most`; all of that when it asks for none. OK, or a
 * refusal. */
enum code token_scope(struct request *r, struct str most, struct str *scope);

/* The grants, for the metadata. False behind the last. */
bool token_grant(size_t i, const char **name);

#endif
