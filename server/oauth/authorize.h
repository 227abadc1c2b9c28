/* The authorization endpoint (RFC 6749 §3.1, OAuth 2.1): a person at a browser lets a client act in their name. Answers the
 * login page, the consent page, and at last a redirect to the client with a code; or with an error (§4.1.2.1), once it is
 * certain that the redirect URI is the client's, before that a page. `iss` is in each (RFC 9207). PKCE with S256 is
 * mandatory. The page's form comes back with everything that was asked, and all of it is checked again. */
#ifndef SERVER_OAUTH_AUTHORIZE_H
#define SERVER_OAUTH_AUTHORIZE_H

#include "server/request.h"

enum { AUTHORIZE_STATE_MAX = 1024 }; /* bytes of `state` */

enum flow authorize_ask(struct request *r);    /* GET */
enum flow authorize_answer(struct request *r); /* POST: the consent page's form */
struct html;                                   /* server/identity/page.h */
/* What scopes are about, as a list. */
void authorize_show_scopes(struct html *p, struct str scopes);
extern const struct field authorize_rows[], authorize_form_rows[];

#endif
