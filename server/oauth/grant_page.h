/* What a person lets programs do, on the account page: the grants in their name, each with a way to take it back. */
#ifndef SERVER_OAUTH_GRANT_PAGE_H
#define SERVER_OAUTH_GRANT_PAGE_H

#include "server/identity/page.h"
#include "server/identity/signed_in.h"

enum { GRANTS_SHOWN = 32 }; /* those that live longest */

struct grants_shown { /* in the request's arena */
    struct grant_shown {
        struct str id, client, scope; /* client: its name */
        int64_t created_ms;
    } list[GRANTS_SHOWN];
    size_t n;
};
/* Reads those of who is signed in. WAIT: `then` runs on a live request, or a page said what is wrong. */
typedef void grants_then(struct request *r, const struct signed_in *s, const struct grants_shown *grants);
enum flow grants_read(struct request *r, const struct signed_in *s, grants_then *then);
/* The part of the page; nothing when there are none. */
void grants_show(struct html *p, const struct grants_shown *grants);

#endif
