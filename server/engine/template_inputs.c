#include "server/engine/template_build.h"

#include "lib/id.h"

struct input_type {
    const char *name, *why;
    bool (*fits)(const struct json *value);
};

static bool is_text(const struct json *j)
{
    return json_is(j, JSON_STRING);
}
static bool is_number(const struct json *j)
{
    return json_is(j, JSON_INT) || json_is(j, JSON_REAL);
}
static bool is_truth(const struct json *j)
{
    return json_is(j, JSON_BOOL);
}
static bool is_object(const struct json *j)
{
    return json_is(j, JSON_OBJECT);
}
static bool is_array(const struct json *j)
{
    return json_is(j, JSON_ARRAY);
}
static bool is_uuid(const struct json *j)
{
    return is_text(j) && id_is_uuid(json_str(j), NULL);
}

// clang-format off
static const struct input_type types[] = {
    {"string",     "a string is expected",     is_text},
    {"number",     "a number is expected",     is_number},
    {"boolean",    "true or false is expected", is_truth},
    {"object",     "an object is expected",    is_object},
    {"array",      "an array is expected",     is_array},
    {"uuid",       "a UUID is expected",       is_uuid},
    {"secret-ref", "the name of a secret is expected", is_text},
};
// clang-format on

bool template_input_fits(const struct json *input, const struct json *value, const char **why)
{
    const struct json *choices = json_get(input, "enum");
    struct str type = json_str(json_get(input, "type"));

    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eqz(type, types[i].name) && !types[i].fits(value)) {
            *why = types[i].why;
            return false;
        }
    for (size_t i = 0; i < json_count(choices); i++)
        if (json_equal(json_at(choices, i), value))
            return true;
    *why = "it is none of the values that the input takes";
    return json_count(choices) == 0;
}

static bool declared(const struct template *t, struct str name)
{
    for (size_t i = 0; i < json_count(t->inputs); i++)
        if (str_eq(json_str(json_get(json_at(t->inputs, i), "name")), name))
            return true;
    return false;
}

static void put(struct json_out *o, struct str name, const struct json *value)
{
    json_key(o, name);
    json_put(o, value);
}

struct json *template_inputs(struct arena *a, const struct template *t, const struct json *inputs,
                             struct faults *faults, struct buf *missing)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, a, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    for (size_t i = 0; i < json_count(t->inputs); i++) {
        const struct json *input = json_at(t->inputs, i);
        struct str name = json_str(json_get(input, "name"));
        const struct json *value = json_get_str(inputs, name), *preset = json_get(input, "default");
        const char *why;

        if (value != NULL && !template_input_fits(input, value, &why))
            fault_add(faults, arena_printf(a, "inputs." STR_FMT, STR_ARG(name)), "VAL_INVALID_TYPE", "%s", why);
        if (value != NULL)
            put(&o, name, value);
        else if (json_bool(json_get(input, "required"), false))
            buf_printf(missing, "%s" STR_FMT, missing->n > 0 ? ", " : "", STR_ARG(name));
        else if (preset != NULL)
            put(&o, name, preset);
    }
    json_close(&o, '}');
    for (struct json_iter it = json_members(inputs); json_next(&it);)
        if (!declared(t, it.name))
            fault_add(faults, arena_printf(a, "inputs." STR_FMT, STR_ARG(it.name)), "VAL_UNKNOWN_FIELD",
                      "the template has no such input");
    return b.failed ? NULL : json_parse(a, buf_view(&b), NULL, &(struct json_fault){0});
}
