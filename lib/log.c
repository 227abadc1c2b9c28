#include "lib/log.h"

#include "lib/clock.h"
#include "lib/json.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum log_level log_threshold = LOG_INFO;

static enum log_format shape = LOG_TEXT;
static int descriptor = 2;
static bool colours;
static _Thread_local const char *request;

static const struct {
    const char *name, *colour;
} levels[] = {
    [LOG_DEBUG] = {"debug", "\x1b[2m"},
    [LOG_INFO] = {"info", "\x1b[32m"},
    [LOG_WARN] = {"warn", "\x1b[33m"},
    [LOG_ERROR] = {"error", "\x1b[31m"},
};

void log_setup(enum log_level level, enum log_format format, int fd)
{
    log_threshold = level;
    shape = format;
    descriptor = fd;
    colours = format == LOG_TEXT && isatty(fd) && getenv("NO_COLOR") == NULL;
}

void log_request(const char *id)
{
    request = id;
}

/* How often each event was seen lately. A few places, found by the event's hash; an event that meets another one in its
 * place takes it over, which at worst lets a line through. */

struct seen {
    const char *event;
    int64_t since;
    unsigned lines, held;
};

static bool let_through(const char *event, unsigned *held)
{
    static _Thread_local struct seen table[64];
    struct seen *s = &table[str_hash(str_z(event)) % ARRAY_LEN(table)];
    int64_t now = clock_mono_ms();
    if (s->event == NULL || strcmp(s->event, event) != 0)
        *s = (struct seen){event, now, 0, 0};
    if (now - s->since >= LOG_WINDOW_MS || now < s->since) {
        *held = s->held;
        *s = (struct seen){event, now, 1, 0};
        return true;
    }
    *held = 0;
    if (s->lines < LOG_BURST) {
        s->lines++;
        return true;
    }
    s->held++;
    return false;
}

/* Formatting: the pieces of a format and the arguments for them. va_list goes along in a struct, since it may be an
 * array type. */

struct arguments {
    va_list list;
};

static intmax_t next_signed(struct arguments *args, struct str length)
{
    if (length.n == 0)
        return va_arg(args->list, int);
    if (length.p[0] == 'z')
        return va_arg(args->list, ssize_t);
    if (length.p[0] == 'j')
        return va_arg(args->list, intmax_t);
    return length.n == 1 ? va_arg(args->list, long) : va_arg(args->list, long long);
}

static uintmax_t next_unsigned(struct arguments *args, struct str length)
{
    if (length.n == 0)
        return va_arg(args->list, unsigned);
    if (length.p[0] == 'z')
        return va_arg(args->list, size_t);
    if (length.p[0] == 'j')
        return va_arg(args->list, uintmax_t);
    return length.n == 1 ? va_arg(args->list, unsigned long) : va_arg(args->list, unsigned long long);
}

static void put_text(struct buf *out, const char *text, int precision)
{
    if (text == NULL)
        return;
    struct str whole = {text, precision < 0 ? strlen(text) : strnlen(text, (size_t)precision)};
    buf_str(out, str_slice(whole, 0, LOG_TEXT_MAX));
    if (whole.n > LOG_TEXT_MAX)
        buf_z(out, "\xe2\x80\xa6");
}

static void put_real(struct buf *out, double v, int precision, char conversion)
{
    if (isfinite(v))
        buf_printf(out, conversion == 'f' ? "%.*f" : "%.*g", precision < 0 ? 6 : precision, v);
    else
        buf_z(out, "nan");
}

/* One conversion; `fmt` stands behind its '%' and moves behind its letter. True when it is a number. */
static bool put_conversion(struct buf *out, struct str *fmt, struct arguments *args)
{
    const char *p = fmt->p, *end = fmt->p + fmt->n;
    int precision = -1;
    if (end - p >= 2 && p[0] == '.' && p[1] == '*') {
        precision = va_arg(args->list, int);
        p += 2;
    } else if (p < end && p[0] == '.') {
        for (precision = 0, p++; p < end && *p >= '0' && *p <= '9'; p++)
            precision = precision * 10 + (*p - '0');
    }
    const char *from = p;
    while (p < end && strchr("lzj", *p) != NULL)
        p++;
    struct str length = {from, (size_t)(p - from)};
    char conversion = p < end ? *p++ : '%';
    *fmt = (struct str){p, (size_t)(end - p)};
    switch (conversion) {
    case 'd':
    case 'i':
        buf_i64(out, next_signed(args, length));
        return true;
    case 'u':
        buf_u64(out, next_unsigned(args, length));
        return true;
    case 'x':
        buf_printf(out, "%jx", next_unsigned(args, length));
        return false;
    case 'f':
    case 'g': {
        double v = va_arg(args->list, double);
        put_real(out, v, precision, conversion);
        return isfinite(v);
    }
    case 's':
        put_text(out, va_arg(args->list, const char *), precision);
        return false;
    case 'c':
        buf_char(out, (char)va_arg(args->list, int));
        return false;
    default:
        buf_char(out, '%');
        return false;
    }
}

