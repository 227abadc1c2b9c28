/* Credit: the requests of a caller that a worker may let through before it tells the store, so that most of them cost no
 * trip of their own.
 *
 * The store counts exactly, and grants credit beside a charge: at most 5 requests of a caller at any time over all
 * workers of all instances, no more than 2 % of its limit in any window or 5 % of its burst, and none once a tenth or
 * less of one is left (server/store/admit.lua). What was used is told with the caller's next charge, or by a timer
 * before the grant is over at the store. So a limit may be exceeded by what is on credit when it is reached and by
 * nothing else, nobody is refused for credit that was not used, and a worker that dies takes at most its grant with
 * it. */
#ifndef SERVER_CREDIT_H
#define SERVER_CREDIT_H

#include "server/limit.h"
#include "server/request.h"
#include "server/store/admit.h"

struct credits; /* of one worker, for a bounded number of callers */

struct credits *credits_new(struct worker *w); /* NULL when memory ran out */
void credits_free(struct credits *all);        /* before the store closes */

/* True: one request of the caller is let through, and `rate` is what is known of its limits. */
bool credit_take(struct credits *all, const struct caller *caller, struct rate *rate);
/* Before a charge of the caller is sent: adds what was used, and a wish for more. NULL: whose it is will be told by the
 * answer. */
void credit_ask(struct credits *all, const struct caller *caller, struct admission *in);
/* What that charge, sent at `asked_ms` of the loop, came back with. */
void credit_got(struct credits *all, const struct caller *caller, const struct rate *rate, int64_t granted,
                int64_t asked_ms);

/* A build that was charged has come to nothing: the operation was refused, or is one that was done before. */
void credit_return_build(struct credits *all, const struct caller *caller);

#endif
