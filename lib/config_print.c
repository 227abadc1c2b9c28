#include "lib/config.h"

#include "lib/config_internal.h"
#include "lib/json.h"

#include <string.h>

static const char *const type_args[] = {
    [CONFIG_STRING] = "TEXT", [CONFIG_INT] = "N",      [CONFIG_BOOL] = "BOOL",   [CONFIG_DURATION] = "TIME",
    [CONFIG_SIZE] = "SIZE",   [CONFIG_LIST] = "A,B,…", [CONFIG_CHOICE] = "WORD", [CONFIG_PATH] = "PATH",
};

static void print_wrapped(FILE *out, const char *text, size_t indent, size_t width)
{
    size_t column = 0;
    while (*text != '\0') {
        size_t n = strcspn(text, " ");
        if (column != 0 && column + 1 + n > width) {
            fputc('\n', out);
            column = 0;
        }
        column += (size_t)fprintf(out, "%*s%.*s", column == 0 ? (int)indent : 1, "", (int)n, text);
        text += n + (text[n] == ' ');
    }
    fputc('\n', out);
}

/* "One of always, everysec. Default always. [SLIPWAY_REDIS_FSYNC]", "Default 10s, from 100ms to 10m. At the limit: …" */
static void help_value(struct buf *b, const struct config_row *row)
{
    char name[CONFIG_NAME], low[32], high[32];
    bool preset =
        row->preset != NULL && row->preset[0] != '\0' && (row->type != CONFIG_BOOL || strcmp(row->preset, "true") == 0);
    for (size_t i = 0; row->type == CONFIG_CHOICE && row->choices[i] != NULL; i++)
        buf_printf(b, "%s%s%s", i == 0 ? "One of " : ", ", row->choices[i], row->choices[i + 1] == NULL ? ". " : "");
    if (preset)
        buf_printf(b, "Default %s", row->preset);
    if (preset && (row->min != 0 || row->max != 0)) {
        config_number(row, row->min, low);
        config_number(row, row->max, high);
        buf_printf(b, ", from %s to %s", low, high);
    }
    if (preset)
        buf_z(b, ". ");
    if (row->code != NULL)
        buf_printf(b, "At the limit: %s. ", strcmp(row->code, CONFIG_ENDS) == 0 ? "the connection ends" : row->code);
    config_environment_name(row->name, name);
    if (!config_is_local(row))
        buf_printf(b, "[%s]", name);
    buf_char(b, '\0');
}

static void help_row(FILE *out, const struct config_row *row)
{
    char name[CONFIG_NAME];
    struct buf b = {0};
    config_flag_name(row->name, name);
    fprintf(out, "\n  %s", name);
    if (row->type != CONFIG_BOOL)
        fprintf(out, " %s", row->arg != NULL ? row->arg : type_args[row->type]);
    fputc('\n', out);
    print_wrapped(out, row->doc, 6, 96);
    help_value(&b, row);
    if (!b.failed && b.n > 1)
        print_wrapped(out, b.p, 6, 96);
    buf_free(&b);
}

void config_help(const struct config *c, FILE *out)
{
    fprintf(out, "usage: slipway %s [OPTION...]\n\n", c->command);
    print_wrapped(out, c->summary, 0, 96);
    fputs("\nA value comes from the command line, else from the environment, else from the file, else it is\n"
          "the default. Times are written 500ms, 1.5s, 10m, 24h or 30d, sizes 65536, 64KiB or 1MiB; a switch\n"
          "alone is true, and --no-NAME is false.\n"
          "\n  --config FILE\n"
          "      Read `name = value` lines from FILE; names are those that `slipway config` prints.\n"
          "      [SLIPWAY_CONFIG]\n"
          "\n  --help\n      Print this.\n",
          out);
    for (size_t t = 0; t < c->table_count; t++)
        for (const struct config_row *row = c->tables[t].rows; c->tables[t].others == NULL && row->name != NULL; row++)
            help_row(out, row);
    for (size_t t = 0; t < c->table_count; t++) {
        if (c->tables[t].others == NULL)
            continue;
        fputc('\n', out);
        print_wrapped(out, c->tables[t].others, 0, 96);
    }
}

/* The value as it may be shown: secrets not at all, a URL without its user and password. */
static struct str shown(const struct config_value *v, char out[512])
{
    const char *text = v->text == NULL ? "" : v->text;
    const char *from = strstr(text, "://"), *at = strrchr(text, '@');
    if ((v->row->flags & CONFIG_SECRET) != 0 && text[0] != '\0')
        return S("(secret)");
    if ((v->row->flags & CONFIG_URL) == 0 || from == NULL || at == NULL || at < from)
        return str_z(text);
    snprintf(out, 512, "%.*s(secret)%s", (int)(from + 3 - text), text, at);
    return str_z(out);
}

void config_print(const struct config *c, FILE *out, bool json)
{
    struct buf b = {0};
    struct json_out o;
    char masked[512];
    json_out_init(&o, &b);
    json_open(&o, '[');
    for (size_t i = 0; i < c->value_count; i++) {
        const struct config_value *v = &c->values[i];
        struct str text = shown(v, masked);
        if (config_is_local(v->row))
            continue;
        if (!json) {
            fprintf(out, "%-28s %-32.*s %s\n", v->row->name, STR_ARG(text), v->source);
            continue;
        }
        json_open(&o, '{');
        json_key(&o, S("name"));
        json_put_z(&o, v->row->name);
        json_key(&o, S("source"));
        json_put_z(&o, v->source);
        json_key(&o, S("value"));
        json_put_str(&o, text);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    if (json)
        fprintf(out, STR_FMT "\n", STR_ARG(buf_view(&b)));
    buf_free(&b);
}

const char *config_source(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->value_count; i++)
        if (strcmp(c->values[i].row->name, name) == 0)
            return c->values[i].source;
    return NULL;
}
