#include "lib/field.h"
#include "lib/field_plan.h"

static void put_int(struct json_out *o, const char *key, int64_t v)
{
    json_key(o, str_z(key));
    json_put_int(o, v);
}

static void put_z(struct json_out *o, const char *key, const char *v)
{
    json_key(o, str_z(key));
    json_put_z(o, v);
}

static void put_type(struct json_out *o, const char *type, bool nullable)
{
    json_key(o, S("type"));
    if (!nullable) {
        json_put_z(o, type);
        return;
    }
    json_open(o, '[');
    json_put_z(o, type);
    json_put_z(o, "null");
    json_close(o, ']');
}

static void put_text(struct json_out *o, const struct field *row, bool item, bool nullable)
{
    put_type(o, "string", nullable);
    if (!item && row->min > 0)
        put_int(o, "minLength", row->min);
    put_int(o, "maxLength",
            item ? (row->item_max > 0 ? row->item_max : FIELD_ITEM_MAX) : (row->max > 0 ? row->max : FIELD_TEXT_MAX));
    if (row->pattern != NULL)
        put_z(o, "pattern", row->pattern);
}

static void put_number(struct json_out *o, const struct field *row, const char *type, bool item, bool nullable)
{
    put_type(o, type, nullable);
    if (item || (row->min == 0 && row->max == 0))
        return;
    if (row->min != INT64_MIN)
        put_int(o, "minimum", row->min);
    if (row->max != INT64_MAX)
        put_int(o, "maximum", row->max);
}

static void put_choices(struct json_out *o, const struct field *row, bool nullable)
{
    put_type(o, "string", nullable);
    json_key(o, S("enum"));
    json_open(o, '[');
    for (const char *const *c = row->choices; *c != NULL; c++)
        json_put_z(o, *c);
    if (nullable)
        json_put_null(o);
    json_close(o, ']');
}

static void put_object(struct json_out *o, const struct field *rows, enum field_mode mode, bool nullable);

/* The schema's members of a value that is the row's own or one of its items. */
static void put_value(struct json_out *o, const struct field *row, enum field_type type, bool item, bool nullable,
                      enum field_mode mode)
{
    switch (type) {
    case FIELD_STRING:
        put_text(o, row, item, nullable);
        break;
    case FIELD_INT:
        put_number(o, row, "integer", item, nullable);
        break;
    case FIELD_NUMBER:
        put_number(o, row, "number", item, nullable);
        break;
    case FIELD_BOOL:
        put_type(o, "boolean", nullable);
        break;
    case FIELD_UUID:
        put_type(o, "string", nullable);
        put_z(o, "format", "uuid");
        break;
    case FIELD_TIME:
        put_type(o, "string", nullable);
        put_z(o, "format", "date-time");
        break;
    case FIELD_ENUM:
        put_choices(o, row, nullable);
        break;
    case FIELD_OBJECT:
        if (row->fields != NULL)
            put_object(o, row->fields, mode, nullable);
        else
            put_type(o, "object", nullable);
        break;
    default:
        break;
    }
}

static void put_map(struct json_out *o, const struct field *row, enum field_mode mode, bool nullable)
{
    put_type(o, "object", nullable);
    if (row->min > 0 && mode != FIELD_CHANGE)
        put_int(o, "minProperties", row->min);
    put_int(o, "maxProperties", row->max > 0 ? row->max : FIELD_ITEMS_MAX);
    json_key(o, S("propertyNames"));
    json_put_raw(o, S("{\"minLength\":1,\"maxLength\":128}"));
    json_key(o, S("additionalProperties"));
    json_open(o, '{');
    put_value(o, row, row->item, true, mode == FIELD_CHANGE, mode);
    json_close(o, '}');
}

static void put_list(struct json_out *o, const struct field *row, enum field_mode mode, bool nullable)
{
    put_type(o, "array", nullable);
    if (row->min > 0)
        put_int(o, "minItems", row->min);
    put_int(o, "maxItems", row->max > 0 ? row->max : FIELD_ITEMS_MAX);
    if (row->flags & FIELD_UNIQUE_ITEMS)
        json_key(o, S("uniqueItems")), json_put_bool(o, true);
    json_key(o, S("items"));
    json_open(o, '{');
    put_value(o, row, row->item, true, false, mode == FIELD_CHANGE ? FIELD_CREATE : mode);
    json_close(o, '}');
}

