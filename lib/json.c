/* The tree: nodes in an arena. An object keeps its members in order; while they are few, a name is looked for from the
 * first to the last, and beyond that through a table. */
#include "lib/json_internal.h"

#include "lib/must.h"

#include <math.h>
#include <string.h>

enum { FEW = 16, ROOM = 4 };

struct json json_null = {.type = JSON_NULL}, json_false = {.type = JSON_BOOL},
            json_true = {.type = JSON_BOOL, .truth = true};

struct json *json_node(struct arena *a, enum json_type type, size_t n)
{
    struct json *j = arena_room(a, sizeof *j);
    if (j != NULL)
        *j = (struct json){.type = type, .n = n};
    return j;
}

/* Members by name. The table has twice as many slots as there is room for members, so a free one ends each search; a
 * slot holds the member's place, counted from 1. */

static size_t slots_of(const struct json *object)
{
    size_t n = 2 * FEW;
    while (n < 2 * (size_t)object->room)
        n *= 2;
    return n;
}

static uint32_t *slot_of(const struct json *object, struct str name)
{
    size_t mask = slots_of(object) - 1, at = str_hash(name) & mask;
    while (object->slots[at] != 0 && !str_eq(object->members[object->slots[at] - 1].name, name))
        at = (at + 1) & mask;
    return &object->slots[at];
}

/* The place of a member, or n. */
static size_t place_of(const struct json *object, struct str name)
{
    size_t i = 0;
    if (object->slots != NULL) {
        uint32_t slot = *slot_of(object, name);
        return slot == 0 ? object->n : slot - 1;
    }
    while (i < object->n && !str_eq(object->members[i].name, name))
        i++;
    return i;
}

/* Enters all members anew. false: *twice is the name of two. */
static bool enter(struct json *object, struct str *twice)
{
    memset(object->slots, 0, slots_of(object) * sizeof *object->slots);
    for (size_t i = 0; i < object->n; i++) {
        uint32_t *slot = slot_of(object, object->members[i].name);
        if (*slot != 0) {
            *twice = object->members[i].name;
            return false;
        }
        *slot = (uint32_t)i + 1;
    }
    return true;
}

/* The table for the room there is now; every object of more than a few members has one. */
static bool tabulate(struct arena *a, struct json *object, struct str *twice)
{
    object->slots = arena_room(a, slots_of(object) * sizeof *object->slots);
    return object->slots != NULL && enter(object, twice);
}

bool json_settle(struct arena *a, struct json *object, struct str *twice)
{
    *twice = STR_NONE;
    if (object->n > FEW)
        return tabulate(a, object, twice);
    for (size_t i = 1; i < object->n; i++)
        for (size_t k = 0; k < i; k++)
            if (str_eq(object->members[i].name, object->members[k].name)) {
                *twice = object->members[i].name;
                return false;
            }
    return true;
}

/* Reading. */

enum json_type json_type(const struct json *j)
{
    return j == NULL ? JSON_ABSENT : j->type;
}

bool json_is(const struct json *j, enum json_type t)
{
    return json_type(j) == t;
}

struct json *json_get_str(const struct json *object, struct str name)
{
    if (!json_is(object, JSON_OBJECT) || name.p == NULL)
        return NULL;
    size_t i = place_of(object, name);
    return i == object->n ? NULL : object->members[i].value;
}

struct json *json_path(const struct json *root, struct str dotted)
{
    struct json *j = json_get_str(root, str_cut(&dotted, '.'));
    while (j != NULL && dotted.p != NULL)
        j = json_get_str(j, str_cut(&dotted, '.'));
    return j;
}

size_t json_count(const struct json *j)
{
    return json_is(j, JSON_OBJECT) || json_is(j, JSON_ARRAY) ? j->n : 0;
}

struct json *json_at(const struct json *array, size_t i)
{
    return json_is(array, JSON_ARRAY) && i < array->n ? array->elements[i] : NULL;
}

struct str json_str(const struct json *j)
{
    return json_is(j, JSON_STRING) ? (struct str){j->text, j->n} : STR_NONE;
}

struct str json_join(struct arena *a, const struct json *array, char between)
{
    struct buf b;
    buf_init_arena(&b, a, 64);
    for (size_t i = 0; i < json_count(array); i++) {
        if (i > 0)
            buf_char(&b, between);
        buf_str(&b, json_str(json_at(array, i)));
    }
    return b.failed ? STR_NONE : b.n == 0 ? S("") : buf_view(&b);
}

