#include "lib/config.h"

#include "lib/config_internal.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { FILE_MAX_BYTES = 1 << 20 };

/* Names: `outbound.allow` is --outbound-allow and SLIPWAY_OUTBOUND_ALLOW. */

void config_flag_name(const char *name, char out[CONFIG_NAME])
{
    snprintf(out, CONFIG_NAME, "--%s", name);
    for (char *p = out; *p != '\0'; p++)
        if (*p == '.')
            *p = '-';
}

void config_environment_name(const char *name, char out[CONFIG_NAME])
{
    snprintf(out, CONFIG_NAME, "SLIPWAY_%s", name);
    for (char *p = out; *p != '\0'; p++)
        *p = *p == '.' || *p == '-' ? '_' : (char)toupper((unsigned char)*p);
}

static struct config_value *find(struct config *c, struct str name)
{
    for (size_t i = 0; i < c->value_count; i++)
        if (str_eqz(name, c->values[i].row->name))
            return &c->values[i];
    return NULL;
}

static struct config_value *find_flag(struct config *c, struct str flag)
{
    char name[CONFIG_NAME];
    for (size_t i = 0; i < c->value_count; i++) {
        config_flag_name(c->values[i].row->name, name);
        if (str_eqz(flag, name + 2))
            return &c->values[i];
    }
    return NULL;
}

/* Messages name the command alone, without what its arguments look like. */

static int name_length(const struct config *c)
{
    return (int)strcspn(c->command, " ");
}

int config_usage(const struct config *c, const char *fmt, ...)
{
    va_list args;
    fprintf(c->messages, "slipway %.*s: ", name_length(c), c->command);
    va_start(args, fmt);
    vfprintf(c->messages, fmt, args);
    va_end(args);
    fprintf(c->messages, "\nTry `slipway %.*s --help`.\n", name_length(c), c->command);
    return CONFIG_BAD;
}

static int no_memory(const struct config *c)
{
    fprintf(c->messages, "slipway %.*s: out of memory\n", name_length(c), c->command);
    return CONFIG_BAD;
}

void config_number(const struct config_row *row, int64_t v, char out[32])
{
    static const struct {
        int64_t size;
        const char *unit;
    } times[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}, {1, "ms"}},
      sizes[] = {{1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}};
    out[0] = '\0';
    if (row->type == CONFIG_DURATION && v != 0) {
        for (size_t i = 0; i < ARRAY_LEN(times) && out[0] == '\0'; i++)
            if (v % times[i].size == 0)
                snprintf(out, 32, "%lld%s", (long long)(v / times[i].size), times[i].unit);
    } else if (row->type == CONFIG_SIZE && v != 0) {
        for (size_t i = 0; i < ARRAY_LEN(sizes) && out[0] == '\0'; i++)
            if (v % sizes[i].size == 0)
                snprintf(out, 32, "%lld%s", (long long)(v / sizes[i].size), sizes[i].unit);
    }
    if (out[0] == '\0')
        snprintf(out, 32, "%lld", (long long)v);
}

/* What a value may be, in words: "a number from 0 to 256". */
static void print_allowed(const struct config_row *row, FILE *out)
{
    static const char *const words[] = {
        [CONFIG_STRING] = "any text",
        [CONFIG_INT] = "a whole number",
        [CONFIG_BOOL] = "true or false",
        [CONFIG_DURATION] = "a time such as 500ms, 1.5s, 10m, 24h or 30d",
        [CONFIG_SIZE] = "a size such as 65536, 64KiB or 1MiB",
        [CONFIG_LIST] = "values between commas",
        [CONFIG_PATH] = "a path",
    };
    char low[32], high[32];
    if (row->type == CONFIG_CHOICE) {
        for (size_t i = 0; row->choices[i] != NULL; i++)
            fprintf(out, "%s%s", i == 0 ? "" : row->choices[i + 1] == NULL ? " or " : ", ", row->choices[i]);
        return;
    }
    fputs(words[row->type], out);
    if (row->min != 0 || row->max != 0) {
        config_number(row, row->min, low);
        config_number(row, row->max, high);
        fprintf(out, " from %s to %s", low, high);
    } else if ((row->flags & CONFIG_REQUIRED) != 0) {
        fputs(", not empty", out);
    }
}

