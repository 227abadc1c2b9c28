#include "server/identity/user_rights.h"

#include "server/caller.h"
#include "server/identity/group.h"
#include "server/worker.h"

#define MANAGE "tenant:manage"

void rights_add(struct permission_set *rights, struct str roles)
{
    while (roles.n > 0)
        role_find(str_cut(&roles, ','), rights);
}

struct permission_set rights_of(struct request *r, const struct json *roles)
{
    struct permission_set rights = {{0}};
    rights_add(&rights, json_join(&r->arena, roles, ','));
    return rights;
}

enum code rights_refuse(struct request *r, const struct permission_set *rights, const char *what)
{
    const char *lacks = caller_lacks(&r->caller, rights);
    if (lacks == NULL)
        return OK;
    request_lacks(r, lacks);
    return request_refuse(r, PERM_DENIED, "%s %s, which you do not have", what, lacks);
}

/* --- groups --- */

static void groups_read(void *arg, enum code code, const struct redis_value *v)
{
    struct user_rights *rights = arg;
    struct request *r = rights->request;
    struct buf roles[2];
    buf_init_arena(&roles[0], &r->arena, 128);
    buf_init_arena(&roles[1], &r->arena, 128);
    for (size_t i = 0; code == OK && i < rights->count; i++) {
        struct str has = redis_text(rights->count == 1 ? v : redis_at(v, i)); /* of one: its reply alone */
        struct buf *b = &roles[i >= rights->old_count];
        buf_str(b, has);
        buf_char(b, ',');
        commit_expect_field(change_current(r)->commit, RES_VERSION_CONFLICT, "pin", rights->groups[i], S("roles"), has);
    }
    if (code == OK && (roles[0].failed || roles[1].failed))
        code = SYS_OVERLOADED;
    if (code != OK) {
        reply_error(r, code);
        return;
    }
    rights->before = buf_view(&roles[0]);
    rights->after = buf_view(&roles[1]);
    rights->then(r);
}

static void add_groups(struct user_rights *rights, const struct json *ids)
{
    struct request *r = rights->request;
    struct space space = change_current(r)->commit->space;
    for (size_t i = 0; i < json_count(ids); i++)
        rights->groups[rights->count++] = group_key(&r->arena, r->worker->settings, space, json_str(json_at(ids, i)));
}

enum flow user_rights_read(struct request *r, struct user_rights *out, void (*then)(struct request *r))
{
    struct change *c = change_current(r);
    const struct json *before = json_get(c->old, "groups");
    const struct json *after = c->verb == CHANGE_DELETE ? NULL : change_member(c, "groups");
    size_t n = json_count(before) + json_count(after);
    struct store_command *reads = arena_array(&r->arena, n, sizeof *reads);
    *out = (struct user_rights){.request = r, .then = then, .groups = arena_array(&r->arena, n, sizeof *out->groups)};
    if (n == 0)
        return NEXT;
    if (reads == NULL || out->groups == NULL)
        return reply_error(r, SYS_OVERLOADED);
    add_groups(out, before);
    out->old_count = out->count;
    add_groups(out, after);
    for (size_t i = 0; i < n; i++) {
        struct str *words = arena_array(&r->arena, 3, sizeof *words);
        if (words == NULL)
            return reply_error(r, SYS_OVERLOADED);
        words[0] = S("HGET");
        words[1] = out->groups[i];
        words[2] = S("roles");
        reads[i] = (struct store_command){3, words};
    }
    enum code code = store_read(r->worker->store, reads, n, &r->ops, groups_read, out);
    return code == OK ? WAIT : reply_error(r, code);
}

/* --- the rules --- */

bool user_rights_manage(const struct permission_set *rights)
{
    return permission_has(rights, (size_t)permission_find(S(MANAGE)));
}

enum code user_rights_refuse_own(struct request *r)
{
    return request_refuse(r, RES_INVALID_STATE,
                          "nobody takes " MANAGE " from themselves: somebody else who manages the tenant has to");
}

enum code user_rights_check(struct request *r, struct change *c, const struct user_rights *rights)
{
    bool ends = c->verb == CHANGE_DELETE;
    struct permission_set before = rights_of(r, json_get(c->old, "roles"));
    struct permission_set after = rights_of(r, ends ? NULL : change_member(c, "roles"));
    rights_add(&before, rights->before);
    rights_add(&after, rights->after);
    enum code code = rights_refuse(r, &before, "this user has");
    if (code == OK)
        code = rights_refuse(r, &after, "a user cannot be given");
    bool keeps = !ends && !str_eqz(json_str(change_member(c, "status")), "suspended") && user_rights_manage(&after);
    bool own = c->verb != CHANGE_CREATE && str_eq(c->id, r->caller.user);
    return code == OK && own && user_rights_manage(&before) && !keeps ? user_rights_refuse_own(r) : code;
}
