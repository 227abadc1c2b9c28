/* Structured log lines on stderr, one write each: logfmt, or JSON where lines are collected by a program.
 *
 *     log_warn("store.lost", "after_ms=%d address=%s", n, address);
 *
 *     2026-11-28T17:50:00.000Z warn store.lost after_ms=12 address=/run/redis.sock request=…
 *     {"time":"2026-11-28T17:50:00.000Z","level":"warn","event":"store.lost","after_ms":12,"address":…,"request":…}
 *
 * The format is `name=value` pairs, parted by single spaces; it is the format that is cut apart, not the result, so
 * what a value holds can never make a field or a line. A value is text with conversions in it; one that is a single
 * numeric conversion is a number in JSON. Known conversions: %s %.*s (STR_FMT) %c %d %i %u %x with l, ll, z or j, %f
 * and %g with a precision, %%. A NULL string prints as nothing.
 *
 * Names, of events (`part.happening`) and of pairs, are constants. Secrets are never given to a log function.
 *
 * Lines of warn and error are held back when one event repeats: at most LOG_BURST in LOG_WINDOW_MS per thread; the next
 * one let through says how many were held back, as `suppressed`. Text longer than LOG_TEXT_MAX ends with an ellipsis,
 * and a line that would be longer than LOG_LINE ends with cut=true. */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include "lib/str.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_NONE };
enum log_format { LOG_TEXT, LOG_JSON };
enum { LOG_LINE = 4096, LOG_TEXT_MAX = 1024, LOG_BURST = 10, LOG_WINDOW_MS = 10000 };

/* The format is a string literal, or left out. */
#define log_debug(event, ...) log_at(LOG_DEBUG, event, __VA_ARGS__)
#define log_info(event, ...)  log_at(LOG_INFO, event, __VA_ARGS__)
#define log_warn(event, ...)  log_at(LOG_WARN, event, __VA_ARGS__)
#define log_error(event, ...) log_at(LOG_ERROR, event, __VA_ARGS__)
#define log_at(level, event, ...)                                                                                      \
    do {                                                                                                               \
        if ((level) >= log_threshold)                                                                                  \
            log_line(level, event, " " __VA_ARGS__);                                                                   \
    } while (0)

/* At start, before there are threads: what is written, how, and where (2 is stderr). Colours need LOG_TEXT, a terminal,
 * and no NO_COLOR in the environment. Defaults: LOG_INFO, LOG_TEXT, 2. */
void log_setup(enum log_level level, enum log_format format, int fd);
extern enum log_level log_threshold; /* read only */

/* The `request` field of this thread's lines from now on; NULL: none. The string stays the caller's and must live until
 * the next call. */
void log_request(const char *id);

void log_line(enum log_level level, const char *event, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
