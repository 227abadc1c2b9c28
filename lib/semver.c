#include "lib/semver.h"

#include <string.h>

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool all_digits(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!is_digit(s.p[i]))
            return false;
    return s.n > 0;
}

/* §2: no leading zeros. */
static bool number(struct str s, uint64_t *out)
{
    return all_digits(s) && (s.n == 1 || s.p[0] != '0') && str_u64(s, out);
}

/* §9, §10: dot-separated identifiers of letters, digits and hyphens; numeric ones of a prerelease without leading zeros. */
static bool identifiers(struct str s, bool strict)
{
    for (struct str rest = s; rest.p != NULL;) {
        struct str one = str_cut(&rest, '.');
        uint64_t value;
        if (one.n == 0 || (strict && all_digits(one) && !number(one, &value)))
            return false;
        for (size_t i = 0; i < one.n; i++)
            if (!is_digit(one.p[i]) && one.p[i] != '-' && !((one.p[i] | 0x20) >= 'a' && (one.p[i] | 0x20) <= 'z'))
                return false;
    }
    return true;
}

bool semver_parse(struct str text, struct semver *out)
{
    struct semver v = {0};
    struct str rest = str_starts(text, S("v")) ? str_slice(text, 1, text.n) : text;
    ptrdiff_t plus = str_index(rest, '+');

    if (plus >= 0) {
        v.build = str_slice(rest, (size_t)plus + 1, rest.n);
        rest = str_slice(rest, 0, (size_t)plus);
        if (v.build.n == 0 || !identifiers(v.build, false))
            return false;
    }
    ptrdiff_t dash = str_index(rest, '-');
    if (dash >= 0) {
        v.prerelease = str_slice(rest, (size_t)dash + 1, rest.n);
        rest = str_slice(rest, 0, (size_t)dash);
        if (v.prerelease.n == 0 || !identifiers(v.prerelease, true))
            return false;
    }
    uint64_t *const parts[] = {&v.major, &v.minor, &v.patch};
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (rest.p == NULL || !number(str_cut(&rest, '.'), parts[i]))
            return false;
    if (rest.p != NULL)
        return false;
    *out = v;
    return true;
}

static int cmp_numbers(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

static int cmp_identifiers(struct str a, struct str b)
{
    bool a_number = all_digits(a), b_number = all_digits(b);

    if (a_number != b_number)
        return a_number ? -1 : 1;
    if (a_number && a.n != b.n)
        return cmp_numbers(a.n, b.n);
    int c = str_cmp(a, b);
    return (c > 0) - (c < 0);
}

static int cmp_prereleases(struct str a, struct str b)
{
    if (a.n == 0 || b.n == 0)
        return (a.n == 0) - (b.n == 0);
    while (a.p != NULL && b.p != NULL) {
        int c = cmp_identifiers(str_cut(&a, '.'), str_cut(&b, '.'));
        if (c != 0)
            return c;
    }
    return (a.p != NULL) - (b.p != NULL);
}

int semver_cmp(const struct semver *a, const struct semver *b)
{
    int c = cmp_numbers(a->major, b->major);

    c = c != 0 ? c : cmp_numbers(a->minor, b->minor);
    c = c != 0 ? c : cmp_numbers(a->patch, b->patch);
    return c != 0 ? c : cmp_prereleases(a->prerelease, b->prerelease);
}

/* Three numbers of equal width, then '~' for a release, which is above '-' for a prerelease; of its identifiers numbers
 * come before texts, and '!', below every character of an identifier, ends each. */
void semver_key(struct buf *b, const struct semver *v)
{
    buf_printf(b, "%020llu.%020llu.%020llu%c", (unsigned long long)v->major, (unsigned long long)v->minor,
               (unsigned long long)v->patch, v->prerelease.n == 0 ? '~' : '-');
    for (struct str rest = v->prerelease; rest.n > 0;) {
        struct str one = str_cut(&rest, '.');
        if (all_digits(one))
            buf_printf(b, "0%04zu", one.n);
        else
            buf_char(b, '1');
        buf_str(b, one);
        buf_char(b, '!');
    }
}

void semver_write(struct buf *b, const struct semver *v)
{
    buf_printf(b, "%llu.%llu.%llu", (unsigned long long)v->major, (unsigned long long)v->minor,
               (unsigned long long)v->patch);
    if (v->prerelease.n > 0) {
        buf_char(b, '-');
        buf_str(b, v->prerelease);
    }
    if (v->build.n > 0) {
        buf_char(b, '+');
        buf_str(b, v->build);
    }
}

enum semver_change semver_change(const struct semver *from, const struct semver *to)
{
    int c = semver_cmp(from, to);

    if (c == 0)
        return SEMVER_SAME;
    if (c > 0)
        return SEMVER_DOWNGRADE;
    if (to->major != from->major)
        return SEMVER_MAJOR;
    if (to->minor != from->minor)
        return SEMVER_MINOR;
    return to->patch != from->patch ? SEMVER_PATCH : SEMVER_PRERELEASE;
}
