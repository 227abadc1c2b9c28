#include "server/identity/user.h"

#include "server/auth.h"
#include "server/identity/group.h"
#include "server/settings.h"
#include "server/worker.h"

struct str user_key(struct arena *a, const struct settings *s, struct space space, struct str id)
{
    char hex[65];
    auth_subject(s, USER_KIND, id, hex);
    return key_credential(a, space.partition, str_z(hex));
}

bool user_read(struct user *out, struct arena *a, unsigned partition, const struct redis_value *record)
{
    struct {
        struct str name, *to;
    } fields[] = {{S("id"), &out->id},     {S("tenant"), &out->tenant},     {S("email"), &out->email},
                  {S("name"), &out->name}, {S("roles"), &out->roles},       {S("permissions"), &out->permissions},
                  {S("totp"), &out->totp}, {S("password"), &out->password}, {S("recovery"), &out->recovery}};
    *out = (struct user){.partition = partition,
                         .valid_after_ms = redis_int(redis_field(record, S("valid_after")), 0),
                         .totp_step = redis_int(redis_field(record, S("totp_step")), 0),
                         .suspended = redis_text(redis_field(record, S("revoked"))).n > 0};
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct str text = redis_text(redis_field(record, fields[i].name));
        if (text.n > 0 && (*fields[i].to = arena_str(a, text)).p == NULL)
            return false;
    }
    return str_eqz(redis_text(redis_field(record, S("kind"))), USER_KIND) && out->id.n > 0;
}

struct search {
    struct worker *worker;
    struct arena *arena;
    struct ops *asker;
    struct space space;
    struct user user;
    user_then *then;
    void *arg;
};

static void read_record(void *arg, enum code c, const struct redis_value *v)
{
    struct search *s = arg;
    bool found = c == OK && user_read(&s->user, s->arena, s->space.partition, v);
    s->then(s->arg, c, found ? &s->user : NULL);
}

static enum code read_user(struct search *s, struct str id)
{
    struct str key = user_key(s->arena, s->worker->settings, s->space, id);
    const struct store_command read = STORE_COMMAND(S("HGETALL"), key);
    return store_read(s->worker->store, &read, 1, s->asker, read_record, s);
}

static void read_id(void *arg, enum code c, const struct redis_value *v)
{
    struct search *s = arg;
    struct str id = redis_text(v);
    if (c == OK && id.n > 0 && (c = read_user(s, id)) == OK)
        return;
    s->then(s->arg, c, NULL);
}

static struct search *search_new(struct worker *w, struct arena *a, struct space space, struct ops *asker,
                                 user_then *then, void *arg)
{
    struct search *s = arena_new(a, struct search);
    if (s != NULL)
        *s = (struct search){.worker = w, .arena = a, .asker = asker, .space = space, .then = then, .arg = arg};
    return s;
}

enum code user_by_id(struct worker *w, struct arena *a, struct space space, struct str id, struct ops *asker,
                     user_then *then, void *arg)
{
    struct search *s = search_new(w, a, space, asker, then, arg);
    return s == NULL ? SYS_OVERLOADED : read_user(s, id);
}

enum code user_by_email(struct worker *w, struct arena *a, struct space space, struct str email, struct ops *asker,
                        user_then *then, void *arg)
{
    struct search *s = search_new(w, a, space, asker, then, arg);
    struct str lower = arena_lower(a, email);
    if (s == NULL || lower.p == NULL)
        return SYS_OVERLOADED;
    const struct store_command read =
        STORE_COMMAND(S("HGET"), key_unique(a, space, USER_KIND, STR_NONE, "email"), lower);
    return store_read(w->store, &read, 1, asker, read_id, s);
}

void user_set(struct commit *c, const struct settings *s, struct str id, const char *field, struct str value)
{
    commit_hset(c, user_key(c->arena, s, c->space, id), str_z(field), value);
}

void user_touch(struct commit *c, const struct settings *s, struct str id, int64_t now_ms)
{
    user_set(c, s, id, "last_login", arena_int(c->arena, now_ms));
}

static struct str group_hashes(struct arena *a, const struct settings *s, const struct json *groups)
{
    struct buf b;
    char hex[65];
    buf_init_arena(&b, a, 256);
    for (size_t i = 0; i < json_count(groups); i++) {
        auth_subject(s, GROUP_KIND, json_str(json_at(groups, i)), hex);
        buf_z(&b, i == 0 ? "" : " ");
        buf_z(&b, hex);
    }
    return b.failed ? STR_NONE : b.n == 0 ? S("") : buf_view(&b);
}

void user_put(struct commit *c, const struct settings *s, const struct user_record *u)
{
    const struct commit_field fields[] = {
        {S("kind"), S(USER_KIND)},
        {S("tenant"), c->space.tenant},
        {S("id"), u->id},
        {S("email"), u->email},
        {S("name"), u->name},
        {S("roles"), u->roles},
        {S("groups"), group_hashes(c->arena, s, u->groups)},
        {S("revoked"), u->suspended_ms == 0 ? S("") : arena_int(c->arena, u->suspended_ms)}};
    struct str key = user_key(c->arena, s, c->space, u->id);
    commit_hset_all(c, key, fields, ARRAY_LEN(fields));
    if (u->hashed.n > 0)
        user_set_password(c, s, u->id, u->hashed, u->now_ms);
}

void user_set_password(struct commit *c, const struct settings *s, struct str id, struct str hashed, int64_t now_ms)
{
    user_set(c, s, id, "password", hashed);
    user_set(c, s, id, "valid_after", arena_int(c->arena, now_ms));
}

void user_end(struct commit *c, const struct settings *s, struct str id, int64_t now_ms)
{
    struct str key = user_key(c->arena, s, c->space, id);
    commit_hset(c, key, S("revoked"), arena_int(c->arena, now_ms));
    commit_hset(c, key, S("password"), STR_NONE);
    commit_hset(c, key, S("totp"), STR_NONE);
    commit_expire(c, key, s->token_ttl_max);
}
