#include "lib/field.h"

#include "lib/clock.h"
#include "lib/field_plan.h"
#include "lib/id.h"
#include "lib/must.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

// clang-format off
const struct fault_code fault_codes[] = {
    {"VAL_REQUIRED",       "a member that must be there is not"},
    {"VAL_INVALID_TYPE",   "a value is of another JSON type"},
    {"VAL_INVALID_FORMAT", "a text has another form; a value contradicts another one"},
    {"VAL_INVALID_ENUM",   "a text is none of the choices"},
    {"VAL_OUT_OF_RANGE",   "a number, a length or a count is too low or too high"},
    {"VAL_TOO_LONG",       "a text is too long"},
    {"VAL_UNKNOWN_FIELD",  "there is no such member or parameter"},
    {"VAL_IMMUTABLE",      "a member cannot be changed any more"},
    {"VAL_INVALID_FILTER", "the filter is not understood, or does not suit the field"},
    {"VAL_INVALID_SORT",   "the list cannot be sorted by this"},
    {0}};
// clang-format on

void faults_init(struct faults *f, struct arena *a)
{
    *f = (struct faults){.arena = a, .list = f->first, .room = ARRAY_LEN(f->first)};
}

/* Room for all there can be, once there is more than one or two. */
static bool has_room(struct faults *f)
{
    if (f->n == f->room && f->room < FIELD_FAULTS_MAX) {
        struct fault *list = arena_array(f->arena, FIELD_FAULTS_MAX, sizeof *list);
        if (list != NULL) {
            memcpy(list, f->first, sizeof f->first);
            f->list = list;
            f->room = FIELD_FAULTS_MAX;
        }
    }
    return f->n < f->room;
}

void fault_add(struct faults *f, struct str field, const char *code, const char *fmt, ...)
{
    va_list args;
    char text[300];

    if (!has_room(f)) {
        f->more = true;
        return;
    }
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    struct str message = str_slice(str_z(text), 0, str_utf8_valid(str_z(text)));
    f->list[f->n++] = (struct fault){arena_str(f->arena, field), arena_str(f->arena, message), code};
}

/* Where the check is: a chain of names on the stack, joined only when there is a fault. */
struct place {
    const struct place *up;
    struct str name; /* STR_NONE: an element */
    size_t index;
};

struct check {
    struct arena *arena;
    struct faults *faults;
    enum field_mode mode;
    bool failed; /* memory ran out */
};

static void place_write(struct buf *b, const struct place *at)
{
    if (at->up != NULL)
        place_write(b, at->up);
    if (at->name.p == NULL) {
        buf_printf(b, "[%zu]", at->index);
        return;
    }
    if (b->n > 0)
        buf_char(b, '.');
    buf_str(b, at->name);
}

