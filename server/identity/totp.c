#include "server/identity/totp.h"

#include "lib/crypto.h"
#include "lib/id.h"

#include <stdio.h>

void totp_make(uint8_t secret[TOTP_BYTES])
{
    random_bytes(secret, TOTP_BYTES);
}

void totp_text(const uint8_t secret[TOTP_BYTES], char out[TOTP_TEXT])
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    for (size_t i = 0; i < TOTP_TEXT - 1; i++) {
        size_t bit = 5 * i, at = bit / 8, shift = bit % 8;
        unsigned two = (unsigned)secret[at] << 8 | (at + 1 < TOTP_BYTES ? secret[at + 1] : 0U);
        out[i] = digits[two >> (11 - shift) & 31];
    }
    out[TOTP_TEXT - 1] = '\0';
}

/* RFC 4226 §5.3. */
static void code_of(const uint8_t secret[TOTP_BYTES], int64_t step, char out[TOTP_DIGITS + 1])
{
    char counter[8];
    uint8_t mac[CRYPTO_SHA1];
    for (int i = 0; i < 8; i++)
        counter[i] = (char)(step >> (56 - 8 * i));
    crypto_hmac_sha1((struct str){(const char *)secret, TOTP_BYTES}, (struct str){counter, sizeof counter}, mac);
    size_t at = mac[CRYPTO_SHA1 - 1] & 15U;
    uint32_t n = (mac[at] & 127U) << 24 | (uint32_t)mac[at + 1] << 16 | (uint32_t)mac[at + 2] << 8 | mac[at + 3];
    snprintf(out, TOTP_DIGITS + 1, "%06u", n % 1000000U);
}

bool totp_check(const uint8_t secret[TOTP_BYTES], struct str code, int64_t now_s, int64_t *step)
{
    bool found = false;
    char wanted[TOTP_DIGITS + 1];
    for (int64_t at = now_s / TOTP_STEP_S - 1; at <= now_s / TOTP_STEP_S + 1; at++) {
        code_of(secret, at, wanted);
        if (crypto_equal_str(str_z(wanted), code)) {
            found = true;
            *step = at;
        }
    }
    return found;
}