/* The value of one pair; true when it is a number and nothing else. */
static bool put_value(struct buf *out, struct str fmt, struct arguments *args)
{
    bool number = fmt.n > 0 && fmt.p[0] == '%', first = true;
    while (fmt.n > 0) {
        if (fmt.p[0] != '%') {
            buf_char(out, fmt.p[0]);
            fmt = str_slice(fmt, 1, fmt.n);
            number = false;
            continue;
        }
        fmt = str_slice(fmt, 1, fmt.n);
        number = put_conversion(out, &fmt, args) && number && first;
        first = false;
    }
    return number;
}

/* Bare where a reader cannot mistake it, as a JSON string otherwise. */
static void put_logfmt(struct buf *line, struct str value)
{
    bool plain = value.n > 0 && str_utf8(value);
    for (size_t i = 0; plain && i < value.n; i++)
        plain = (unsigned char)value.p[i] > ' ' && value.p[i] != '"' && value.p[i] != '=' && value.p[i] != '\\' &&
                value.p[i] != 0x7f;
    if (plain)
        buf_str(line, value);
    else
        json_write_string(line, value);
}

static void put_pair(struct buf *line, struct str name, struct str value, bool number)
{
    if (shape == LOG_TEXT) {
        buf_char(line, ' ');
        buf_str(line, name);
        buf_char(line, '=');
        put_logfmt(line, value);
        return;
    }
    buf_char(line, ',');
    json_write_string(line, name);
    buf_char(line, ':');
    if (number)
        buf_str(line, value);
    else
        json_write_string(line, value);
}

/* A buffer on the stack: growth past it sets `failed`, and what was there before stays. */
static struct buf on_stack(char *space, size_t size)
{
    return (struct buf){.p = space, .cap = size, .max = size};
}

static void put_fields(struct buf *line, struct str fmt, struct arguments *args)
{
    while (fmt.n > 0) {
        char space[LOG_LINE];
        struct buf value = on_stack(space, sizeof space);
        struct str pair = str_cut(&fmt, ' ');
        if (pair.n == 0)
            continue;
        struct str name = str_cut(&pair, '=');
        bool number = put_value(&value, pair, args);
        size_t before = line->n;
        put_pair(line, name, buf_view(&value), number);
        if (line->failed || value.failed) {
            line->n = before;
            line->failed = false;
            put_pair(line, S("cut"), S("true"), true);
            return;
        }
    }
}

static void put_head(struct buf *line, enum log_level level, const char *event)
{
    char now[CLOCK_TEXT];
    clock_text(clock_wall_ms(), now);
    if (shape == LOG_JSON)
        buf_printf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"event\":\"%s\"", now, levels[level].name, event);
    else if (colours)
        buf_printf(line, "%s %s%s\x1b[0m %s", now, levels[level].colour, levels[level].name, event);
    else
        buf_printf(line, "%s %s %s", now, levels[level].name, event);
}

static void write_whole(struct str line)
{
    while (line.n > 0) {
        ssize_t n = write(descriptor, line.p, line.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return; /* nobody to tell */
        line = str_slice(line, (size_t)n, line.n);
    }
}

void log_line(enum log_level level, const char *event, const char *fmt, ...)
{
    enum { RESERVED = 256 }; /* for the fields that come last */
    char space[LOG_LINE];
    unsigned held = 0;
    if (level >= LOG_WARN && !let_through(event, &held))
        return;
    int saved = errno;
    struct buf line = on_stack(space, sizeof space - RESERVED);
    put_head(&line, level, event);
    struct arguments args;
    va_start(args.list, fmt);
    put_fields(&line, str_z(fmt), &args);
    va_end(args.list);
    line.cap = line.max = sizeof space - 2;
    if (held > 0) {
        char text[16];
        put_pair(&line, S("suppressed"), (struct str){text, (size_t)snprintf(text, sizeof text, "%u", held)}, true);
    }
    if (request != NULL)
        put_pair(&line, S("request"), str_slice(str_z(request), 0, 64), false);
    line.cap = line.max = sizeof space;
    buf_z(&line, shape == LOG_JSON ? "}\n" : "\n");
    write_whole(buf_view(&line));
    errno = saved;
}