int64_t json_int(const struct json *j, int64_t otherwise)
{
    return json_is(j, JSON_INT) ? j->whole : otherwise;
}

double json_real(const struct json *j, double otherwise)
{
    return json_is(j, JSON_INT) ? (double)j->whole : json_is(j, JSON_REAL) ? j->real : otherwise;
}

bool json_bool(const struct json *j, bool otherwise)
{
    return json_is(j, JSON_BOOL) ? j->truth : otherwise;
}

static bool numbers_equal(const struct json *a, const struct json *b)
{
    if (json_is(a, JSON_INT) && json_is(b, JSON_INT))
        return json_int(a, 0) == json_int(b, 0);
    return json_real(a, 0) == json_real(b, 0);
}

static bool is_number(const struct json *j)
{
    return json_is(j, JSON_INT) || json_is(j, JSON_REAL);
}

bool json_equal(const struct json *a, const struct json *b)
{
    if (is_number(a) && is_number(b))
        return numbers_equal(a, b);
    if (json_type(a) != json_type(b) || json_count(a) != json_count(b))
        return false;
    if (json_is(a, JSON_STRING))
        return str_eq(json_str(a), json_str(b));
    if (json_is(a, JSON_BOOL))
        return json_bool(a, false) == json_bool(b, false);
    if (json_is(a, JSON_ARRAY))
        for (size_t i = 0; i < json_count(a); i++)
            if (!json_equal(json_at(a, i), json_at(b, i)))
                return false;
    for (struct json_iter it = json_members(a); json_next(&it);)
        if (!json_equal(it.value, json_get_str(b, it.name)))
            return false;
    return true;
}

struct json_iter json_members(const struct json *object)
{
    return (struct json_iter){.object = object};
}

bool json_next(struct json_iter *it)
{
    if (!json_is(it->object, JSON_OBJECT) || it->at == it->object->n)
        return false;
    it->name = it->object->members[it->at].name;
    it->value = it->object->members[it->at++].value;
    return true;
}

/* Building. */

struct json *json_new(struct arena *a, enum json_type empty)
{
    must(empty == JSON_OBJECT || empty == JSON_ARRAY || empty == JSON_NULL);
    return empty == JSON_NULL ? &json_null : json_node(a, empty, 0);
}

struct json *json_new_for(struct arena *a, enum json_type empty, size_t n)
{
    must(empty == JSON_OBJECT || empty == JSON_ARRAY);
    size_t size = empty == JSON_OBJECT ? sizeof(struct json_member) : sizeof(struct json *);
    struct json *j = n > UINT32_MAX / 2 ? NULL : json_node(a, empty, 0);
    if (j == NULL || n == 0)
        return j;
    j->members = arena_room(a, n * size);
    j->room = (uint32_t)n;
    return j->members == NULL ? NULL : j;
}

struct json *json_new_str(struct arena *a, struct str s)
{
    const char *text = str_utf8(s) ? arena_z(a, s) : NULL;
    struct json *j = text == NULL ? NULL : json_node(a, JSON_STRING, s.n);
    if (j != NULL)
        j->text = text;
    return j;
}

struct json *json_new_int(struct arena *a, int64_t v)
{
    struct json *j = json_node(a, JSON_INT, 0);
    if (j != NULL)
        j->whole = v;
    return j;
}

struct json *json_new_real(struct arena *a, double v)
{
    struct json *j = isfinite(v) ? json_node(a, JSON_REAL, 0) : NULL;
    if (j != NULL)
        j->real = v;
    return j;
}

struct json *json_new_bool(bool v)
{
    return v ? &json_true : &json_false;
}

/* Memory for one more, twice as much as there was; NULL: there is none. */
static void *grown(struct arena *a, struct json *j, const void *held, size_t size)
{
    size_t room = j->room == 0 ? ROOM : 2 * (size_t)j->room;
    void *larger = room > UINT32_MAX / 2 ? NULL : arena_room(a, room * size);
    if (larger == NULL)
        return NULL;
    if (j->n > 0)
        memcpy(larger, held, j->n * size);
    j->room = (uint32_t)room;
    return larger;
}

static bool make_room(struct arena *a, struct json *object)
{
    struct str twice;
    bool full = object->n == object->room;
    struct json_member *larger = full ? grown(a, object, object->members, sizeof *larger) : object->members;
    if (full && larger == NULL)
        return false;
    object->members = larger;
    return object->n < FEW || (object->slots != NULL && !full) || tabulate(a, object, &twice);
}

