#include "server/identity/totp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* RFC 6238 appendix B, SHA-1, the last six of its eight digits. */
static const uint8_t secret[TOTP_BYTES] = "12345678901234567890";

static void rfc_6238_b_the_codes_of_its_table(void **state)
{
    static const struct {
        int64_t time;
        const char *code;
    } rows[] = {{59, "287082"},         {1111111109, "081804"}, {1111111111, "050471"},
                {1234567890, "005924"}, {2000000000, "279037"}, {20000000000, "353130"}};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        int64_t step = 0;
        assert_true(totp_check(secret, str_z(rows[i].code), rows[i].time, &step));
        assert_int_equal(step, rows[i].time / TOTP_STEP_S);
    }
}

static void rfc_6238_5_2_one_step_of_drift_and_no_more(void **state)
{
    int64_t step = 0;
    (void)state;
    assert_true(totp_check(secret, S("005924"), 1234567890 + 30, &step));
    assert_int_equal(step, 1234567890 / 30);
    assert_true(totp_check(secret, S("005924"), 1234567890 - 30, &step));
    assert_false(totp_check(secret, S("005924"), 1234567890 + 60, &step));
    assert_false(totp_check(secret, S("05924"), 1234567890, &step));
    assert_false(totp_check(secret, S(""), 1234567890, &step));
}

static void rfc_4648_10_a_secret_is_base32(void **state)
{
    char text[TOTP_TEXT];
    (void)state;
    totp_text(secret, text);
    assert_string_equal(text, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(rfc_6238_b_the_codes_of_its_table),
        cmocka_unit_test(rfc_6238_5_2_one_step_of_drift_and_no_more),
        cmocka_unit_test(rfc_4648_10_a_secret_is_base32),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
