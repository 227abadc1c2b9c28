#include "server/oauth/scopes.h"

// clang-format off
static const struct {
    const char *name, *grants, *doc;
} rows[] = {
    {"projects:read",      "component:read release:read integration:read artifact:read",
     "Components, versions, artifacts and releases."},
    {"projects:write",     "component:* release:* integration:* artifact:read",
     "Publish versions and make releases."},
    {"deployments:read",   "deployment:read promotion:read workflow:read dashboard:read",
     "Promotions, deployments and runs, with their logs and streams."},
    {"deployments:write",  "deployment:* promotion:read promotion:request promotion:cancel workflow:read workflow:execute dashboard:read",
     "Ask for promotions, start and cancel runs, roll back."},
    {"environments:read",  "environment:read freeze:read target:read agent:read policy:read",
     "Environments with their targets, agents and freezes."},
    {"environments:write", "environment:* freeze:read freeze:create freeze:delete target:* agent:read policy:read",
     "Make and change environments, targets and freezes."},
    {"metrics:read",       "dashboard:read",
     "Follow the dashboard."},
};
// clang-format on

const char scopes_preset[] = "[\"projects:write\",\"deployments:write\",\"environments:read\",\"metrics:read\"]";

bool scopes_row(size_t i, const char **name, const char **grants, const char **doc)
{
    if (i >= ARRAY_LEN(rows))
        return false;
    *name = rows[i].name;
    *grants = rows[i].grants;
    *doc = rows[i].doc;
    return true;
}

bool scopes_next(struct str *rest, struct str *name)
{
    if (rest->p == NULL)
        return false;
    *name = str_cut(rest, ' ');
    return true;
}

/* The permissions that a scope stands for, between spaces: those of its row, else itself. */
static struct str grants_of(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (str_eqz(name, rows[i].name))
            return str_z(rows[i].grants);
    return name;
}

bool scopes_known(struct str name)
{
    struct permission_set any = {{0}};
    struct str what, where;
    bool is_row = name.n > 0 && grants_of(name).p != name.p;
    return is_row ||
           (name.n <= SCOPES_NAME_MAX && (permission_add(&any, name) || permission_narrowed(name, &what, &where)));
}

void scopes_add(struct permission_set *set, struct str name)
{
    struct str rest = grants_of(name), one;
    while (scopes_next(&rest, &one))
        permission_add(set, one);
}

static bool within(const struct permission_set *part, const struct permission_set *whole)
{
    uint64_t beyond = 0;
    for (size_t i = 0; i < PERMISSION_WORDS; i++)
        beyond |= part->word[i] & ~whole->word[i];
    return beyond == 0;
}

bool scopes_cover(struct str list, struct str name)
{
    struct permission_set all = {{0}}, wanted = {{0}};
    struct str what = name, where, one;
    if (!scopes_known(name))
        return false;
    while (scopes_next(&list, &one)) {
        if (str_eq(one, name))
            return true;
        scopes_add(&all, one);
    }
    permission_narrowed(name, &what, &where);
    scopes_add(&wanted, what);
    return within(&wanted, &all);
}

static bool is_among(const struct str *list, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(list[i], name))
            return true;
    return false;
}

size_t scopes_permissions(struct str list, struct str *out, size_t most)
{
    size_t n = 0;
    struct str name, one;
    while (scopes_next(&list, &name))
        for (struct str rest = grants_of(name); scopes_next(&rest, &one);)
            if (n < most && !is_among(out, n, one))
                out[n++] = one;
    return n;
}