static struct json *fault(struct check *c, const struct place *at, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
static struct json *fault(struct check *c, const struct place *at, const char *code, const char *fmt, ...)
{
    va_list args;
    char text[300];
    struct buf path;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    buf_init_arena(&path, c->arena, 64);
    place_write(&path, at);
    fault_add(c->faults, buf_view(&path), code, "%s", text);
    return NULL;
}

/* A made node, noting when it could not be made. */
static struct json *made(struct check *c, struct json *j)
{
    c->failed = c->failed || j == NULL;
    return j;
}

static struct json *wrong_type(struct check *c, const struct place *at, const char *wanted)
{
    return fault(c, at, "VAL_INVALID_TYPE", "must be %s", wanted);
}

static bool ranged(const struct field *row)
{
    return row->min != 0 || row->max != 0;
}

static struct json *check_text(struct check *c, const struct field *rows, const struct field *row, int64_t min,
                               int64_t max, const struct json *v, const struct place *at)
{
    if (!json_is(v, JSON_STRING))
        return wrong_type(c, at, "a string");
    struct str s = json_str(v);
    int64_t length = (int64_t)str_utf8_length(s);
    if (length > max)
        return fault(c, at, "VAL_TOO_LONG", "must have at most %lld characters, has %lld", (long long)max,
                     (long long)length);
    if (length < min)
        return fault(c, at, "VAL_OUT_OF_RANGE", "must have at least %lld character%s", (long long)min,
                     min == 1 ? "" : "s");
    if (row->pattern != NULL) {
        struct field_plan *plan = field_plan_of(rows);
        if (plan == NULL)
            return made(c, NULL);
        if (!field_plan_matches(plan, row, s.p))
            return fault(c, at, "VAL_INVALID_FORMAT", "must match %s", row->pattern);
    }
    return made(c, json_share(c->arena, v));
}

static struct json *out_of_range(struct check *c, const struct field *row, const struct place *at)
{
    if (row->max == INT64_MAX)
        return fault(c, at, "VAL_OUT_OF_RANGE", "must be at least %lld", (long long)row->min);
    return fault(c, at, "VAL_OUT_OF_RANGE", "must be between %lld and %lld", (long long)row->min, (long long)row->max);
}

static struct json *check_int(struct check *c, const struct field *row, const struct json *v, const struct place *at)
{
    double real = json_real(v, 0);
    if (json_is(v, JSON_REAL) && (real != floor(real) || fabs(real) > 0x1p53))
        return wrong_type(c, at, "a whole number");
    if (!json_is(v, JSON_REAL) && !json_is(v, JSON_INT))
        return wrong_type(c, at, "a whole number");
    int64_t n = json_is(v, JSON_REAL) ? (int64_t)real : json_int(v, 0);
    if (ranged(row) && (n < row->min || n > row->max))
        return out_of_range(c, row, at);
    return made(c, json_new_int(c->arena, n));
}

static struct json *check_number(struct check *c, const struct field *row, const struct json *v, const struct place *at)
{
    if (!json_is(v, JSON_REAL) && !json_is(v, JSON_INT))
        return wrong_type(c, at, "a number");
    double real = json_real(v, 0);
    if (ranged(row) && (real < (double)row->min || real > (double)row->max))
        return out_of_range(c, row, at);
    if (json_is(v, JSON_REAL) && real == floor(real) && fabs(real) < 0x1p53)
        return made(c, json_new_int(c->arena, (int64_t)real)); /* as it reads back from its canonical text */
    return made(c, json_share(c->arena, v));
}

static struct json *check_uuid(struct check *c, const struct json *v, const struct place *at)
{
    char text[ID_UUID];
    if (!json_is(v, JSON_STRING))
        return wrong_type(c, at, "a string with a UUID");
    if (!id_is_uuid(json_str(v), text))
        return fault(c, at, "VAL_INVALID_FORMAT", "must be a UUID");
    return made(c, json_new_str(c->arena, str_z(text)));
}

static struct json *check_time(struct check *c, const struct json *v, const struct place *at)
{
    char text[CLOCK_TEXT];
    int64_t ms;
    if (!json_is(v, JSON_STRING))
        return wrong_type(c, at, "a string with an RFC 3339 time");
    if (!clock_parse(json_str(v), &ms))
        return fault(c, at, "VAL_INVALID_FORMAT", "must be an RFC 3339 time, as 2026-11-28T17:50:00Z");
    clock_text(ms, text);
    return made(c, json_new_str(c->arena, str_z(text)));
}

static struct json *check_enum(struct check *c, const struct field *row, const struct json *v, const struct place *at)
{
    char list[256] = "";
    size_t n = 0;

    if (!json_is(v, JSON_STRING))
        return wrong_type(c, at, "a string");
    for (const char *const *choice = row->choices; *choice != NULL; choice++) {
        if (str_eqz(json_str(v), *choice))
            return made(c, json_share(c->arena, v));
        if (n < sizeof list)
            n += (size_t)snprintf(list + n, sizeof list - n, "%s%s", n > 0 ? ", " : "", *choice);
    }
    return fault(c, at, "VAL_INVALID_ENUM", "must be one of %s", list);
}

static struct json *check_object(struct check *c, const struct field *rows, const struct json *body,
                                 const struct place *at);

/* A value of `type`, which is the row's own or that of its items. */
static struct json *check_scalar(struct check *c, const struct field *rows, const struct field *row,
                                 enum field_type type, bool item, const struct json *v, const struct place *at)
{
    int64_t text_max =
        item ? (row->item_max > 0 ? row->item_max : FIELD_ITEM_MAX) : (row->max > 0 ? row->max : FIELD_TEXT_MAX);
    struct field bare = item ? (struct field){.name = row->name, .choices = row->choices} : *row;

    switch (type) {
    case FIELD_STRING:
        return check_text(c, rows, row, item ? 0 : row->min, text_max, v, at);
    case FIELD_INT:
        return check_int(c, &bare, v, at);
    case FIELD_NUMBER:
        return check_number(c, &bare, v, at);
    case FIELD_BOOL:
        return json_is(v, JSON_BOOL) ? made(c, json_share(c->arena, v)) : wrong_type(c, at, "true or false");
    case FIELD_UUID:
        return check_uuid(c, v, at);
    case FIELD_TIME:
        return check_time(c, v, at);
    case FIELD_ENUM:
        return check_enum(c, &bare, v, at);
    case FIELD_OBJECT:
        if (!json_is(v, JSON_OBJECT))
            return wrong_type(c, at, "an object");
        return row->fields != NULL ? check_object(c, row->fields, v, at) : made(c, json_share(c->arena, v));
    default:
        return made(c, json_share(c->arena, v));
    }
}

static bool check_count(struct check *c, const struct field *row, size_t n, const char *what, const struct place *at)
{
    int64_t max = row->max > 0 ? row->max : FIELD_ITEMS_MAX;
    if ((int64_t)n > max)
        fault(c, at, "VAL_OUT_OF_RANGE", "must have at most %lld %s, has %zu", (long long)max, what, n);
    else if ((int64_t)n < row->min && !(c->mode == FIELD_CHANGE && row->type == FIELD_MAP))
        fault(c, at, "VAL_OUT_OF_RANGE", "must have at least %lld %s", (long long)row->min, what);
    else
        return true;
    return false;
}

static struct json *check_map(struct check *c, const struct field *rows, const struct field *row, const struct json *v,
                              const struct place *at)
{
    if (!json_is(v, JSON_OBJECT))
        return wrong_type(c, at, "an object");
    if (!check_count(c, row, json_count(v), "members", at))
        return NULL;
    struct json *out = made(c, json_new_for(c->arena, JSON_OBJECT, json_count(v)));
    for (struct json_iter it = json_members(v); json_next(&it) && !c->failed;) {
        struct place here = {at, it.name, 0};
        if (it.name.n == 0 || str_utf8_length(it.name) > FIELD_NAME_MAX) {
            fault(c, &here, "VAL_OUT_OF_RANGE", "names must have 1 to %d characters", FIELD_NAME_MAX);
            continue;
        }
        struct json *value = c->mode == FIELD_CHANGE && json_is(it.value, JSON_NULL)
                                 ? made(c, json_new(c->arena, JSON_NULL))
                                 : check_scalar(c, rows, row, row->item, true, it.value, &here);
        if (value != NULL && !json_set(c->arena, out, it.name, value))
            c->failed = true;
    }
    return out;
}

static void check_unique_items(struct check *c, const struct json *list, const struct place *at)
{
    for (size_t i = 1; i < json_count(list); i++)
        for (size_t k = 0; k < i; k++)
            if (json_equal(json_at(list, i), json_at(list, k))) {
                struct place here = {at, STR_NONE, i};
                fault(c, &here, "VAL_INVALID_FORMAT", "is the same as element %zu", k);
                break;
            }
}

static struct json *check_list(struct check *c, const struct field *rows, const struct field *row, const struct json *v,
                               const struct place *at)
{
    if (!json_is(v, JSON_ARRAY))
        return wrong_type(c, at, "an array");
    if (!check_count(c, row, json_count(v), "elements", at))
        return NULL;
    /* A merge patch replaces arrays whole, so their elements are whole as well. */
    enum field_mode mode = c->mode;
    size_t before = c->faults->n;
    if (mode == FIELD_CHANGE)
        c->mode = FIELD_CREATE;
    struct json *out = made(c, json_new_for(c->arena, JSON_ARRAY, json_count(v)));
    for (size_t i = 0; i < json_count(v) && !c->failed; i++) {
        struct place here = {at, STR_NONE, i};
        struct json *value = check_scalar(c, rows, row, row->item, true, json_at(v, i), &here);
        if (value != NULL && !json_append(c->arena, out, value))
            c->failed = true;
    }
    if (row->flags & FIELD_UNIQUE_ITEMS && c->faults->n == before)
        check_unique_items(c, out, at);
    c->mode = mode;
    return out;
}

static struct json *check_value(struct check *c, const struct field *rows, const struct field *row,
                                const struct json *v, const struct place *at)
{
    if (row->type == FIELD_MAP)
        return check_map(c, rows, row, v, at);
    if (row->type == FIELD_LIST)
        return check_list(c, rows, row, v, at);
    return check_scalar(c, rows, row, row->type, false, v, at);
}

/* Does the member have a place in what is being checked? */
static bool belongs(const struct field *row, enum field_mode mode)
{
    if (mode == FIELD_WHOLE)
        return (row->flags & (FIELD_SECRET | FIELD_WRITEONLY)) == 0 && row->alias == NULL;
    return (row->flags & (FIELD_READONLY | FIELD_LIVE)) == 0;
}

static const struct field *row_named(const struct field *rows, struct str name)
{
    for (const struct field *row = rows; row->name != NULL; row++)
        if (name.n > 0 && row->name[0] == name.p[0] && str_eqz(name, row->name))
            return row;
    return NULL;
}

/* The member's value by its own name or by another; faults in it are then told by that one. */
static const struct json *find_value(struct check *c, const struct field_plan *plan, const struct json *const *given,
                                     const struct field *row, struct place *at)
{
    const struct json *value = given[row - plan->rows];
    for (const struct field *other = plan->rows; plan->aliased && other->name != NULL; other++) {
        const struct json *also = given[other - plan->rows];
        if (also == NULL || other->alias == NULL || strcmp(other->alias, row->name) != 0)
            continue;
        if (value != NULL && !json_equal(value, also))
            fault(c, at, "VAL_INVALID_FORMAT", "differs from %s, which is another name of it", other->name);
        else if (value == NULL)
            at->name = str_z(other->name);
        value = also;
    }
    return value;
}

/* The row's default, as a body that gives it would be read: made once per thread. NULL: memory ran out. */
static const struct json *preset_of(const struct field *rows, const struct field *row)
{
    struct field_plan *plan = field_plan_of(rows);
    if (plan == NULL)
        return NULL;
    struct json **kept = &plan->presets[row - rows];
    if (*kept != NULL)
        return *kept;
    struct faults faults;
    faults_init(&faults, &plan->arena);
    struct check own = {&plan->arena, &faults, FIELD_CREATE, false};
    struct place here = {NULL, str_z(row->name), 0};
    struct json *preset = json_parse(&plan->arena, str_z(row->preset), NULL, NULL);
    if (preset != NULL && !json_is(preset, JSON_NULL))
        preset = check_value(&own, rows, row, preset, &here);
    must(faults.n == 0);
    *kept = own.failed ? NULL : preset;
    return *kept;
}

static struct json *absent(struct check *c, const struct field *rows, const struct field *row, const struct place *at)
{
    bool needed = c->mode != FIELD_CHANGE && (row->flags & FIELD_REQUIRED) != 0;
    if (c->mode == FIELD_WHOLE && (row->flags & FIELD_LIVE) == 0)
        needed = needed || (row->flags & (FIELD_NULLABLE | FIELD_ALWAYS)) != 0 || row->preset != NULL;
    if (needed)
        return fault(c, at, "VAL_REQUIRED", "is required");
    if (c->mode != FIELD_CREATE || row->preset == NULL)
        return NULL;
    const struct json *preset = preset_of(rows, row);
    return made(c, preset == NULL ? NULL : json_share(c->arena, preset));
}

static struct json *check_null(struct check *c, const struct field *row, const struct place *at)
{
    if (row->flags & FIELD_NULLABLE || (c->mode == FIELD_CHANGE && (row->flags & FIELD_REQUIRED) == 0) ||
        row->type == FIELD_ANY)
        return made(c, json_new(c->arena, JSON_NULL));
    if (c->mode == FIELD_CHANGE)
        return fault(c, at, "VAL_REQUIRED", "is required and cannot be taken away");
    return fault(c, at, "VAL_INVALID_TYPE", "must not be null");
}

/* The members by their rows. NULL: memory ran out. */
static const struct json **take_members(struct check *c, const struct field_plan *plan, const struct json *body,
                                        const struct place *at)
{
    const struct json **given = arena_array(c->arena, plan->count, sizeof *given);
    for (struct json_iter it = json_members(body); given != NULL && json_next(&it);) {
        const struct field *row = row_named(plan->rows, it.name);
        if (row != NULL && (c->mode != FIELD_WHOLE || belongs(row, c->mode))) {
            given[row - plan->rows] = it.value;
            continue;
        }
        struct place here = {at, str_slice(it.name, 0, FIELD_NAME_MAX), 0};
        fault(c, &here, "VAL_UNKNOWN_FIELD", "is not a field of this object");
    }
    return given;
}

static struct json *check_object(struct check *c, const struct field *rows, const struct json *body,
                                 const struct place *at)
{
    const struct field_plan *plan = field_plan_of(rows);
    struct json *out = plan == NULL ? NULL : json_new_for(c->arena, JSON_OBJECT, plan->count);
    const struct json **given = out == NULL ? NULL : take_members(c, plan, body, at);
    if (given == NULL)
        return made(c, NULL);
    for (const int *order = plan->order; *order >= 0 && !c->failed; order++) {
        const struct field *row = &rows[*order];
        struct place here = {at, str_z(row->name), 0};
        if (row->alias != NULL || !belongs(row, c->mode))
            continue;
        const struct json *v = find_value(c, plan, given, row, &here);
        struct json *value = v == NULL               ? absent(c, rows, row, &here)
                             : json_is(v, JSON_NULL) ? check_null(c, row, &here)
                                                     : check_value(c, rows, row, v, &here);
        if (value != NULL && !json_add(c->arena, out, str_z(row->name), value))
            c->failed = true;
    }
    return out;
}

struct json *field_check(const struct field *rows, const struct json *body, enum field_mode mode, struct faults *faults)
{
    struct check c = {faults->arena, faults, mode, false};
    if (!json_is(body, JSON_OBJECT)) {
        fault_add(faults, S(""), "VAL_INVALID_TYPE", "must be an object");
        return json_new(faults->arena, JSON_OBJECT);
    }
    struct json *out = check_object(&c, rows, body, NULL);
    return c.failed ? NULL : out;
}

void field_check_immutable(const struct field *rows, const struct json *before, const struct json *patch,
                           struct faults *faults)
{
    for (const struct field *row = rows; row->name != NULL; row++) {
        const struct json *given = json_get(patch, row->name);
        if ((row->flags & FIELD_IMMUTABLE) != 0 && given != NULL && !json_equal(json_get(before, row->name), given))
            fault_add(faults, str_z(row->name), "VAL_IMMUTABLE", "cannot be changed");
    }
}

const struct field *field_find(const struct field *rows, struct str name)
{
    while (rows != NULL && name.p != NULL) {
        const struct field *row = row_named(rows, str_cut(&name, '.'));
        if (row == NULL || name.p == NULL)
            return row;
        if (row->type == FIELD_MAP)
            return name.n > 0 ? row : NULL;
        rows = row->type == FIELD_OBJECT ? row->fields : NULL;
    }
    return NULL;
}
