/* The second factor of a login: codes of an authenticator (totp.h), or one of the recovery codes that were shown when it was
 * turned on. The secret is sealed in the user's record (field totp), beside the last step that counted (totp_step) and
 * the hashes of the recovery codes (recovery, between spaces). */
#ifndef SERVER_IDENTITY_SECOND_FACTOR_H
#define SERVER_IDENTITY_SECOND_FACTOR_H

#include "server/identity/page.h"
#include "server/identity/signed_in.h"

enum { SECOND_FACTOR_TRIES_MAX = 5, RECOVERY_CODES = 8 }; /* wrong codes after one password */

/* Leads to the page that asks for the code; the half session is begun already. */
enum flow second_factor_ask(struct request *r);
/* Its part of the account page. */
void second_factor_show(struct html *p, const struct user *u);

#endif
