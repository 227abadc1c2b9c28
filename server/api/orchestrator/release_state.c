/* Where a release is: in each environment, what became of its promotions there, and whether it is what runs there now. */
#include "server/api/orchestrator/release.h"
#include "server/api/orchestrator/resources.h"

#include "server/engine/promotion.h"
#include "server/list.h"
#include "server/reference.h"
#include "server/store/page.h"
#include "server/worker.h"

enum { ENVIRONMENTS = 1000 }; /* the first in their order */

static const char *const states[] = {"not_deployed", "pending", "awaiting_approval", "deploying", "deployed",
                                     "superseded",   "failed",  "rolled_back",       NULL};

// clang-format off
static const struct field environment_fields[] = {
    {"environmentId",   FIELD_UUID,   FIELD_REQUIRED},
    {"environmentName", FIELD_STRING, FIELD_REQUIRED, .max = 63},
    {"orderIndex",      FIELD_INT,    FIELD_REQUIRED},
    {"state",           FIELD_ENUM,   FIELD_REQUIRED, .choices = states, .doc = "superseded: it was deployed there, and another is now."},
    {"promotionId",     FIELD_UUID,   .doc = "The promotion that the state is of."},
    {"deploymentJobId", FIELD_UUID,   FIELD_NULLABLE},
    {"deployedAt",      FIELD_TIME,   .doc = "When it reached the environment, if it did."},
    {"deployedBy",      FIELD_STRING, .max = 255},
    {"changedAt",       FIELD_TIME,   .doc = "When it came into this state."},
    {0}};

const struct field release_state_fields[] = {
    {"releaseId",    FIELD_UUID,   FIELD_REQUIRED},
    {"status",       FIELD_STRING, FIELD_REQUIRED, .max = 20, .doc = "Of the release."},
    {"environments", FIELD_LIST,   FIELD_REQUIRED, .max = ENVIRONMENTS, .item = FIELD_OBJECT, .fields = environment_fields, .doc = "In their order."},
    {0}};

const struct field release_list_query[] = {
    {"environmentId", FIELD_UUID, .doc = "What is deployed there now."},
    {0}};
// clang-format on

struct stating {
    struct request *r;
    const struct json *release;
    struct reference_users promotions;
    const struct json *environments[ENVIRONMENTS];
    size_t n;
};

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

static struct space space_of(const struct request *r)
{
    return (struct space){r->caller.partition, r->caller.tenant};
}

/* --- one environment --- */

/* The newest that says something of where the release is; what was rejected or cancelled changed nothing. `deployed`: the
 * newest that brought it there. */
static const struct json *latest_of(const struct stating *s, struct str environment, const struct json **deployed)
{
    const struct json *latest = NULL;

    *deployed = NULL;
    for (size_t i = 0; i < s->promotions.n; i++) {
        const struct json *p = s->promotions.list[i];
        enum promotion_status status = promotion_status(p);
        if (!str_eq(member(p, "environmentId"), environment) || status == PROMOTION_REJECTED ||
            status == PROMOTION_CANCELLED)
            continue;
        if (latest == NULL || str_cmp(member(p, "id"), member(latest, "id")) > 0)
            latest = p;
        if (status == PROMOTION_DEPLOYED &&
            (*deployed == NULL || str_cmp(member(p, "id"), member(*deployed, "id")) > 0))
            *deployed = p;
    }
    return latest;
}

static const char *state_of(enum promotion_status status)
{
    switch (status) {
    case PROMOTION_PENDING:
    case PROMOTION_APPROVED:
        return "pending";
    case PROMOTION_DEPLOYED:
        return "superseded";
    default:
        return status < PROMOTION_STATUSES ? promotion_statuses[status] : "not_deployed";
    }
}

static const char *changed_by(enum promotion_status status)
{
    switch (status) {
    case PROMOTION_PENDING:
    case PROMOTION_AWAITING:
        return "requestedAt";
    case PROMOTION_APPROVED:
        return "decidedAt";
    case PROMOTION_DEPLOYING:
        return "startedAt";
    default:
        return "completedAt";
    }
}

static void put(struct json_out *o, const char *name, const struct json *value)
{
    if (value == NULL)
        return;
    json_key(o, str_z(name));
    json_put(o, value);
}

static void put_environment(struct json_out *o, const struct stating *s, const struct json *e, const struct json *fact)
{
    const struct json *deployed, *latest = latest_of(s, member(e, "id"), &deployed);
    bool current = fact != NULL && str_eq(member(fact, "id"), member(s->release, "id"));
    enum promotion_status status = promotion_status(latest);

    json_open(o, '{');
    if (current)
        put(o, "changedAt", json_get(fact, "deployedAt"));
    else if (latest != NULL)
        put(o, "changedAt", json_get(latest, changed_by(status)));
    put(o, "deployedAt", current ? json_get(fact, "deployedAt") : json_get(deployed, "completedAt"));
    put(o, "deployedBy", current ? json_get(fact, "deployedBy") : json_get(deployed, "requestedBy"));
    json_key(o, S("deploymentJobId"));
    json_put(o, json_get(current ? fact : latest, "deploymentJobId"));
    put(o, "environmentId", json_get(e, "id"));
    put(o, "environmentName", json_get(e, "name"));
    put(o, "orderIndex", json_get(e, "orderIndex"));
    if (member(fact, "promotionId").n > 0 || !current)
        put(o, "promotionId", current ? json_get(fact, "promotionId") : json_get(latest, "id"));
    json_key(o, S("state"));
    json_put_z(o, current ? "deployed" : latest == NULL ? "not_deployed" : state_of(status));
    json_close(o, '}');
}

