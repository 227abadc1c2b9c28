/* Writing: what a tree says in canonical form (RFC 8785), and texts that are written without one. */
#include "lib/json.h"

#include "lib/clock.h"
#include "lib/must.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Compares as UTF-16 code units would: in UTF-8 that differs only for U+E000..U+FFFF (which start with 0xee or 0xef)
 * against what lies above them (0xf0 and up), since surrogates sort below. */
static int compare_names(struct str a, struct str b)
{
    size_t i = 0;
    while (i < a.n && i < b.n && a.p[i] == b.p[i])
        i++;
    if (i == a.n || i == b.n)
        return (a.n > b.n) - (a.n < b.n);
    unsigned char x = (unsigned char)a.p[i], y = (unsigned char)b.p[i];
    bool swapped = x >= 0xee && y >= 0xee && (x >= 0xf0) != (y >= 0xf0);
    return (x < y) != swapped ? -1 : 1;
}

struct member {
    struct str name;
    const struct json *value;
};

static int compare_members(const void *a, const void *b)
{
    return compare_names(((const struct member *)a)->name, ((const struct member *)b)->name);
}

static void write_members(struct buf *b, const struct json *object, struct member *members)
{
    size_t n = 0;
    bool sorted = true;
    for (struct json_iter it = json_members(object); json_next(&it); n++) {
        members[n] = (struct member){it.name, it.value};
        sorted = sorted && (n == 0 || compare_members(&members[n - 1], &members[n]) < 0);
    }
    if (!sorted)
        qsort(members, n, sizeof *members, compare_members);
    for (size_t i = 0; i < n; i++) {
        if (i > 0)
            buf_char(b, ',');
        json_write_string(b, members[i].name);
        buf_char(b, ':');
        json_write(b, members[i].value);
    }
}

static void write_object(struct buf *b, const struct json *object)
{
    struct member few[32], *members = few;
    size_t n = json_count(object);
    if (n > ARRAY_LEN(few) && (members = calloc(n, sizeof *members)) == NULL) {
        b->failed = true;
        return;
    }
    buf_char(b, '{');
    write_members(b, object, members);
    buf_char(b, '}');
    if (members != few)
        free(members);
}

static void write_array(struct buf *b, const struct json *array)
{
    buf_char(b, '[');
    for (size_t i = 0; i < json_count(array); i++) {
        if (i > 0)
            buf_char(b, ',');
        json_write(b, json_at(array, i));
    }
    buf_char(b, ']');
}

void json_write(struct buf *b, const struct json *j)
{
    switch (json_type(j)) {
    case JSON_ABSENT:
    case JSON_NULL:
        buf_z(b, "null");
        break;
    case JSON_BOOL:
        buf_z(b, json_bool(j, false) ? "true" : "false");
        break;
    case JSON_INT:
        buf_i64(b, json_int(j, 0));
        break;
    case JSON_REAL:
        json_write_real(b, json_real(j, 0));
        break;
    case JSON_STRING:
        json_write_string(b, json_str(j));
        break;
    case JSON_ARRAY:
        write_array(b, j);
        break;
    case JSON_OBJECT:
        write_object(b, j);
        break;
    }
}

static void write_escape(struct buf *b, unsigned char c)
{
    static const char *const short_form[0x20] = {
        ['\b'] = "\\b", ['\t'] = "\\t", ['\n'] = "\\n", ['\f'] = "\\f", ['\r'] = "\\r"};
    if (c == '"' || c == '\\')
        buf_add(b, (char[]){'\\', (char)c}, 2);
    else if (short_form[c] != NULL)
        buf_add(b, short_form[c], 2);
    else
        buf_add(b, (char[]){'\\', 'u', '0', '0', "01"[c >> 4], "0123456789abcdef"[c & 15]}, 6);
}

