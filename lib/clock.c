#include "lib/clock.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static _Thread_local int64_t fake = -1;

static uint64_t now_ns(clockid_t which)
{
    struct timespec t;
    clock_gettime(which, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int64_t clock_wall_ms(void)
{
    return fake >= 0 ? fake : (int64_t)(now_ns(CLOCK_REALTIME) / 1000000);
}

int64_t clock_wall_s(void)
{
    return fake >= 0 ? fake / 1000 : (int64_t)(now_ns(CLOCK_REALTIME_COARSE) / 1000000000u);
}

int64_t clock_mono_ms(void)
{
    return (int64_t)(clock_mono_ns() / 1000000);
}

uint64_t clock_mono_ns(void)
{
    return fake >= 0 ? (uint64_t)fake * 1000000 : now_ns(CLOCK_MONOTONIC);
}

void clock_fake(int64_t wall_ms)
{
    fake = wall_ms;
}

/* Days since 1970-01-01 and back, in the proleptic Gregorian calendar; years count from March in between, so that the
 * leap day is the last one. 719,468 days lie between 0000-03-01 and the epoch. */

enum { DAYS_TO_EPOCH = 719468, DAYS_PER_ERA = 146097, DAY_MS = 86400000 };
#define FIRST_MS INT64_C(-62167219200000) /* 0000-01-01T00:00:00.000Z */
#define LAST_MS  INT64_C(253402300799999) /* 9999-12-31T23:59:59.999Z */

static int64_t days_from_date(int64_t year, unsigned month, unsigned day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400;
    int64_t of_era = year - era * 400;
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * DAYS_PER_ERA + of_era * 365 + of_era / 4 - of_era / 100 + of_year - DAYS_TO_EPOCH;
}

static void date_from_days(int64_t days, int *year, unsigned *month, unsigned *day)
{
    days += DAYS_TO_EPOCH;
    int64_t era = (days >= 0 ? days : days - DAYS_PER_ERA + 1) / DAYS_PER_ERA;
    int64_t of_era = days - era * DAYS_PER_ERA;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned from_march = (unsigned)((5 * of_year + 2) / 153);
    *day = (unsigned)(of_year - (153 * from_march + 2) / 5 + 1);
    *month = from_march < 10 ? from_march + 3 : from_march - 9;
    *year = (int)(year_of_era + era * 400 + (*month <= 2));
}

static void digits(char *out, unsigned width, unsigned v)
{
    while (width-- > 0) {
        out[width] = (char)('0' + v % 10);
        v /= 10;
    }
}

void clock_text(int64_t unix_ms, char out[CLOCK_TEXT])
{
    if (unix_ms < FIRST_MS)
        unix_ms = FIRST_MS;
    if (unix_ms > LAST_MS)
        unix_ms = LAST_MS;
    int64_t days = unix_ms / DAY_MS - (unix_ms % DAY_MS < 0);
    unsigned ms = (unsigned)(unix_ms - days * DAY_MS), month, day;
    int year;
    date_from_days(days, &year, &month, &day);
    memcpy(out, "0000-00-00T00:00:00.000Z", CLOCK_TEXT);
    digits(out, 4, (unsigned)year);
    digits(out + 5, 2, month);
    digits(out + 8, 2, day);
    digits(out + 11, 2, ms / 3600000);
    digits(out + 14, 2, ms / 60000 % 60);
    digits(out + 17, 2, ms / 1000 % 60);
    digits(out + 20, 3, ms % 1000);
}

/* Takes exactly `width` digits and, unless it is NUL, the byte behind them. */
static bool take(struct str *s, unsigned width, char behind, unsigned *out)
{
    uint64_t v;
    if (s->n < width + (behind != '\0') || !str_u64(str_slice(*s, 0, width), &v))
        return false;
    if (behind != '\0' && s->p[width] != behind && !(behind == 'T' && s->p[width] == 't'))
        return false;
    *s = str_slice(*s, width + (behind != '\0'), s->n);
    *out = (unsigned)v;
    return true;
}

static unsigned days_in(unsigned year, unsigned month)
{
    static const unsigned char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

/* ".123456" if it is there; milliseconds, the rest is cut off. */
static bool take_fraction(struct str *s, unsigned *ms)
{
    *ms = 0;
    if (s->n == 0 || s->p[0] != '.')
        return true;
    size_t n = 1;
    while (n < s->n && s->p[n] >= '0' && s->p[n] <= '9')
        n++;
    for (size_t i = 1; i <= 3; i++)
        *ms = *ms * 10 + (i < n ? (unsigned)(s->p[i] - '0') : 0);
    *s = str_slice(*s, n, s->n);
    return n > 1;
}

static bool take_offset(struct str *s, int *minutes)
{
    unsigned hour, minute;
    *minutes = 0;
    if (s->n == 1 && (s->p[0] == 'Z' || s->p[0] == 'z'))
        return true;
    if (s->n != 6 || (s->p[0] != '+' && s->p[0] != '-'))
        return false;
    int sign = s->p[0] == '-' ? -1 : 1;
    *s = str_slice(*s, 1, s->n);
    if (!take(s, 2, ':', &hour) || !take(s, 2, '\0', &minute) || hour > 23 || minute > 59)
        return false;
    *minutes = sign * (int)(hour * 60 + minute);
    return true;
}

bool clock_parse(struct str text, int64_t *unix_ms)
{
    unsigned year, month, day, hour, minute, second, ms;
    int offset;
    if (!take(&text, 4, '-', &year) || !take(&text, 2, '-', &month) || !take(&text, 2, 'T', &day) ||
        !take(&text, 2, ':', &hour) || !take(&text, 2, ':', &minute) || !take(&text, 2, '\0', &second) ||
        !take_fraction(&text, &ms) || !take_offset(&text, &offset))
        return false;
    if (month < 1 || month > 12 || day < 1 || day > days_in(year, month) || hour > 23 || minute > 59 || second > 60)
        return false;
    int64_t minutes = days_from_date(year, month, day) * 1440 + hour * 60 + minute - offset;
    if (second == 60) { /* only ever inserted at the end of a UTC day */
        if ((minutes % 1440 + 1440) % 1440 != 1439)
            return false;
        second = 59, ms = 999;
    }
    int64_t result = minutes * 60000 + second * 1000 + ms;
    if (result < FIRST_MS || result > LAST_MS)
        return false;
    *unix_ms = result;
    return true;
}
