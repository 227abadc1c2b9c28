#include "server/permission.h"

#include "server/request.h"

#include <string.h>

// clang-format off
#define PERMISSION_MAP(X)                                                                   \
    X("environment:read",     "See environments.")                                          \
    X("environment:create",   "Create environments.")                                       \
    X("environment:update",   "Change environments.")                                       \
    X("environment:delete",   "Delete environments.")                                       \
    X("freeze:read",          "See freeze windows.")                                        \
    X("freeze:create",        "Create freeze windows.")                                     \
    X("freeze:delete",        "End freeze windows.")                                        \
    X("freeze:override",      "Promote during a freeze, explicitly and with a reason.")     \
    X("target:read",          "See deployment targets.")                                    \
    X("target:create",        "Create deployment targets.")                                 \
    X("target:update",        "Change deployment targets.")                                 \
    X("target:delete",        "Delete deployment targets.")                                 \
    X("agent:read",           "See agents.")                                                \
    X("agent:update",         "Change agents.")                                             \
    X("agent:delete",         "Remove and revoke agents.")                                  \
    X("agent:register-token", "Make registration tokens for agents.")                       \
    X("agent:connect",        "Be an agent: heartbeat and task stream of its own id.")      \
    X("integration:read",     "See integrations.")                                          \
    X("integration:create",   "Create integrations.")                                       \
    X("integration:update",   "Change and test integrations.")                              \
    X("integration:delete",   "Delete integrations.")                                       \
    X("component:read",       "See components and their versions.")                         \
    X("component:create",     "Create components.")                                         \
    X("component:update",     "Change components and synchronise their versions.")          \
    X("component:delete",     "Delete components.")                                         \
    X("artifact:read",        "Download artifacts of versions and of runs.")                \
    X("release:read",         "See releases.")                                              \
    X("release:create",       "Create releases.")                                           \
    X("release:update",       "Change releases.")                                           \
    X("release:delete",       "Delete releases that were never promoted.")                  \
    X("release:deprecate",    "Deprecate releases.")                                        \
    X("promotion:read",       "See promotions, decisions and approvals.")                   \
    X("promotion:request",    "Ask for promotions.")                                        \
    X("promotion:approve",    "Approve and reject promotions.")                             \
    X("promotion:cancel",     "Cancel promotions of others, too.")                          \
    X("promotion:skip-order", "Promote past an environment, with a reason.")                \
    X("policy:read",          "See approval policies.")                                     \
    X("policy:create",        "Create approval policies.")                                  \
    X("policy:update",        "Change approval policies.")                                  \
    X("policy:delete",        "Delete approval policies.")                                  \
    X("deployment:read",      "See deployment jobs, tasks, logs and artifacts.")            \
    X("deployment:rollback",  "Roll deployments back.")                                     \
    X("dashboard:read",       "Follow the dashboard.")                                      \
    X("workflow:read",        "See workflow templates, runs, steps and logs.")              \
    X("workflow:create",      "Create workflow templates.")                                 \
    X("workflow:update",      "Change workflow templates.")                                 \
    X("workflow:delete",      "Delete workflow templates.")                                 \
    X("workflow:execute",     "Start, pause, resume and cancel runs.")                      \
    X("progressive:read",     "See A/B releases and rollout strategies.")                   \
    X("progressive:manage",   "Create, start, advance, promote and roll back A/B releases.")\
    X("evidence:read",        "See evidence packets and version stickers.")                 \
    X("evidence:export",      "Download evidence packets and audit reports.")               \
    X("audit:read",           "Read and verify the audit trail.")                           \
    X("plugin:read",          "See plugins and their instances.")                           \
    X("plugin:manage",        "Enable, disable and configure plugins.")                     \
    X("tenant:manage",        "Manage the tenant's keys and settings.")

static const struct {
    const char *name, *doc;
    size_t n; /* of the name */
} permissions[] = {
#define X(name, doc) {name, doc, sizeof(name) - 1},
    PERMISSION_MAP(X)
#undef X
};