static void write_valid(struct buf *b, struct str s)
{
    size_t from = 0;
    for (size_t i = 0; i < s.n; i++) {
        unsigned char c = (unsigned char)s.p[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        buf_add(b, s.p + from, i - from);
        write_escape(b, c);
        from = i + 1;
    }
    buf_add(b, s.p + from, s.n - from);
}

/* None of eight bytes is a quote, a backslash, below a space or above ASCII. */
static bool eight_stand_for_themselves(uint64_t x)
{
    const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
    uint64_t quotes = x ^ ones * '"', slashes = x ^ ones * '\\';
    return ((x | (x - ones * 0x20) | (quotes - ones) | (slashes - ones)) & highs) == 0;
}

static uint64_t eight_at(const char *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

static uint64_t four_at(const char *p)
{
    uint32_t x;
    memcpy(&x, p, sizeof x);
    return x;
}

/* Most strings stand for themselves from end to end. The last bytes may be looked at twice. */
static bool stands_for_itself(struct str s)
{
    size_t i = 0;
    if (s.n >= 8) {
        while (i + 8 < s.n && eight_stand_for_themselves(eight_at(s.p + i)))
            i += 8;
        return i + 8 >= s.n && eight_stand_for_themselves(eight_at(s.p + s.n - 8));
    }
    if (s.n >= 4)
        return eight_stand_for_themselves(four_at(s.p) | four_at(s.p + s.n - 4) << 32);
    while (i < s.n && s.p[i] >= 0x20 && s.p[i] != '"' && s.p[i] != '\\')
        i++;
    return i == s.n;
}

static void write_as_it_is(struct buf *b, struct str s)
{
    if (!buf_reserve(b, s.n + 2))
        return;
    char *to = b->p + b->n;
    *to++ = '"';
    if (s.n > 0)
        memcpy(to, s.p, s.n);
    to[s.n] = '"';
    b->n += s.n + 2;
}

void json_write_string(struct buf *b, struct str s)
{
    if (stands_for_itself(s)) {
        write_as_it_is(b, s);
        return;
    }
    buf_char(b, '"');
    while (s.n > 0) {
        size_t good = str_utf8_valid(s);
        if (good > 0)
            write_valid(b, str_slice(s, 0, good));
        s = str_slice(s, good, s.n);
        if (s.n > 0) {
            buf_z(b, "\xef\xbf\xbd");
            s = str_slice(s, 1, s.n);
        }
    }
    buf_char(b, '"');
}

/* A finite number above zero as digits d1d2..dk without zeros at the end, and n with v = 0.d1d2..dk × 10^n. */
struct decimal {
    char digits[20];
    int k, n;
};

static bool reads_back(double v, int precision, char text[32])
{
    snprintf(text, 32, "%.*e", precision - 1, v);
    return strtod(text, NULL) == v;
}

/* Just above a power of two the next double below is nearer than the one above. There the nearest decimal of 16 digits
 * may read as the neighbour below while the one a unit higher still reads as v, and is the shortest. */
static bool next_reads_back(double v, char text[32])
{
    int exponent;
    if (frexp(v, &exponent) != 0.5)
        return false;
    char *end = strchr(text, 'e');
    for (char *p = end - 1; p > text; p--) {
        if (*p == '.')
            continue;
        if (++*p <= '9')
            break;
        *p = '0';
    }
    return strtod(text, NULL) == v;
}

static struct decimal shortest(double v)
{
    char text[32];
    int precision = v < DBL_MIN ? 1 : 15; /* 15 digits always survive, but not where bits are missing */
    while (!reads_back(v, precision, text) && !(precision == 16 && next_reads_back(v, text)))
        precision++;
    struct decimal d = {.n = atoi(strchr(text, 'e') + 1) + 1};
    for (const char *p = text; *p != 'e'; p++)
        if (*p != '.')
            d.digits[d.k++] = *p;
    while (d.k > 1 && d.digits[d.k - 1] == '0')
        d.k--;
    return d;
}

static void zeros(struct buf *b, int n)
{
    while (n-- > 0)
        buf_char(b, '0');
}

/* ECMAScript's Number::toString, radix 10. */
static void write_decimal(struct buf *b, struct decimal d)
{
    size_t k = (size_t)d.k;
    if (d.n >= d.k && d.n <= 21) {
        buf_add(b, d.digits, k);
        zeros(b, d.n - d.k);
    } else if (d.n > 0 && d.n < d.k) {
        buf_add(b, d.digits, (size_t)d.n);
        buf_char(b, '.');
        buf_add(b, d.digits + d.n, k - (size_t)d.n);
    } else if (d.n > -6 && d.n <= 0) {
        buf_z(b, "0.");
        zeros(b, -d.n);
        buf_add(b, d.digits, k);
    } else {
        buf_char(b, d.digits[0]);
        if (k > 1)
            buf_char(b, '.');
        buf_add(b, d.digits + 1, k - 1);
        buf_z(b, d.n > 0 ? "e+" : "e");
        buf_i64(b, d.n - 1);
    }
}

void json_write_real(struct buf *b, double v)
{
    if (!isfinite(v)) {
        buf_z(b, "null");
        return;
    }
    if (v < 0)
        buf_char(b, '-');
    v = fabs(v);
    if (v < 0x1p53 && v == (double)(int64_t)v)
        buf_i64(b, (int64_t)v);
    else
        write_decimal(b, shortest(v));
}

void json_out_init(struct json_out *o, struct buf *b)
{
    *o = (struct json_out){.b = b};
}

static void separate(struct json_out *o)
{
    uint64_t bit = 1ull << o->depth;
    if (o->filled & bit)
        buf_char(o->b, ',');
    o->filled |= bit;
}

void json_open(struct json_out *o, char bracket)
{
    separate(o);
    buf_char(o->b, bracket);
    must(o->depth < 63);
    o->depth++;
    o->filled &= ~(1ull << o->depth);
}

void json_close(struct json_out *o, char bracket)
{
    must(o->depth > 0);
    o->depth--;
    buf_char(o->b, bracket);
}

/* The value that follows is not separated from its key: until then its depth counts as empty. */
void json_key(struct json_out *o, struct str name)
{
    separate(o);
    json_write_string(o->b, name);
    buf_char(o->b, ':');
    o->filled &= ~(1ull << o->depth);
}

void json_put_str(struct json_out *o, struct str s)
{
    separate(o);
    json_write_string(o->b, s);
}

void json_put_z(struct json_out *o, const char *z)
{
    if (z == NULL)
        json_put_null(o);
    else
        json_put_str(o, str_z(z));
}

void json_put_names(struct json_out *o, struct str list)
{
    json_open(o, '[');
    while (list.n > 0) {
        size_t n = 0;
        while (n < list.n && list.p[n] != ',' && list.p[n] != ' ')
            n++;
        if (n > 0)
            json_put_str(o, str_slice(list, 0, n));
        list = str_slice(list, n + 1, list.n);
    }
    json_close(o, ']');
}

struct str json_names(struct arena *a, struct str list)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, a, 256);
    json_out_init(&o, &b);
    json_put_names(&o, list);
    return b.failed ? STR_NONE : buf_view(&b);
}

void json_put_int(struct json_out *o, int64_t v)
{
    separate(o);
    buf_i64(o->b, v);
}

void json_put_real(struct json_out *o, double v)
{
    separate(o);
    json_write_real(o->b, v);
}

void json_put_bool(struct json_out *o, bool v)
{
    json_put_raw(o, v ? S("true") : S("false"));
}

void json_put_null(struct json_out *o)
{
    json_put_raw(o, S("null"));
}

void json_put_raw(struct json_out *o, struct str text)
{
    separate(o);
    buf_str(o->b, text);
}

void json_put(struct json_out *o, const struct json *j)
{
    separate(o);
    json_write(o->b, j);
}

void json_put_time(struct json_out *o, int64_t unix_ms)
{
    char text[CLOCK_TEXT];
    clock_text(unix_ms, text);
    json_put_z(o, text);
}
