/* A release of the newest versions: for each component the newest that fits, by the component's own order of versions. What
 * was found goes the way of any new release, with the versions named by id. */
#include "server/api/orchestrator/release.h"
#include "server/api/orchestrator/release_resolve.h"
#include "server/api/orchestrator/resources.h"

#include "lib/id.h"
#include "server/reference.h"
#include "server/store/page.h"
#include "server/worker.h"

// clang-format off
const struct field release_latest_fields[] = {
    {"name",              FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 128, .pattern = "^[A-Za-z0-9][A-Za-z0-9._+-]*$", .doc = "Of the new release, unique in the tenant."},
    {"displayName",       FIELD_STRING, .min = 1, .max = 200, .doc = "For people."},
    {"channel",           FIELD_STRING, .min = 1, .max = 63, .doc = "Versions of this channel only."},
    {"componentIds",      FIELD_LIST,   FIELD_UNIQUE_ITEMS, .item = FIELD_UUID, .min = 1, .max = RELEASE_COMPONENTS, .doc = "Default: all components."},
    {"pins",              FIELD_MAP,    .item = FIELD_STRING, .item_max = 128, .max = RELEASE_COMPONENTS, .preset = "{}",
     .doc = "A component's id to the tag or digest it is to have instead."},
    {"includePrerelease", FIELD_BOOL,   .preset = "false", .doc = "Pre-releases count as well."},
    {"notes",             FIELD_STRING, .max = 16384, .doc = "For people."},
    {0}};
// clang-format on

struct latest {
    struct request *r;
    struct str ids[RELEASE_COMPONENTS];
    struct str versions[RELEASE_COMPONENTS]; /* STR_NONE: pinned */
    size_t n, at;
};

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

static enum flow next(struct latest *l);

/* The pin of a component; its name in the map may be written in either case. */
static struct str pin_of(const struct latest *l, struct str id)
{
    char lower[ID_UUID];

    for (struct json_iter it = json_members(json_get(l->r->json, "pins")); json_next(&it);)
        if (id_is_uuid(it.name, lower) && str_eqz(id, lower))
            return json_str(it.value);
    return STR_NONE;
}

static enum code check_pins(struct latest *l)
{
    char lower[ID_UUID];

    for (struct json_iter it = json_members(json_get(l->r->json, "pins")); json_next(&it);) {
        bool known = false;
        for (size_t i = 0; id_is_uuid(it.name, lower) && i < l->n; i++)
            known = known || str_eqz(l->ids[i], lower);
        struct str field = arena_printf(&l->r->arena, "pins." STR_FMT, STR_ARG(it.name));
        if (!known)
            return field.p == NULL ? SYS_OVERLOADED
                                   : change_refuse_field(l->r, VAL_FAILED, field.p, "is none of the components");
    }
    return OK;
}

/* --- making --- */

static void put_part(struct json_out *o, const struct latest *l, size_t i)
{
    struct str pin = pin_of(l, l->ids[i]);
    const char *by = pin.n == 0 ? "versionId" : str_starts(pin, S("sha256:")) ? "digest" : "tag";

    json_open(o, '{');
    json_key(o, S("componentId"));
    json_put_str(o, l->ids[i]);
    json_key(o, str_z(by));
    json_put_str(o, pin.n == 0 ? l->versions[i] : pin);
    json_close(o, '}');
}

/* What POST /releases would have got. */
static struct json *body_of(struct latest *l)
{
    static const char *const kept[] = {"displayName", "name", "notes"};
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &l->r->arena, 1024);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("components"));
    json_open(&o, '[');
    for (size_t i = 0; i < l->n; i++)
        put_part(&o, l, i);
    json_close(&o, ']');
    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (json_get(l->r->json, kept[i]) != NULL) {
            json_key(&o, str_z(kept[i]));
            json_put(&o, json_get(l->r->json, kept[i]));
        }
    json_close(&o, '}');
    return b.failed ? NULL : json_parse(&l->r->arena, buf_view(&b), NULL, NULL);
}

/* It is found among the releases, not below this path. */
static enum flow made(struct request *r, struct change *c)
{
    struct str path = crud_location(r, c->id), place = STR_NONE;
    struct str here = S("/from-latest/");
    int64_t at = (int64_t)path.n - (int64_t)c->id.n - (int64_t)here.n;

