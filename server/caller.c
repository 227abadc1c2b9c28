#include "server/caller.h"

#include "lib/cidr.h"

static void add(struct caller *c, struct buf *narrowed, struct str name)
{
    struct str what, where;
    if (!permission_narrowed(name, &what, &where)) {
        permission_add(&c->permissions, name);
        return;
    }
    if (narrowed->n > 0)
        buf_char(narrowed, ',');
    buf_str(narrowed, name);
}

static bool end(struct caller *c, const struct buf *narrowed)
{
    c->narrowed = narrowed->n == 0 ? STR_NONE : buf_view(narrowed);
    return !narrowed->failed;
}

bool caller_grant(struct arena *a, struct caller *c, struct str roles, struct str permissions)
{
    struct buf narrowed;
    buf_init_arena(&narrowed, a, 0);
    buf_str(&narrowed, c->narrowed.n > 0 ? c->narrowed : S(""));
    while (roles.p != NULL)
        role_find(str_trim(str_cut(&roles, ',')), &c->permissions);
    while (permissions.p != NULL)
        add(c, &narrowed, str_trim(str_cut(&permissions, ',')));
    return end(c, &narrowed);
}

static bool is_among(struct str list, struct str one)
{
    while (list.n > 0)
        if (str_eq(str_cut(&list, ','), one))
            return true;
    return false;
}

static bool is_within(const struct permission_set *part, const struct permission_set *whole)
{
    uint64_t beyond = 0;
    for (size_t i = 0; i < PERMISSION_WORDS; i++)
        beyond |= part->word[i] & ~whole->word[i];
    return beyond == 0;
}

/* Those of `list` whose permission is wholly in `set`, or that stand in `same` as well. */
static void keep_narrowed(struct caller *c, struct buf *out, struct str list, const struct permission_set *set,
                          struct str same)
{
    while (list.n > 0) {
        struct str one = str_cut(&list, ','), what, where;
        struct permission_set wanted = {{0}};
        if (!permission_narrowed(one, &what, &where) || !permission_add(&wanted, what))
            continue;
        if (is_within(&wanted, set) || is_among(same, one))
            add(c, out, one);
    }
}

bool caller_bound(struct arena *a, struct caller *c, struct str roles, struct str permissions)
{
    struct buf narrowed;
    struct caller most = {.permissions = {{0}}};
    if (!caller_grant(a, &most, roles, permissions))
        return false;
    buf_init_arena(&narrowed, a, 0);
    keep_narrowed(c, &narrowed, c->narrowed, &most.permissions, most.narrowed);
    keep_narrowed(c, &narrowed, most.narrowed, &c->permissions, STR_NONE);
    for (size_t i = 0; i < PERMISSION_WORDS; i++)
        c->permissions.word[i] &= most.permissions.word[i];
    return end(c, &narrowed);
}

bool caller_lost(const struct caller *before, const struct caller *now)
{
    struct str list = before->narrowed, what, where;
    bool lost = !is_within(&before->permissions, &now->permissions);
    while (!lost && list.n > 0) {
        struct str one = str_cut(&list, ',');
        struct permission_set wanted = {{0}};
        if (permission_narrowed(one, &what, &where) && permission_add(&wanted, what))
            lost = !is_within(&wanted, &now->permissions) && !is_among(now->narrowed, one);
    }
    return lost;
}

bool caller_of_user(struct arena *a, struct caller *c, struct str roles, struct str permissions)
{
    struct buf all;
    if (c->granted.p != NULL) {
        c->permissions = (struct permission_set){{0}};
        c->narrowed = STR_NONE;
        if (!caller_grant(a, c, STR_NONE, c->granted))
            return false;
    }
    const struct caller granted = *c;
    if (!caller_bound(a, c, roles, permissions))
        return false;
    if (!caller_lost(&granted, c)) {
        *c = granted;
        c->granted = STR_NONE;
        return true;
    }
    buf_init_arena(&all, a, 256);
    permission_list(&all, &granted.permissions);
    buf_z(&all, all.n > 0 && granted.narrowed.n > 0 ? "," : "");
    buf_str(&all, granted.narrowed.n > 0 ? granted.narrowed : S(""));
    c->granted = buf_view(&all);
    return !all.failed;
}

const char *caller_lacks(const struct caller *c, const struct permission_set *wanted)
{
    for (size_t bit = 0; bit < permission_count(); bit++)
        if (permission_has(wanted, bit) && !permission_has(&c->permissions, bit))
            return permission_name(bit);
    return NULL;
}

bool networks_known(struct str list, struct str *wrong)
{
    struct cidr block;
    while (list.n > 0) {
        *wrong = str_trim(str_cut(&list, ','));
        if (!cidr_parse(*wrong, &block))
            return false;
    }
    return true;
}

static bool list_holds(struct str list, const struct cidr *address)
{
    struct cidr block;
    if (list.n == 0)
        return true;
    while (list.n > 0)
        if (cidr_parse(str_trim(str_cut(&list, ',')), &block) && cidr_covers(&block, address))
            return true;
    return false;
}

bool networks_hold(struct str lists, struct str address)
{
    struct cidr from;
    bool placed = cidr_parse(address, &from);
    while (lists.n > 0) {
        struct str list = str_cut(&lists, ';');
        if (list.n > 0 && (!placed || !list_holds(list, &from)))
            return false;
    }
    return true;
}
