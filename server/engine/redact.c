#include "server/engine/redact.h"

static const char *const words[] = {"password",   "passwd",     "passphrase", "secret",        "token",  "apikey",
                                    "credential", "privatekey", "accesskey",  "authorization", "cookie", NULL};

/* Lower case, separators dropped: "API-Key", "api_key" and "apiKey" are one word. */
static size_t fold(struct str name, char *out, size_t size)
{
    size_t n = 0;

    for (size_t i = 0; i < name.n && n < size; i++) {
        char c = name.p[i];

        if (c == '-' || c == '_' || c == '.' || c == ' ')
            continue;
        out[n++] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    return n;
}

bool redact_name(struct str name)
{
    char folded[256];
    struct str text = {folded, fold(name, folded, sizeof folded)};

    for (size_t i = 0; words[i] != NULL; i++)
        if (str_find(text, str_z(words[i])) >= 0)
            return true;
    return false;
}

static bool is_secret(struct str name, const struct json *value)
{
    return !json_is(value, JSON_NULL) && !json_is(value, JSON_BOOL) && redact_name(name);
}

static void write_object(struct json_out *o, const struct json *j)
{
    json_open(o, '{');
    for (struct json_iter it = json_members(j); json_next(&it);) {
        json_key(o, it.name);
        if (is_secret(it.name, it.value))
            json_put_str(o, S(REDACTED));
        else
            redact_write(o, it.value);
    }
    json_close(o, '}');
}

void redact_write(struct json_out *o, const struct json *j)
{
    if (json_is(j, JSON_OBJECT)) {
        write_object(o, j);
    } else if (json_is(j, JSON_ARRAY)) {
        json_open(o, '[');
        for (size_t i = 0; i < json_count(j); i++)
            redact_write(o, json_at(j, i));
        json_close(o, ']');
    } else {
        json_put(o, j);
    }
}

static bool declared_secret(const struct json *declared, struct str name)
{
    for (size_t i = 0; i < json_count(declared); i++)
        if (str_eq(json_str(json_get(json_at(declared, i), "name")), name))
            return str_eqz(json_str(json_get(json_at(declared, i), "type")), "secret-ref");
    return false;
}

void redact_inputs_write(struct json_out *o, const struct json *inputs, const struct json *declared)
{
    json_open(o, '{');
    for (struct json_iter it = json_members(inputs); json_next(&it);) {
        json_key(o, it.name);
        if (is_secret(it.name, it.value) || declared_secret(declared, it.name))
            json_put_str(o, S(REDACTED));
        else
            redact_write(o, it.value);
    }
    json_close(o, '}');
}

static void collect(const struct json *j, bool secret, struct str *out, size_t most, size_t *n)
{
    if (json_is(j, JSON_STRING)) {
        if (secret && *n < most && json_str(j).n > 0)
            out[(*n)++] = json_str(j);
        return;
    }
    for (struct json_iter it = json_members(j); json_next(&it);)
        collect(it.value, secret || redact_name(it.name), out, most, n);
    for (size_t i = 0; json_is(j, JSON_ARRAY) && i < json_count(j); i++)
        collect(json_at(j, i), secret, out, most, n);
}

void redact_collect(const struct json *j, struct str *out, size_t most, size_t *n)
{
    collect(j, false, out, most, n);
}