/* Patterns as permission_add takes them, separated by spaces. `*:read` is every reading one. */
static const struct {
    const char *name, *grants, *doc;
} roles[] = {
    {"admin",           "*",
     "Everything but being an agent."},
    {"release-manager", "*:read component:* release:* promotion:request promotion:cancel deployment:rollback workflow:* "
                        "freeze:create freeze:delete progressive:manage evidence:export",
     "Makes releases and brings them through the environments."},
    {"operator",        "*:read environment:update target:* agent:* integration:update workflow:execute "
                        "deployment:rollback promotion:cancel",
     "Runs the estate: targets, agents, workflows."},
    {"approver",        "*:read promotion:approve",
     "Decides on promotions."},
    {"viewer",          "*:read",
     "Sees everything but the audit trail."},
    {"auditor",         "*:read audit:read evidence:export",
     "Sees everything, reads and verifies the audit trail."},
    {"agent",           "agent:connect artifact:read",
     "An agent: its own heartbeat and task stream, and the artifacts it deploys."},
};
// clang-format on

_Static_assert(ARRAY_LEN(permissions) <= 64 * PERMISSION_WORDS, "a bit for each permission");

size_t permission_count(void)
{
    return ARRAY_LEN(permissions);
}

const char *permission_name(size_t bit)
{
    return permissions[bit].name;
}

const char *permission_doc(size_t bit)
{
    return permissions[bit].doc;
}

int permission_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(permissions); i++)
        if (permissions[i].n == name.n && memcmp(permissions[i].name, name.p, name.n) == 0)
            return (int)i;
    return -1;
}

bool permission_has(const struct permission_set *set, size_t bit)
{
    return set->word[bit / 64] >> (bit % 64) & 1;
}

/* What nobody gets by a wildcard: being an agent is not a right over agents, and the audit trail is asked for by name.
 */
static bool is_own(struct str name)
{
    return str_eq(name, S("agent:connect"));
}

static bool matches(struct str pattern, struct str name)
{
    if (is_own(name))
        return str_eq(pattern, name);
    if (str_eq(pattern, S("*")))
        return true;
    if (str_eq(pattern, S("*:read")))
        return str_ends(name, S(":read")) && !str_eq(name, S("audit:read"));
    if (str_ends(pattern, S(":*")))
        return str_starts(name, str_slice(pattern, 0, pattern.n - 1));
    return str_eq(pattern, name);
}

bool permission_add(struct permission_set *set, struct str name)
{
    bool any = false;
    for (size_t i = 0; i < ARRAY_LEN(permissions); i++)
        if (matches(name, str_z(permissions[i].name))) {
            set->word[i / 64] |= UINT64_C(1) << (i % 64);
            any = true;
        }
    return any;
}

bool permission_covers(struct str pattern, const char *permission)
{
    return matches(pattern, str_z(permission));
}

/* As environments are called, or an id: both are of these characters. */
static bool is_place(struct str where)
{
    bool good = where.n > 0 && where.n <= PERMISSION_PLACE_MAX;
    for (size_t i = 0; good && i < where.n; i++)
        good = (where.p[i] >= 'a' && where.p[i] <= 'z') || (where.p[i] >= 'A' && where.p[i] <= 'F') ||
               (where.p[i] >= '0' && where.p[i] <= '9') || where.p[i] == '-';
    return good;
}

bool permission_narrowed(struct str text, struct str *what, struct str *where)
{
    struct permission_set any = {{0}};
    struct str rest = text;
    *what = str_cut(&rest, '@');
    *where = rest;
    return rest.p != NULL && is_place(rest) && permission_add(&any, *what);
}

size_t role_count(void)
{
    return ARRAY_LEN(roles);
}

const char *role_name(size_t i)
{
    return roles[i].name;
}

const char *role_doc(size_t i)
{
    return roles[i].doc;
}

bool role_find(struct str name, struct permission_set *out)
{
    for (size_t i = 0; i < ARRAY_LEN(roles); i++) {
        if (!str_eqz(name, roles[i].name))
            continue;
        struct str rest = str_z(roles[i].grants);
        while (rest.p != NULL)
            permission_add(out, str_cut(&rest, ' '));
        return true;
    }
    return false;
}

void permission_list(struct buf *out, const struct permission_set *set)
{
    for (size_t i = 0; i < ARRAY_LEN(permissions); i++)
        if (permission_has(set, i))
            buf_printf(out, "%s%s", out->n > 0 ? "," : "", permissions[i].name);
}

bool caller_may(const struct caller *c, const char *permission)
{
    int bit = permission_find(str_z(permission));
    return bit >= 0 && permission_has(&c->permissions, (size_t)bit);
}