static int refuse_value(const struct config *c, const struct config_value *v)
{
    fprintf(c->messages, "slipway %.*s: %s: ", name_length(c), c->command, v->source);
    if ((v->row->flags & (CONFIG_SECRET | CONFIG_URL)) != 0)
        fputs("the value is not allowed; ", c->messages);
    else
        fprintf(c->messages, "'%s' is not allowed; ", v->text);
    fprintf(c->messages, "%s takes ", v->row->name);
    print_allowed(v->row, c->messages);
    fputs("\n", c->messages);
    return CONFIG_BAD;
}

/* Single values. */

/* Digits with an optional fraction of up to three places, as thousandths; `rest` gets what follows. */
static bool thousandths(struct str text, int64_t *out, struct str *rest)
{
    int64_t v = 0;
    size_t i = 0, places = 0;
    for (; i < text.n && isdigit((unsigned char)text.p[i]); i++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, text.p[i] - '0', &v))
            return false;
    if (i == 0 || __builtin_mul_overflow(v, 1000, &v))
        return false;
    if (i < text.n && text.p[i] == '.') {
        int64_t unit = 100;
        for (i++; i < text.n && isdigit((unsigned char)text.p[i]) && places < 3; i++, places++, unit /= 10)
            v += (text.p[i] - '0') * unit;
        if (places == 0)
            return false;
    }
    *out = v;
    *rest = str_slice(text, i, text.n);
    return true;
}

struct unit {
    const char *name;
    int64_t factor;
};

static bool scaled(struct str text, const struct unit *units, int64_t *out)
{
    struct str unit;
    int64_t v = 0;
    if (!thousandths(text, &v, &unit))
        return false;
    while (units->name != NULL && !str_eqz(unit, units->name))
        units++;
    if (units->name == NULL || __builtin_mul_overflow(v, units->factor, &v) || v % 1000 != 0)
        return false;
    *out = v / 1000;
    return true;
}

bool config_duration(struct str text, int64_t *ms)
{
    static const struct unit units[] = {{"ms", 1},       {"s", 1000}, {"m", 60000}, {"h", 3600000},
                                        {"d", 86400000}, {"", 1000},  {NULL, 0}};
    return scaled(text, units, ms);
}

bool config_size(struct str text, int64_t *bytes)
{
    static const struct unit units[] = {{"", 1},          {"B", 1},         {"KiB", 1 << 10},
                                        {"K", 1 << 10},   {"MiB", 1 << 20}, {"M", 1 << 20},
                                        {"GiB", 1 << 30}, {"G", 1 << 30},   {NULL, 0}};
    return scaled(text, units, bytes);
}

static bool parse_bool(struct str text, bool *out)
{
    static const struct {
        const char *word;
        bool value;
    } words[] = {{"true", true},   {"yes", true}, {"on", true},   {"1", true},
                 {"false", false}, {"no", false}, {"off", false}, {"0", false}};
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (str_eqz(text, words[i].word)) {
            *out = words[i].value;
            return true;
        }
    return false;
}

static bool parse_list(struct config *c, struct str text, struct config_list *out)
{
    size_t n = 0;
    for (struct str rest = text; rest.p != NULL;)
        n += str_trim(str_cut(&rest, ',')).n > 0;
    const char **items = arena_array(&c->arena, n + 1, sizeof *items);
    if (items == NULL)
        return false;
    size_t i = 0;
    for (struct str rest = text; rest.p != NULL;) {
        struct str item = str_trim(str_cut(&rest, ','));
        if (item.n > 0 && (items[i++] = arena_z(&c->arena, item)) == NULL)
            return false;
    }
    *out = (struct config_list){items, n};
    return true;
}

static bool parse_choice(const struct config_row *row, struct str text, int *out)
{
    for (int i = 0; row->choices[i] != NULL; i++)
        if (str_eqz(text, row->choices[i])) {
            *out = i;
            return true;
        }
    return false;
}

static bool in_range(const struct config_row *row, int64_t v)
{
    return (row->min == 0 && row->max == 0) || (v >= row->min && v <= row->max);
}

