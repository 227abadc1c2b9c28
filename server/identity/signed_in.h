/* Who sits at the browser. A browser session is a credential (server/auth.h) of kind "session", `of` its user; its secret
 * is a cookie. It opens pages only: what is under an API authenticates by bearer tokens, never by a cookie. */
#ifndef SERVER_IDENTITY_SIGNED_IN_H
#define SERVER_IDENTITY_SIGNED_IN_H

#include "server/identity/user.h"
#include "server/request.h"

struct signed_in { /* texts live in the request's arena */
    struct user user;
    struct str id;              /* of the session */
    char credential[65];        /* how the store finds it */
    int64_t since_ms, until_ms; /* when the password was given; when it is over */
    int64_t tries;              /* wrong codes of a half one (server/identity/second_factor.h) */
    struct str pending;         /* the sealed secret of a second factor that is not yet on */
};

/* Calls `then` once, with r->caller set to the user (and what they may now); or answers, with a redirect to the login page
 * that leads back here. Nobody is signed in whose chain is not good. */
typedef enum flow signed_in_then(struct request *r, const struct signed_in *s);
enum flow signed_in(struct request *r, signed_in_then *then);
/* The same, but who is not signed in is answered by `otherwise`. */
enum flow signed_in_or(struct request *r, signed_in_then *then, enum flow (*otherwise)(struct request *r));
/* The same for who has given the password and not yet the code of the authenticator (kind "half", SESSION_HALF_MS). */
enum flow signed_in_half(struct request *r, signed_in_then *then);
enum { SESSION_HALF_MS = 300000 };

/* In the commit of a login: makes the session, or half of one, and sets its cookie. */
void session_begin(struct commit *c, struct request *r, const struct user *u, bool half, int64_t now_ms);
/* In a commit: ends it. */
void session_end(struct commit *c, const struct signed_in *s);
void session_forget(struct request *r, bool half); /* takes the cookie away */

/* Where to go after a login: the form's or the query's `return_to` if it is a path of ours, else the account. */
struct str return_to(struct request *r, struct str wanted);

#endif
