/* Codes of an authenticator (RFC 6238: HMAC-SHA-1, six digits, 30 seconds): the second factor of a login. */
#ifndef SERVER_IDENTITY_TOTP_H
#define SERVER_IDENTITY_TOTP_H

#include "lib/str.h"

enum { TOTP_BYTES = 20, TOTP_TEXT = 33, TOTP_STEP_S = 30, TOTP_DIGITS = 6 };

void totp_make(uint8_t secret[TOTP_BYTES]);
/* As authenticators take it: base32 (RFC 4648 §6) without padding. */
void totp_text(const uint8_t secret[TOTP_BYTES], char out[TOTP_TEXT]);
/* Whether it is the code of now, of the step before, or of the one behind; `step` is which. Each may count once: whoever
 * checks takes only steps beyond the last (RFC 6238 §5.2). */
bool totp_check(const uint8_t secret[TOTP_BYTES], struct str code, int64_t now_s, int64_t *step);

#endif