static bool parse_value(struct config *c, const struct config_value *v)
{
    const struct config_row *row = v->row;
    struct str text = str_z(v->text);
    int64_t number = 0;
    if (text.n == 0 && (row->flags & CONFIG_REQUIRED) != 0)
        return false;
    switch (row->type) {
    case CONFIG_STRING:
    case CONFIG_PATH:
        *(const char **)v->at = v->text;
        return true;
    case CONFIG_BOOL:
        return parse_bool(text, v->at);
    case CONFIG_LIST:
        return parse_list(c, text, v->at);
    case CONFIG_CHOICE:
        return parse_choice(row, text, v->at);
    case CONFIG_INT:
        if (!str_i64(text, &number) || !in_range(row, number))
            return false;
        break;
    case CONFIG_DURATION:
        if (!config_duration(text, &number) || !in_range(row, number))
            return false;
        break;
    case CONFIG_SIZE:
        if (!config_size(text, &number) || !in_range(row, number))
            return false;
        break;
    }
    *(int64_t *)v->at = number;
    return true;
}

/* Sources. Each overwrites what the ones before it said. */

static bool set(struct config *c, struct config_value *v, struct str text, const char *source, const char *name)
{
    v->text = arena_z(&c->arena, text);
    v->source = arena_printf(&c->arena, "%s%s", source, name).p;
    return v->text != NULL && v->source != NULL;
}

static int read_line(struct config *c, const char *path, unsigned number, struct str line)
{
    line = str_trim(str_ends(line, S("\r")) ? str_slice(line, 0, line.n - 1) : line);
    if (line.n == 0 || line.p[0] == '#')
        return CONFIG_READ;
    ptrdiff_t equals = str_index(line, '=');
    char place[32];
    snprintf(place, sizeof place, ":%u", number);
    if (equals < 0)
        return config_usage(c, "%s%s: a line is `name = value`", path, place);
    struct str name = str_trim(str_slice(line, 0, (size_t)equals));
    struct config_value *v = find(c, name);
    if (v == NULL || config_is_local(v->row))
        return config_usage(c, "%s%s: there is no setting '" STR_FMT "'", path, place, STR_ARG(name));
    if (v->source != NULL)
        return config_usage(c, "%s%s: '%s' was set before, at %s", path, place, v->row->name, v->source);
    struct str where = arena_printf(&c->arena, "%s%s", path, place);
    if (where.p == NULL || !set(c, v, str_trim(str_slice(line, (size_t)equals + 1, line.n)), where.p, ""))
        return no_memory(c);
    return CONFIG_READ;
}

static int read_file(struct config *c, const char *path)
{
    FILE *f = fopen(path, "re");
    if (f == NULL)
        return config_usage(c, "%s: %m", path);
    char *text = malloc(FILE_MAX_BYTES + 1);
    size_t n = text == NULL ? 0 : fread(text, 1, FILE_MAX_BYTES + 1, f);
    bool broken = ferror(f) != 0;
    fclose(f);
    int status = text == NULL ? no_memory(c)
                 : broken     ? config_usage(c, "%s: it cannot be read", path)
                 : n > FILE_MAX_BYTES || memchr(text, '\0', n) != NULL
                     ? config_usage(c, "%s: not a text file of at most %d bytes", path, FILE_MAX_BYTES)
                     : CONFIG_READ;
    unsigned number = 1;
    for (struct str rest = {text, n}; status == CONFIG_READ && rest.p != NULL; number++)
        status = read_line(c, path, number, str_cut(&rest, '\n'));
    free(text);
    return status;
}

static int read_environment(struct config *c)
{
    char name[CONFIG_NAME];
    for (size_t i = 0; i < c->value_count; i++) {
        config_environment_name(c->values[i].row->name, name);
        const char *text = config_is_local(c->values[i].row) ? NULL : getenv(name);
        if (text != NULL && !set(c, &c->values[i], str_z(text), "environment ", name))
            return no_memory(c);
    }
    return CONFIG_READ;
}

static bool has_variable(const struct config *c, struct str variable)
{
    char name[CONFIG_NAME];
    for (size_t i = 0; i < c->value_count; i++) {
        config_environment_name(c->values[i].row->name, name);
        if (!config_is_local(c->values[i].row) && str_eqz(variable, name))
            return true;
    }
    return str_eqz(variable, "SLIPWAY_CONFIG");
}

void config_warn_environment(const struct config *c)
{
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        struct str rest = str_z(*at), name = str_cut(&rest, '=');
        if (str_starts(name, S("SLIPWAY_")) && !str_starts(name, S("SLIPWAY_TEST_")) && !has_variable(c, name))
            fprintf(c->messages, "slipway %s: environment " STR_FMT ": there is no such setting, it has no effect\n",
                    c->command, STR_ARG(name));
    }
}

