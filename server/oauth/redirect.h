/* Where the authorization endpoint sends people back to (RFC 6749 §3.1.2, RFC 8252, RFC 9700 §2.1). */
#ifndef SERVER_OAUTH_REDIRECT_H
#define SERVER_OAUTH_REDIRECT_H

#include "lib/str.h"

enum { REDIRECTS_MAX = 8, REDIRECT_LENGTH_MAX = 512 }; /* of one client */

/* What is wrong with a redirect URI that a client registers, to be said after its name; NULL: nothing. It is an https URL,
 * http on loopback, or one with a private-use scheme that has a dot, as com.example.app:/back; without a fragment. */
const char *redirect_fault(struct str uri);
/* Whether `uri` is one of `list` (between spaces), byte by byte; on loopback by IP address any port will do
 * (RFC 8252 §7.3). */
bool redirect_matches(struct str list, struct str uri);
/* What a form's answer may lead to, for the page's policy: "https://app.example", or "com.example.app:". Part of `uri`. */
struct str redirect_origin(struct str uri);

#endif