bool json_set(struct arena *a, struct json *object, struct str name, struct json *value)
{
    if (!json_is(object, JSON_OBJECT) || value == NULL)
        return false;
    size_t i = place_of(object, name);
    if (i < object->n) {
        object->members[i].value = value;
        return true;
    }
    return json_add(a, object, str_utf8(name) ? arena_str(a, name) : STR_NONE, value);
}

bool json_add(struct arena *a, struct json *object, struct str name, struct json *value)
{
    if (!json_is(object, JSON_OBJECT) || name.p == NULL || value == NULL || !make_room(a, object))
        return false;
    object->members[object->n++] = (struct json_member){name, value};
    if (object->slots != NULL)
        *slot_of(object, name) = (uint32_t)object->n;
    return true;
}

bool json_unset(struct json *object, struct str name)
{
    struct str twice;
    size_t i = json_is(object, JSON_OBJECT) ? place_of(object, name) : 0;
    if (!json_is(object, JSON_OBJECT) || i == object->n)
        return false;
    object->n--;
    memmove(object->members + i, object->members + i + 1, (object->n - i) * sizeof *object->members);
    return object->slots == NULL || enter(object, &twice);
}

bool json_append(struct arena *a, struct json *array, struct json *value)
{
    if (!json_is(array, JSON_ARRAY) || value == NULL)
        return false;
    if (array->n == array->room) {
        struct json **larger = grown(a, array, array->elements, sizeof *larger);
        if (larger == NULL)
            return false;
        array->elements = larger;
    }
    array->elements[array->n++] = value;
    return true;
}

static struct json *copy(struct arena *a, const struct json *j, bool deep);

static bool copy_elements(struct arena *a, struct json *made, const struct json *array, bool deep)
{
    made->room = (uint32_t)array->n;
    made->elements = arena_room(a, array->n * sizeof(struct json *));
    for (size_t i = 0; made->elements != NULL && i < array->n; i++)
        if ((made->elements[i] = copy(a, array->elements[i], deep)) == NULL)
            return false;
    return made->elements != NULL;
}

static bool copy_members(struct arena *a, struct json *made, const struct json *object, bool deep)
{
    struct str twice;
    made->room = (uint32_t)object->n;
    made->members = arena_room(a, object->n * sizeof(struct json_member));
    for (size_t i = 0; made->members != NULL && i < object->n; i++) {
        const struct json_member *from = &object->members[i];
        struct json_member *to = &made->members[i];
        to->name = deep ? arena_str(a, from->name) : from->name;
        to->value = copy(a, from->value, deep);
        if (to->name.p == NULL || to->value == NULL)
            return false;
    }
    return made->members != NULL && (made->n <= FEW || tabulate(a, made, &twice));
}

static struct json *copy(struct arena *a, const struct json *j, bool deep)
{
    bool done = true;
    if (!deep && !json_is(j, JSON_ARRAY) && !json_is(j, JSON_OBJECT))
        return (struct json *)(uintptr_t)j; /* nobody changes a scalar */
    struct json *made = j == NULL ? NULL : json_node(a, j->type, j->n);
    if (made == NULL)
        return NULL;
    if (j->type == JSON_ARRAY)
        done = copy_elements(a, made, j, deep);
    else if (j->type == JSON_OBJECT)
        done = copy_members(a, made, j, deep);
    else if (j->type == JSON_STRING)
        done = (made->text = arena_z(a, json_str(j))) != NULL;
    else if (j->type == JSON_REAL)
        made->real = j->real;
    else if (j->type == JSON_INT)
        made->whole = j->whole;
    else
        made->truth = j->truth;
    return done ? made : NULL;
}

struct json *json_copy_tree(struct arena *a, const struct json *j)
{
    return copy(a, j, true);
}

struct json *json_share(struct arena *a, const struct json *j)
{
    return copy(a, j, false);
}

struct json *json_merge(struct arena *a, const struct json *target, const struct json *patch)
{
    if (!json_is(patch, JSON_OBJECT))
        return json_copy_tree(a, patch);
    struct json *result = json_new(a, JSON_OBJECT);
    for (struct json_iter it = json_members(json_is(target, JSON_OBJECT) ? target : NULL); json_next(&it);)
        if (json_get_str(patch, it.name) == NULL && !json_set(a, result, it.name, json_copy_tree(a, it.value)))
            return NULL;
    for (struct json_iter it = json_members(patch); json_next(&it);)
        if (!json_is(it.value, JSON_NULL) &&
            !json_set(a, result, it.name, json_merge(a, json_get_str(target, it.name), it.value)))
            return NULL;
    return result;
}
