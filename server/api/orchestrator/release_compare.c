/* How two releases differ, component by component. */
#include "server/api/orchestrator/release.h"
#include "server/api/orchestrator/resources.h"

#include "lib/semver.h"

static const char *const changes[] = {[SEMVER_SAME] = "unknown",
                                      [SEMVER_MAJOR] = "major",
                                      [SEMVER_MINOR] = "minor",
                                      [SEMVER_PATCH] = "patch",
                                      [SEMVER_PRERELEASE] = "prerelease",
                                      [SEMVER_DOWNGRADE] = "downgrade",
                                      NULL};

// clang-format off
static const struct field side_fields[] = {
    {"digest", FIELD_STRING, FIELD_REQUIRED, .max = 71},
    {"semver", FIELD_STRING, .max = 128},
    {"tag",    FIELD_STRING, .max = 128},
    {0}};
static const struct field part_fields[] = {
    {"componentId", FIELD_UUID,   FIELD_REQUIRED},
    {"name",        FIELD_STRING, FIELD_REQUIRED, .max = 100},
    {"digest",      FIELD_STRING, FIELD_REQUIRED, .max = 71},
    {"semver",      FIELD_STRING, .max = 128},
    {"tag",         FIELD_STRING, .max = 128},
    {0}};
static const struct field changed_fields[] = {
    {"componentId",  FIELD_UUID,   FIELD_REQUIRED},
    {"name",         FIELD_STRING, FIELD_REQUIRED, .max = 100},
    {"from",         FIELD_OBJECT, FIELD_REQUIRED, .fields = side_fields},
    {"to",           FIELD_OBJECT, FIELD_REQUIRED, .fields = side_fields},
    {"semverChange", FIELD_ENUM,   FIELD_REQUIRED, .choices = changes, .doc = "unknown: one of them has no semantic version, or they are the same."},
    {0}};
static const struct field release_fields[] = {
    {"id",   FIELD_UUID,   FIELD_REQUIRED},
    {"name", FIELD_STRING, FIELD_REQUIRED, .max = 128},
    {0}};

const struct field release_compare_fields[] = {
    {"from",      FIELD_OBJECT, FIELD_REQUIRED, .fields = release_fields, .doc = "The first of the path."},
    {"to",        FIELD_OBJECT, FIELD_REQUIRED, .fields = release_fields, .doc = "The second."},
    {"added",     FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = part_fields, .doc = "Only in the second."},
    {"removed",   FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = part_fields, .doc = "Only in the first."},
    {"changed",   FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = changed_fields, .doc = "In both, at other digests."},
    {"unchanged", FIELD_LIST,   FIELD_REQUIRED, .item = FIELD_OBJECT, .fields = part_fields, .doc = "In both, at one digest."},
    {"identical", FIELD_BOOL,   FIELD_REQUIRED, .doc = "The same components at the same digests."},
    {0}};
// clang-format on

struct comparing {
    const struct json *from;
};

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

static const struct json *counterpart(const struct json *release, const struct json *part)
{
    const struct json *parts = json_get(release, "components");

    for (size_t i = 0; i < json_count(parts); i++)
        if (str_eq(member(json_at(parts, i), "componentId"), member(part, "componentId")))
            return json_at(parts, i);
    return NULL;
}

static const char *change_of(const struct json *from, const struct json *to)
{
    struct semver a, b;

    if (!semver_parse(member(from, "semver"), &a) || !semver_parse(member(to, "semver"), &b))
        return "unknown";
    return changes[semver_change(&a, &b)];
}

static void put_members(struct json_out *o, const struct json *part, const char *const *names)
{
    json_open(o, '{');
    for (; *names != NULL; names++)
        if (json_get(part, *names) != NULL) {
            json_key(o, str_z(*names));
            json_put(o, json_get(part, *names));
        }
    json_close(o, '}');
}

static void put_changed(struct json_out *o, const struct json *from, const struct json *to)
{
    static const char *const side[] = {"digest", "semver", "tag", NULL};

    json_open(o, '{');
    json_key(o, S("componentId"));
    json_put(o, json_get(to, "componentId"));
    json_key(o, S("from"));
    put_members(o, from, side);
    json_key(o, S("name"));
    json_put(o, json_get(to, "name"));
    json_key(o, S("semverChange"));
    json_put_z(o, change_of(from, to));
    json_key(o, S("to"));
    put_members(o, to, side);
    json_close(o, '}');
}

enum which { ONLY_HERE, SAME, OTHER };

static enum which which_of(const struct json *part, const struct json *other)
{
    if (other == NULL)
        return ONLY_HERE;
    return str_eq(member(part, "digest"), member(other, "digest")) ? SAME : OTHER;
}

/* The parts of `here` whose counterpart there is so. */
static void put_parts(struct json_out *o, const char *name, const struct json *here, const struct json *there,
                      enum which which)
{
    static const char *const whole[] = {"componentId", "digest", "name", "semver", "tag", NULL};
    const struct json *parts = json_get(here, "components");

    json_key(o, str_z(name));
    json_open(o, '[');
    for (size_t i = 0; i < json_count(parts); i++) {
        const struct json *part = json_at(parts, i), *other = counterpart(there, part);
        if (which_of(part, other) != which)
            continue;
        if (which == OTHER)
            put_changed(o, part, other);
        else
            put_members(o, part, whole);
    }
    json_close(o, ']');
}

static bool is_within(const struct json *here, const struct json *there)
{
    const struct json *parts = json_get(here, "components");

    for (size_t i = 0; i < json_count(parts); i++)
        if (which_of(json_at(parts, i), counterpart(there, json_at(parts, i))) != SAME)
            return false;
    return true;
}

static enum flow got_second(struct request *r, struct document *d, const struct json *to)
{
    const struct json *from = ((const struct comparing *)r->state)->from;
    static const char *const names[] = {"id", "name", NULL};
    struct json_out o;
    struct buf b;

    (void)d;
    buf_init_arena(&b, &r->arena, 1024);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put_parts(&o, "added", to, from, ONLY_HERE);
    put_parts(&o, "changed", from, to, OTHER);
    json_key(&o, S("from"));
    put_members(&o, from, names);
    json_key(&o, S("identical"));
    json_put_bool(&o, is_within(from, to) && is_within(to, from));
    put_parts(&o, "removed", from, to, ONLY_HERE);
    json_key(&o, S("to"));
    put_members(&o, to, names);
    put_parts(&o, "unchanged", from, to, SAME);
    json_close(&o, '}');
    return b.failed ? reply_error(r, SYS_OVERLOADED) : reply_data(r, 200, buf_view(&b));
}

static enum flow got_first(struct request *r, struct document *d, const struct json *from)
{
    struct comparing *x = r->state;

    (void)d;
    x->from = from;
    return crud_read(r, &release_resource, r->params[1], got_second);
}

enum flow release_comparison(struct request *r)
{
    struct comparing *x = arena_new(&r->arena, struct comparing);

    if (x == NULL)
        return reply_error(r, SYS_OVERLOADED);
    r->state = x;
    return crud_read(r, &release_resource, r->params[0], got_first);
}