/* --- reading --- */

static void got_facts(void *arg, enum code c, const struct redis_value *v)
{
    struct stating *s = arg;
    struct request *r = s->r;
    struct json_out o;
    struct buf b;

    if (c != OK) {
        reply_error(r, c);
        return;
    }
    buf_init_arena(&b, &r->arena, 1024);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("environments"));
    json_open(&o, '[');
    for (size_t i = 0; i < s->n; i++) {
        const struct redis_value *fact = redis_at(v, i);
        put_environment(&o, s, s->environments[i],
                        redis_is_nil(fact) ? NULL
                                           : json_parse(&r->arena, arena_str(&r->arena, redis_text(fact)), NULL, NULL));
    }
    json_close(&o, ']');
    put(&o, "releaseId", json_get(s->release, "id"));
    put(&o, "status", json_get(s->release, "status"));
    json_close(&o, '}');
    if (b.failed)
        reply_error(r, SYS_OVERLOADED);
    else
        reply_data(r, 200, buf_view(&b));
}

static void got_environments(void *arg, enum code c, const struct page_result *result)
{
    struct stating *s = arg;
    struct request *r = s->r;
    struct str *argv = arena_array(&r->arena, ENVIRONMENTS + 3, sizeof(*argv));
    struct page_item item;

    if (c == OK && argv == NULL)
        c = SYS_OVERLOADED;
    if (c != OK) {
        reply_error(r, c);
        return;
    }
    argv[0] = S("HMGET");
    argv[1] = key_environment_releases(&r->arena, space_of(r));
    for (size_t i = 0; s->n < ENVIRONMENTS && page_item(result, i, &item); i++) {
        const struct json *e =
            item.json.p == NULL ? NULL : json_parse(&r->arena, arena_str(&r->arena, item.json), NULL, NULL);
        if (e == NULL)
            continue;
        argv[s->n + 2] = member(e, "id");
        s->environments[s->n++] = e;
    }
    argv[s->n + 2] = S("none"); /* a command with no field would be a faulty one */
    const struct store_command read = {s->n + 3, argv};
    c = store_read(r->worker->store, &read, 1, &r->ops, got_facts, s);
    if (c != OK)
        reply_error(r, c);
}

static enum flow got_promotions(struct request *r, const struct reference_users *users)
{
    struct stating *s = r->state;
    const struct page_query q = {.space = space_of(r),
                                 .kind = "environment",
                                 .source = PAGE_SORTED,
                                 .field = "orderIndex",
                                 .count = ENVIRONMENTS};

    s->promotions = *users;
    enum code c = store_page(r->worker->store, &r->arena, &q, &r->ops, got_environments, s);
    return c == OK ? WAIT : reply_error(r, c);
}

static enum flow got_release(struct request *r, struct document *d, const struct json *release)
{
    struct stating *s = r->state;

    s->release = release;
    return reference_users(r, &promotion_resource, "releaseId", d->id, NULL, got_promotions);
}

enum flow release_state(struct request *r)
{
    struct stating *s = arena_new(&r->arena, struct stating);

    if (s == NULL)
        return reply_error(r, SYS_OVERLOADED);
    s->r = r;
    r->state = s;
    return crud_read(r, &release_resource, r->params[0], got_release);
}

/* --- the list of what is deployed in an environment --- */

static void got_current(void *arg, enum code c, const struct redis_value *v)
{
    struct request *r = arg;
    const struct json *fact =
        c != OK || redis_is_nil(v) ? NULL : json_parse(&r->arena, arena_str(&r->arena, redis_text(v)), NULL, NULL);
    struct str name = member(fact, "name");
    const struct filter *scope =
        filter_equal(&r->arena, release_resource.fields, "name", name.n > 0 ? name : S("")); /* no release has none */

    if (c != OK || scope == NULL)
        reply_error(r, c != OK ? c : SYS_OVERLOADED);
    else
        list_reply(r, &release_resource, scope);
}

enum flow release_list(struct request *r)
{
    struct str environment = member(r->parameters, "environmentId");
    const struct store_command read =
        STORE_COMMAND(S("HGET"), key_environment_releases(&r->arena, space_of(r)), environment);

    if (environment.n == 0)
        return crud_list(r);
    enum code c = store_read(r->worker->store, &read, 1, &r->ops, got_current, r);
    return c == OK ? WAIT : reply_error(r, c);
}

/* --- was it ever deployed --- */

static enum flow got_history(struct request *r, const struct reference_users *users)
{
    bool *deployed = change_current(r)->state;

    for (size_t i = 0; i < users->n; i++) {
        enum promotion_status status = promotion_status(users->list[i]);
        *deployed = *deployed || status == PROMOTION_DEPLOYED || status == PROMOTION_ROLLED_BACK ||
                    json_str(json_get(users->list[i], "startedAt")).n > 0;
    }
    *deployed = *deployed || users->more;
    return change_gathered(r);
}

enum flow release_look_deployed(struct request *r, struct change *c, bool *out)
{
    c->state = out;
    return reference_users(r, &promotion_resource, "releaseId", c->id, c->commit, got_history);
}