static bool set_flag(struct config *c, struct config_value *v, struct str value)
{
    char name[CONFIG_NAME];
    config_flag_name(v->row->name, name);
    return set(c, v, value, "flag ", name);
}

/* One option at argv[*i], moving *i past its value. Options are set only when `apply`; --config is noted in either
 * case. */
static int read_option(struct config *c, int argc, char **argv, int *i, bool apply, const char **file)
{
    struct str option = str_z(argv[*i] + 2), value = option;
    struct str name = str_cut(&value, '=');
    bool negated = false;
    struct config_value *v = find_flag(c, name);
    if (v == NULL && str_starts(name, S("no-"))) {
        v = find_flag(c, str_slice(name, 3, name.n));
        negated = v != NULL && v->row->type == CONFIG_BOOL && value.p == NULL;
        v = negated ? v : NULL;
    }
    bool is_file = str_eq(name, S("config"));
    if (v == NULL && !is_file)
        return config_usage(c, "there is no option --" STR_FMT, STR_ARG(name));
    if (value.p == NULL && !is_file && v->row->type == CONFIG_BOOL) {
        value = negated ? S("false") : S("true");
    } else if (value.p == NULL) {
        if (*i + 1 >= argc)
            return config_usage(c, "--" STR_FMT " needs a value", STR_ARG(name));
        value = str_z(argv[++*i]);
    }
    if (is_file)
        *file = value.p;
    else if (apply && !set_flag(c, v, value))
        return no_memory(c);
    return CONFIG_READ;
}

static int read_arguments(struct config *c, int argc, char **argv, bool apply, const char **file)
{
    c->rest_count = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--") == 0) {
            while (++i < argc)
                c->rest[c->rest_count++] = argv[i];
        } else if (argv[i][0] != '-' || argv[i][1] == '\0') {
            c->rest[c->rest_count++] = argv[i];
        } else if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            config_help(c, stdout);
            return CONFIG_DONE;
        } else if (argv[i][1] != '-') {
            return config_usage(c, "there is no option %s", argv[i]);
        } else {
            int status = read_option(c, argc, argv, &i, apply, file);
            if (status != CONFIG_READ)
                return status;
        }
    }
    return CONFIG_READ;
}

void config_init(struct config *c, const char *command, const char *summary, FILE *messages)
{
    *c = (struct config){.command = command, .summary = summary, .messages = messages};
    arena_init(&c->arena, 0);
}

void config_table(struct config *c, const struct config_row *rows, void *into)
{
    config_table_of_others(c, rows, into, NULL);
}

void config_table_of_others(struct config *c, const struct config_row *rows, void *into, const char *others)
{
    if (c->table_count == CONFIG_TABLES)
        abort();
    c->tables[c->table_count].rows = rows;
    c->tables[c->table_count++].others = others;
    for (; rows->name != NULL; rows++) {
        if (c->value_count == CONFIG_ROWS || find(c, str_z(rows->name)) != NULL ||
            strlen(rows->name) > CONFIG_NAME - sizeof "SLIPWAY_")
            abort();
        c->values[c->value_count++] = (struct config_value){.row = rows, .at = (char *)into + rows->at};
    }
}

int config_parse(struct config *c, int argc, char **argv)
{
    const char *file = getenv("SLIPWAY_CONFIG");
    c->rest = arena_array(&c->arena, (size_t)argc + 1, sizeof *c->rest);
    if (c->rest == NULL)
        return no_memory(c);
    int status = read_arguments(c, argc, argv, false, &file);
    if (status == CONFIG_READ && file != NULL && file[0] != '\0')
        status = read_file(c, file);
    if (status == CONFIG_READ)
        status = read_environment(c);
    if (status == CONFIG_READ)
        status = read_arguments(c, argc, argv, true, &file);
    for (size_t i = 0; status == CONFIG_READ && i < c->value_count; i++) {
        struct config_value *v = &c->values[i];
        if (v->source == NULL) {
            v->text = v->row->preset == NULL ? "" : v->row->preset;
            v->source = "default";
        }
        if (!parse_value(c, v))
            status = refuse_value(c, v);
    }
    return status;
}

void config_fini(struct config *c)
{
    arena_fini(&c->arena);
}
