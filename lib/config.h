/* Configuration from one table of rows: flag, environment, file, default, in this order.
 *
 * A row's name gives its three spellings: `redis-fsync` or `outbound.allow` in a file (`outbound.allow = 10.0.0.0/8`),
 * `--outbound-allow 10.0.0.0/8` or `--outbound-allow=10.0.0.0/8` on the command line, and SLIPWAY_OUTBOUND_ALLOW in the
 * environment. A switch (CONFIG_BOOL) may stand alone or be taken back as `--no-name`. A file is named by `--config
 * FILE` or SLIPWAY_CONFIG; it holds `name = value` lines, blank lines and lines that begin with `#`; a name it does not
 * know, or gives twice, is an error. A bad value never falls back to another source.
 *
 *     struct config c;
 *     config_init(&c, "serve", "Run the server.", stderr);
 *     config_table(&c, settings_rows, &settings);
 *     int status = config_parse(&c, argc, argv);    // argv[0] is the command's own name
 *     if (status != CONFIG_READ)
 *         return status;                            // 0 after --help, 2 after a message
 *
 * Values live as long as the struct config; everything in them is read-only once parsed. Used at start only, so a
 * failed allocation is a message and CONFIG_BAD. */
#ifndef LIB_CONFIG_H
#define LIB_CONFIG_H

#include "lib/arena.h"

#include <stdio.h>

/* The C type that `at` points to follows from the type. */
enum config_type {
    CONFIG_STRING,   /* const char *; never NULL */
    CONFIG_INT,      /* int64_t; min, max */
    CONFIG_BOOL,     /* bool: true false yes no on off 1 0 */
    CONFIG_DURATION, /* int64_t milliseconds: 500ms 1.5s 10m 24h 30d; a bare number counts seconds */
    CONFIG_SIZE,     /* int64_t bytes: 65536 64KiB 1MiB 2GiB */
    CONFIG_LIST,     /* struct config_list: parts between commas, trimmed; empty: none */
    CONFIG_CHOICE,   /* int: index into choices */
    CONFIG_PATH      /* const char *; never NULL, "" when unset */
};

enum config_flag {
    CONFIG_SECRET = 1,   /* never printed */
    CONFIG_URL = 2,      /* the part between :// and @ is masked when printed */
    CONFIG_REQUIRED = 4, /* "" is not a value */
    CONFIG_LOCAL = 8     /* an option of this one call: a flag only, neither in a file nor in the environment */
};

struct config_list {
    const char *const *items;
    size_t n;
};

/* The code of a limit where nothing can be answered any more: the connection ends. */
#define CONFIG_ENDS "-"

struct config_row {
    const char *name;
    enum config_type type;
    size_t at;          /* offsetof into the struct given with the table */
    const char *preset; /* default, as one would type it; NULL: "" */
    int64_t min, max;   /* of a number, in milliseconds or bytes for durations and sizes; both 0: not bounded */
    const char *const *choices;
    const char *code; /* of a limit: the code answered where it is reached, or CONFIG_ENDS; NULL: not a limit */
    unsigned flags;
    const char *arg; /* how the value is called in the help: "HOST:PORT"; NULL: by type */
    const char *doc; /* what it does, what happens at the limit; whole sentences */
};

enum { CONFIG_TABLES = 4, CONFIG_ROWS = 160 };
enum config_status { CONFIG_READ = -1, CONFIG_DONE = 0, CONFIG_BAD = 2 };

struct config { /* private but for rest */
    const char *command, *summary;
    FILE *messages;
    struct {
        const struct config_row *rows;
        const char *others;
    } tables[CONFIG_TABLES];
    size_t table_count;
    struct config_value {
        const struct config_row *row;
        void *at;
        const char *text;
        const char *source; /* "flag --listen", "environment SLIPWAY_LISTEN", "/etc/slipway.conf:12", "default" */
    } values[CONFIG_ROWS];
    size_t value_count;
    struct arena arena;
    int rest_count; /* arguments that are no options, in order */
    const char **rest;
};

/* `command` may go on, behind a space, with what its arguments look like: "key create | list". */
void config_init(struct config *c, const char *command, const char *summary, FILE *messages);
/* Rows end with {0}. A name that is already there aborts: tables of one command may not overlap. */
void config_table(struct config *c, const struct config_row *rows, void *into);
/* The same for rows that another command explains: the help says `others` instead. */
void config_table_of_others(struct config *c, const struct config_row *rows, void *into, const char *others);
/* CONFIG_READ, or what the process is to exit with: CONFIG_DONE after --help, CONFIG_BAD after a message that names the
 * source, the value and what is allowed. `--` ends the options. */
int config_parse(struct config *c, int argc, char **argv);
void config_fini(struct config *c);

void config_help(const struct config *c, FILE *out);
void config_print(const struct config *c, FILE *out, bool json); /* every value and its source */
/* Tells of each variable SLIPWAY_… that no row has, which is likely a slip of the pen; those of tests, SLIPWAY_TEST_…, are
 * left alone. A warning only: other commands of one environment have rows of their own. */
void config_warn_environment(const struct config *c);
const char *config_source(const struct config *c, const char *name); /* NULL when there is no such row */
/* Says what is wrong with arguments and answers CONFIG_BAD: `slipway key: message`, and where help is. */
int config_usage(const struct config *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The parsers of single values; false on anything else than a whole value. */
bool config_duration(struct str text, int64_t *ms);
bool config_size(struct str text, int64_t *bytes);

#endif