static void put_remarks(struct json_out *o, const struct field *row, enum field_mode mode)
{
    if (row->preset != NULL && mode != FIELD_CHANGE) {
        json_key(o, S("default"));
        json_put_raw(o, str_z(row->preset));
    }
    if (row->doc != NULL)
        put_z(o, "description", row->doc);
    if (row->flags & (FIELD_READONLY | FIELD_LIVE))
        json_key(o, S("readOnly")), json_put_bool(o, true);
    if (row->flags & (FIELD_SECRET | FIELD_WRITEONLY) || row->alias != NULL)
        json_key(o, S("writeOnly")), json_put_bool(o, true);
}

/* An alias is checked, and so described, by the rules of the member it names. */
static const struct field *rules_of(const struct field *rows, const struct field *row)
{
    return row->alias == NULL ? row : field_find(rows, str_z(row->alias));
}

static void put_row(struct json_out *o, const struct field *rules, const struct field *row, enum field_mode mode)
{
    bool nullable = (rules->flags & FIELD_NULLABLE) != 0 ||
                    (mode == FIELD_CHANGE && (rules->flags & FIELD_REQUIRED) == 0 && rules->type != FIELD_ANY);
    json_open(o, '{');
    if (rules->type == FIELD_MAP)
        put_map(o, rules, mode, nullable);
    else if (rules->type == FIELD_LIST)
        put_list(o, rules, mode, nullable);
    else
        put_value(o, rules, rules->type, false, nullable, mode);
    put_remarks(o, row, mode);
    json_close(o, '}');
}

static bool shown(const struct field *row, enum field_mode mode)
{
    return mode != FIELD_WHOLE || ((row->flags & (FIELD_SECRET | FIELD_WRITEONLY)) == 0 && row->alias == NULL);
}

static bool ignored(const struct field *row, enum field_mode mode)
{
    return mode != FIELD_WHOLE && (row->flags & (FIELD_READONLY | FIELD_LIVE)) != 0;
}

static bool always_there(const struct field *row, enum field_mode mode)
{
    if (!shown(row, mode) || ignored(row, mode) || mode == FIELD_CHANGE)
        return false;
    if (mode == FIELD_CREATE || (row->flags & FIELD_LIVE) != 0)
        return (row->flags & FIELD_REQUIRED) != 0;
    return (row->flags & (FIELD_REQUIRED | FIELD_NULLABLE | FIELD_ALWAYS)) != 0 || row->preset != NULL;
}

static void put_object(struct json_out *o, const struct field *rows, enum field_mode mode, bool nullable)
{
    bool any = false;
    put_type(o, "object", nullable);
    json_key(o, S("properties"));
    json_open(o, '{');
    for (const struct field *row = rows; row->name != NULL; row++) {
        if (!shown(row, mode))
            continue;
        json_key(o, str_z(row->name));
        if (ignored(row, mode)) /* so that what was read can be sent back */
            json_put_raw(o, S("{\"readOnly\":true}"));
        else
            put_row(o, rules_of(rows, row), row, mode);
        any = any || always_there(row, mode);
    }
    json_close(o, '}');
    if (any) {
        json_key(o, S("required"));
        json_open(o, '[');
        for (const struct field *row = rows; row->name != NULL; row++)
            if (always_there(row, mode))
                json_put_z(o, row->name);
        json_close(o, ']');
    }
    json_key(o, S("additionalProperties"));
    json_put_bool(o, false);
}

void field_schema_mode(struct json_out *o, const struct field *rows, enum field_mode mode)
{
    json_open(o, '{');
    put_object(o, rows, mode, false);
    json_close(o, '}');
}

void field_schema(struct json_out *o, const struct field *rows, bool input)
{
    field_schema_mode(o, rows, input ? FIELD_CREATE : FIELD_WHOLE);
}

void field_schema_value(struct json_out *o, const struct field *row, enum field_mode mode)
{
    put_row(o, row, row, mode);
}