    if (at > 0)
        place = arena_printf(&r->arena, STR_FMT "/" STR_FMT, (int)at, path.p, STR_ARG(c->id));
    reply_header(r, "Location", place);
    r->answer.location = place;
    return reply_document(r, 201, c->after, c->revision);
}

static enum flow create(struct latest *l)
{
    struct request *r = l->r;
    struct faults *faults = arena_new(&r->arena, struct faults);
    struct json *body = body_of(l);

    if (faults == NULL || body == NULL)
        return reply_error(r, SYS_OVERLOADED);
    faults_init(faults, &r->arena);
    r->json = field_check(release_resource.fields, body, FIELD_CREATE, faults);
    if (r->json == NULL)
        return reply_error(r, SYS_OVERLOADED);
    return crud_commit(r, CHANGE_CREATE, release_resource.prepare, "release.created", made);
}

/* --- choosing --- */

static bool fits(const struct latest *l, const struct json *version)
{
    struct str channel = member(l->r->json, "channel");

    if (json_bool(json_get(version, "prerelease"), false) &&
        !json_bool(json_get(l->r->json, "includePrerelease"), false))
        return false;
    return channel.n == 0 || str_eq(member(version, "channel"), channel);
}

static enum flow refuse_none(struct latest *l, const char *why)
{
    struct request *r = l->r;
    struct str id = l->ids[l->at];

    r->details = arena_printf(&r->arena, "{\"componentId\":\"" STR_FMT "\"}", STR_ARG(id));
    return reply_error(r, request_refuse(r, REL_TAG_UNRESOLVED, "component " STR_FMT " %s", STR_ARG(id), why));
}

static enum flow got_versions(struct request *r, const struct reference_users *users)
{
    struct latest *l = r->state;
    const struct json *newest = NULL;

    if (users->more)
        return refuse_none(l, "has more versions than can be looked at; pin it");
    for (size_t i = 0; i < users->n; i++) {
        const struct json *v = users->list[i];
        if (fits(l, v) && (newest == NULL || str_cmp(member(v, "sortKey"), member(newest, "sortKey")) > 0))
            newest = v;
    }
    if (newest == NULL)
        return refuse_none(l, "has no version that fits");
    l->versions[l->at++] = member(newest, "id");
    return next(l);
}

static enum flow next(struct latest *l)
{
    while (l->at < l->n && pin_of(l, l->ids[l->at]).n > 0)
        l->at++;
    if (l->at == l->n)
        return create(l);
    return reference_users(l->r, &version_resource, "componentId", l->ids[l->at], NULL, got_versions);
}

static enum flow have_components(struct latest *l)
{
    enum code c = check_pins(l);

    if (c == OK && l->n == 0)
        c = request_refuse(l->r, REL_EMPTY, "there are no components");
    return c == OK ? next(l) : reply_error(l->r, c);
}

static void got_components(void *arg, enum code c, const struct page_result *result)
{
    struct latest *l = arg;
    struct page_item item;

    if (c == OK && result->total > RELEASE_COMPONENTS)
        c = change_refuse_field(l->r, VAL_FAILED, "componentIds", "is needed: there are more than %d components",
                                RELEASE_COMPONENTS);
    if (c != OK) {
        reply_error(l->r, c);
        return;
    }
    for (size_t i = 0; l->n < RELEASE_COMPONENTS && page_item(result, i, &item); i++)
        l->ids[l->n++] = arena_str(&l->r->arena, item.id);
    have_components(l);
}

enum flow release_from_latest(struct request *r)
{
    struct latest *l = arena_new(&r->arena, struct latest);
    const struct json *ids = json_get(r->json, "componentIds");
    const struct page_query q = {.space = {r->caller.partition, r->caller.tenant},
                                 .kind = "component",
                                 .source = PAGE_CREATED,
                                 .count = RELEASE_COMPONENTS,
                                 .bare = true};

    if (l == NULL)
        return reply_error(r, SYS_OVERLOADED);
    l->r = r;
    r->state = l;
    for (size_t i = 0; i < json_count(ids) && i < RELEASE_COMPONENTS; i++)
        l->ids[l->n++] = json_str(json_at(ids, i));
    if (l->n > 0)
        return have_components(l);
    enum code c = store_page(r->worker->store, &r->arena, &q, &r->ops, got_components, l);
    return c == OK ? WAIT : reply_error(r, c);
}
