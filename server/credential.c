#include "server/credential.h"

#include "lib/clock.h"
#include "lib/json.h"
#include "lib/keyring.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/document.h"
#include "server/identity/key.h"
#include "server/identity/resources.h"
#include "server/identity/user.h"
#include "server/oauth/client.h"
#include "server/settings.h"
#include "server/store/commit.h"
#include "server/store/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

enum { FINGERPRINT_PARTITION = 0, LIST_MOST = 1000 };

void tenant_id(struct str name, char out[ID_UUID])
{
    uint8_t h[CRYPTO_HASH];
    struct crypto_sha256 sum = {0};
    if (id_is_uuid(name, out))
        return;
    crypto_sha256_init(&sum);
    crypto_sha256_add(&sum, "slipway tenant ", 15);
    crypto_sha256_add(&sum, name.p, name.n);
    crypto_sha256_end(&sum, h);
    h[6] = (uint8_t)(0x80 | (h[6] & 0x0f)); /* RFC 9562 version 8: what is in it is our own business */
    h[8] = (uint8_t)(0x80 | (h[8] & 0x3f));
    snprintf(out, ID_UUID, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", h[0], h[1], h[2],
             h[3], h[4], h[5], h[6], h[7], h[8], h[9], h[10], h[11], h[12], h[13], h[14], h[15]);
}

struct str credential_fault(struct arena *a, struct str roles, struct str permissions)
{
    struct permission_set set = {0};
    for (struct str rest = roles; rest.p != NULL && roles.n > 0;) {
        struct str name = str_trim(str_cut(&rest, ','));
        if (!role_find(name, &set))
            return arena_printf(a, "there is no role '" STR_FMT "'", STR_ARG(name));
    }
    for (struct str rest = permissions; rest.p != NULL && permissions.n > 0;) {
        struct str name = str_trim(str_cut(&rest, ','));
        struct str what, where;
        if (!permission_add(&set, name) && !permission_narrowed(name, &what, &where))
            return arena_printf(a, "there is no permission '" STR_FMT "'", STR_ARG(name));
    }
    return STR_NONE;
}

void credential_make(struct credential *c, int64_t now_ms)
{
    id_uuid(now_ms, c->id);
    if (c->prefix == NULL)
        c->prefix = "slp";
    if (c->secret[0] == '\0')
        id_key(c->prefix, partition_of(str_z(c->tenant)), c->secret);
}

/* What one of these calls needs until it is done; in the caller's arena. */
struct task {
    const struct settings *settings;
    struct store *store;
    struct arena *arena;
    struct ops *asker;
    struct space space;
    struct str id, text;
    const struct resource *of;  /* what is listed */
    struct credential *rotated; /* the asker's */
    int64_t overlap_ms;
    struct credential key;
    struct commit commit;
    int64_t revision;
    credential_then *then;
    void *arg;
    char path[4096]; /* of admin.key */
    int file;        /* the same, open and locked; -1 */
    bool fresh;      /* the key in it was made by this start */
};

static struct task *task_new(const struct settings *s, struct store *store, struct arena *a, struct ops *asker,
                             credential_then *then, void *arg)
{
    struct task *t = arena_new(a, struct task);
    if (t != NULL)
        *t = (struct task){
            .settings = s, .store = store, .arena = a, .asker = asker, .then = then, .arg = arg, .file = -1};
    return t;
}

static struct str key_json(struct arena *a, const struct credential *k, int64_t now_ms)
{
    struct overlays set = {.arena = a};
    overlay_str(&set, "id", str_z(k->id));
    overlay_str(&set, "tenant_id", str_z(k->tenant));
    overlay_str(&set, "name", k->name);
    overlay_str(&set, "prefix", str_z(k->prefix));
    overlay_str(&set, "hint", key_hint(a, str_z(k->secret)));
    overlay_raw(&set, "permissions", json_names(a, k->permissions));
    overlay_raw(&set, "roles", json_names(a, k->roles));
    if (k->networks.n > 0)
        overlay_raw(&set, "cidrs", json_names(a, k->networks));
    overlay_str(&set, "tier", str_z(limit_tier_name(k->tier)));
    if (k->user.n > 0)
        overlay_str(&set, "user_id", k->user);
    if (k->expires_ms > 0)
        overlay_time(&set, "expires_at", k->expires_ms);
    overlay_time(&set, "created_at", now_ms);
    overlay_str(&set, "created_by", str_z(k->first ? "start" : "slipway key"));
    overlay_int(&set, "revision", 1);
    struct str json = document_render(a, key_resource.fields, NULL, NULL, &set);
    return set.failed ? STR_NONE : json;
}

static struct str tenant_json(struct arena *a, const char *tenant, struct str name, int64_t now_ms)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, a, 256);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("createdAt"));
    json_put_time(&o, now_ms);
    json_key(&o, S("id"));
    json_put_z(&o, tenant);
    json_key(&o, S("name"));
    json_put_str(&o, name);
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

void tenant_note(struct commit *c, const char *tenant, const char *status, struct str name)
{
    commit_hset(c, key_tenants(c->arena, c->space.partition), str_z(tenant),
                arena_printf(c->arena, "%s " STR_FMT, status, STR_ARG(name)));
}

void credential_put_tenant(struct commit *c, const struct settings *s, const char *tenant, struct str name,
                           int64_t now_ms)
{
    client_put_of_commands(c, s);
    tenant_note(c, tenant, "active", name);
    commit_put(c, &(struct commit_document){.kind = "tenant",
                                            .id = str_z(tenant),
                                            .revision = 1,
                                            .schema = 1,
                                            .json = tenant_json(c->arena, tenant, name, now_ms)});
}

static void committed(void *arg, const struct commit_result *r)
{
    struct task *t = arg;
    t->then(t->arg, r->code, t->text);
}

/* The tenant's document is made by whoever comes first; a loser of that race just goes on without it. */
static enum code commit_key(struct task *t, bool with_tenant)
{
    int64_t now_ms = clock_wall_ms();
    struct credential *k = &t->key;
    t->space = (struct space){partition_of(str_z(k->tenant)), str_z(k->tenant)};
    struct commit_index index;
    t->text = key_json(t->arena, k, now_ms);
    const struct json *stored = t->text.p == NULL ? NULL : document_json(t->arena, t->text, NULL);
    if (stored == NULL)
        return SYS_OVERLOADED;
    document_index(&index, t->arena, &key_resource, stored);
    commit_begin(&t->commit, t->arena, t->space, COMMIT_GROWS);
    if (id_is_uuid(k->user, NULL)) /* who has an id of ours is registered */
        commit_expect_exists(&t->commit, RES_REFERENCE_UNKNOWN, "user",
                             user_key(t->arena, t->settings, t->space, k->user));
    if (with_tenant)
        credential_put_tenant(&t->commit, t->settings, k->tenant, k->tenant_name, now_ms);
    commit_put(&t->commit, &(struct commit_document){.kind = KEY_KIND,
                                                     .id = str_z(k->id),
                                                     .revision = 1,
                                                     .schema = document_schema(&key_resource),
                                                     .json = t->text,
                                                     .index = &index});
    const struct key key = {.id = str_z(k->id),
                            .name = k->name,
                            .roles = k->roles,
                            .permissions = k->permissions,
                            .networks = k->networks,
                            .user = k->user,
                            .tier = k->tier,
                            .expires_ms = k->expires_ms};
    key_put(&t->commit, t->settings, &key, str_z(k->secret));
    audit_add_system(&t->commit, t->arena, k->first ? "start" : "slipway key",
                     &(struct audit_entry){
                         .action = "key.created", .resource = "key", .resource_id = str_z(k->id), .after = t->text});
    return store_commit(t->store, &t->commit, t->asker, committed, t);
}

static void tenant_looked_up(void *arg, enum code c, const struct redis_value *v)
{
    struct task *t = arg;
    bool there = c == OK && redis_int(v, 0) == 1;
    if (c == OK && there && t->key.first)
        c = RES_ALREADY_EXISTS;
    if (c == OK)
        c = commit_key(t, !there);
    if (c != OK)
        t->then(t->arg, c, STR_NONE);
}

static enum code look_up_tenant(struct task *t)
{
    struct str tenant = str_z(t->key.tenant);
    t->space = (struct space){partition_of(tenant), tenant};
    const struct store_command read = STORE_COMMAND(S("EXISTS"), key_document(t->arena, t->space, "tenant", tenant));
    return store_read(t->store, &read, 1, t->asker, tenant_looked_up, t);
}

enum code credential_create(const struct settings *s, struct store *store, struct arena *arena, struct credential *k,
                            struct ops *asker, credential_then *then, void *arg)
{
    struct task *t = task_new(s, store, arena, asker, then, arg);
    if (t == NULL)
        return SYS_OVERLOADED;
    t->key = *k;
    return look_up_tenant(t);
}

/* Revocation. */

static enum code commit_revocation(struct task *t, const char *action, const char *resource, struct str before)
{
    commit_revoked(&t->commit);
    audit_add_system(
        &t->commit, t->arena, "slipway key",
        &(struct audit_entry){
            .action = action, .resource = resource, .resource_id = t->id, .before = before, .after = t->text});
    return store_commit(t->store, &t->commit, t->asker, committed, t);
}

static enum code revoke_token(struct task *t)
{
    char hex[65];
    auth_subject(t->settings, "jwt", t->id, hex);
    struct str record = key_credential(t->arena, t->space.partition, str_z(hex));
    commit_hset(&t->commit, record, S("tenant"), t->space.tenant);
    commit_hset(&t->commit, record, S("revoked"), arena_int(t->arena, clock_wall_ms()));
    commit_expire(&t->commit, record, t->settings->token_ttl_max);
    return commit_revocation(t, "token.revoked", "token", STR_NONE);
}

static enum code revoke_key(struct task *t, struct document *d, struct str credential)
{
    char now[CLOCK_TEXT];
    struct buf b;
    enum code c = OK;
    const struct json *old = document_parse(t->arena, &key_resource, d, &c);
    clock_text(clock_wall_ms(), now);
    struct str patch =
        arena_printf(t->arena, "{\"revision\":%lld,\"revoked_at\":\"%s\"}", (long long)d->revision + 1, now);
    struct json *merged = old == NULL ? NULL : json_merge(t->arena, old, json_parse(t->arena, patch, NULL, NULL));
    if (merged == NULL)
        return c == OK ? SYS_OVERLOADED : c;
    buf_init_arena(&b, t->arena, d->json.n + 64);
    json_write(&b, merged);
    t->text = b.failed ? STR_NONE : buf_view(&b);
    commit_put(&t->commit, &(struct commit_document){.kind = KEY_KIND,
                                                     .id = t->id,
                                                     .revision = d->revision + 1,
                                                     .schema = document_schema(&key_resource),
                                                     .json = t->text});
    key_end(&t->commit, t->settings, t->id, credential, clock_wall_ms());
    return commit_revocation(t, "key.revoked", KEY_KIND, d->json);
}

static void found_to_revoke(void *arg, enum code c, const struct redis_value *v)
{
    struct task *t = arg;
    struct str credential = redis_text(redis_at(v, 3));
    struct document d = {.id = t->id,
                         .json = redis_text(redis_at(v, 0)),
                         .revision = redis_int(redis_at(v, 1), 0),
                         .schema = redis_int(redis_at(v, 2), 1)};
    commit_begin(&t->commit, t->arena, t->space, COMMIT_ESSENTIAL);
    if (c == OK) /* no key: a token by its jti */
        c = credential.p == NULL ? revoke_token(t) : revoke_key(t, &d, credential);
    if (c != OK)
        t->then(t->arg, c, STR_NONE);
}

/* With what found_to_revoke and found_to_rotate take. */
static enum code read_document(struct task *t, store_then *then)
{
    const struct store_command read = STORE_COMMAND(S("HMGET"), key_document(t->arena, t->space, KEY_KIND, t->id),
                                                    S("j"), S("r"), S("sv"), S("credential"));
    return store_read(t->store, &read, 1, t->asker, then, t);
}

enum code credential_revoke(const struct settings *s, struct store *store, struct arena *arena, struct str tenant,
                            struct str id, struct ops *asker, credential_then *then, void *arg)
{
    struct task *t = task_new(s, store, arena, asker, then, arg);
    if (t == NULL)
        return SYS_OVERLOADED;
    t->space = (struct space){partition_of(tenant), arena_str(arena, tenant)};
    t->id = arena_str(arena, id);
    return read_document(t, found_to_revoke);
}

/* Rotation. */

static enum code rotate(struct task *t, struct document *d, struct str credential)
{
    struct key key;
    struct commit_index index;
    struct overlays set = {.arena = t->arena};
    enum code c = OK;
    int64_t now_ms = clock_wall_ms();
    const struct json *old = document_parse(t->arena, &key_resource, d, &c);
    if (old != NULL)
        c = key_read(t->arena, old, &key);
    if (c == OK && key_state(old, &key, now_ms) != NULL)
        c = RES_INVALID_STATE;
    if (c != OK)
        return c;
    commit_begin(&t->commit, t->arena, t->space, COMMIT_ESSENTIAL);
    key_rotate(&t->commit, t->settings, &key, credential, now_ms + t->overlap_ms, now_ms, t->rotated->secret, &set);
    overlay_int(&set, "revision", d->revision + 1);
    t->text = document_render(t->arena, key_resource.fields, old, old, &set);
    document_index_draft(&index, t->arena, &key_resource, &(struct draft){old, old, &set});
    if (t->text.p == NULL || set.failed)
        return SYS_OVERLOADED;
    commit_put(&t->commit, &(struct commit_document){.kind = KEY_KIND,
                                                     .id = t->id,
                                                     .revision = d->revision + 1,
                                                     .schema = document_schema(&key_resource),
                                                     .json = t->text,
                                                     .index = &index});
    return commit_revocation(t, "key.rotated", KEY_KIND, d->json);
}

static void found_to_rotate(void *arg, enum code c, const struct redis_value *v)
{
    struct task *t = arg;
    struct str credential = redis_text(redis_at(v, 3));
    struct document d = {.id = t->id,
                         .json = redis_text(redis_at(v, 0)),
                         .revision = redis_int(redis_at(v, 1), 0),
                         .schema = redis_int(redis_at(v, 2), 1)};
    if (c == OK)
        c = credential.p == NULL ? RES_NOT_FOUND : rotate(t, &d, credential);
    if (c != OK)
        t->then(t->arg, c, STR_NONE);
}

enum code credential_rotate(const struct settings *s, struct store *store, struct arena *arena, struct credential *k,
                            int64_t overlap_ms, struct ops *asker, credential_then *then, void *arg)
{
    struct task *t = task_new(s, store, arena, asker, then, arg);
    if (t == NULL)
        return SYS_OVERLOADED;
    t->space = (struct space){partition_of(str_z(k->tenant)), str_z(k->tenant)};
    t->id = str_z(k->id);
    t->rotated = k;
    t->overlap_ms = overlap_ms;
    return read_document(t, found_to_rotate);
}

/* List. */

static void page_read(void *arg, enum code c, const struct page_result *r)
{
    struct task *t = arg;
    struct buf b;
    struct page_item item;
    buf_init_arena(&b, t->arena, 1024);
    buf_char(&b, '[');
    for (size_t i = 0; c == OK && page_item(r, i, &item); i++) {
        struct document d = {.id = item.id, .json = item.json, .revision = item.revision, .schema = item.schema};
        if (t->of != NULL && d.schema != document_schema(t->of))
            document_parse(t->arena, t->of, &d, &c);
        buf_z(&b, i == 0 ? "" : ",");
        buf_str(&b, d.json);
    }
    buf_char(&b, ']');
    t->then(t->arg, c != OK ? c : b.failed ? SYS_OVERLOADED : OK, buf_view(&b));
}

enum code credential_list(struct store *store, struct arena *arena, struct str tenant, const char *kind,
                          struct ops *asker, credential_then *then, void *arg)
{
    struct task *t = task_new(NULL, store, arena, asker, then, arg);
    if (t == NULL)
        return SYS_OVERLOADED;
    t->of = resource_find(kind);
    const struct page_query q = {
        .space = {partition_of(tenant), tenant}, .kind = kind, .source = PAGE_CREATED, .count = LIST_MOST};
    return store_page(store, arena, &q, asker, page_read, t);
}

/* The start of a process. */

static void finish(struct task *t, enum code c, const char *why)
{
    if (t->file >= 0)
        close(t->file);
    t->file = -1;
    crypto_wipe(t->key.secret, sizeof t->key.secret);
    t->then(t->arg, c, str_z(why));
}

/* Two processes may start on one folder: the lock says whose turn it is to make its first key. */
static bool lock_key_file(struct task *t)
{
    t->file = open(t->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    return t->file >= 0 && flock(t->file, LOCK_EX | LOCK_NB) == 0;
}

/* The key of a start that ended before it was stored, or a fresh one. */
static bool read_or_write_key(struct task *t)
{
    char text[ID_KEY_MAX + 1] = {0};
    unsigned partition;
    struct str prefix;
    struct credential *k = &t->key;
    ssize_t n = pread(t->file, text, ID_KEY_MAX, 0);
    struct str found = n <= 0 ? STR_NONE : (struct str){text, strcspn(text, "\r\n")};
    bool ours =
        found.p != NULL && id_key_check(found, &prefix, &partition) && partition == partition_of(str_z(k->tenant));
    t->fresh = !ours;
    if (ours)
        memcpy(k->secret, found.p, found.n);
    credential_make(k, clock_wall_ms());
    struct str line = arena_printf(t->arena, "%s\n", k->secret);
    bool ok = n >= 0 && line.p != NULL &&
              (ours || (ftruncate(t->file, 0) == 0 && pwrite(t->file, line.p, line.n, 0) == (ssize_t)line.n &&
                        fsync(t->file) == 0));
    crypto_wipe(text, sizeof text);
    return ok;
}

static void admin_stored(void *arg, enum code c, struct str text)
{
    struct task *t = arg;
    (void)text;
    if (c == RES_ALREADY_EXISTS && t->fresh) /* an instance with another folder was first: our key opens nothing */
        unlink(t->path);
    finish(t, c == RES_ALREADY_EXISTS ? OK : c,
           c == OK || c == RES_ALREADY_EXISTS ? "" : "the admin key cannot be stored");
}

static void default_looked_up(void *arg, enum code c, const struct redis_value *v)
{
    struct task *t = arg;
    struct credential *k = &t->key;
    if (c != OK || redis_int(v, 0) == 1) {
        finish(t, c, c == OK ? "" : "the store does not answer");
        return;
    }
    k->tenant_name = S(FIRST_TENANT);
    k->name = S("admin");
    k->roles = S("admin");
    k->first = true;
    if (!lock_key_file(t) || !read_or_write_key(t)) {
        bool busy = errno == EWOULDBLOCK;
        struct str why = arena_printf(t->arena, "%s: %s", t->path, strerror(errno));
        finish(t, busy ? SYS_STORAGE : SYS_INTERNAL, why.p);
        return;
    }
    c = credential_create(t->settings, t->store, t->arena, k, t->asker, admin_stored, t);
    if (c != OK)
        admin_stored(t, c, STR_NONE);
}

static void make_first_key(struct task *t)
{
    tenant_id(S(FIRST_TENANT), t->key.tenant);
    struct str tenant = str_z(t->key.tenant);
    t->space = (struct space){partition_of(tenant), tenant};
    const struct store_command read = STORE_COMMAND(S("EXISTS"), key_document(t->arena, t->space, "tenant", tenant));
    enum code c = store_read(t->store, &read, 1, t->asker, default_looked_up, t);
    if (c != OK)
        finish(t, c, "the store does not answer");
}

static struct str fingerprint_key(struct arena *a)
{
    return arena_printf(a, "{p%02d}:keyring", FINGERPRINT_PARTITION);
}

/* Every key that the data set has seen must be in our ring, the same. NULL: it is; else what is wrong. */
static const char *ring_fault(struct task *t, const struct redis_value *seen)
{
    char name[KEYRING_NAME], print[KEYRING_PRINT];
    const struct keyring *ring = t->settings->keyring;
    for (size_t i = 0; i + 1 < (seen == NULL ? 0 : seen->count); i += 2) {
        struct str wanted = redis_text(redis_at(seen, i));
        bool found = false;
        for (unsigned k = 0; k < keyring_count(ring) && !found; k++) {
            keyring_fingerprint(ring, k, name, print);
            found = str_eqz(wanted, name) && str_eqz(redis_text(redis_at(seen, i + 1)), print);
        }
        if (!found)
            return arena_printf(t->arena,
                                "the keyring is not the one of this data set: its key " STR_FMT
                                " is missing or another; "
                                "give the right file with --keyring",
                                STR_ARG(wanted))
                .p;
    }
    return NULL;
}

static void prints_noted(void *arg, enum code c, const struct redis_value *v)
{
    struct task *t = arg;
    const char *why = c == OK ? ring_fault(t, redis_at(v, v->count - 1)) : "the store does not answer";
    if (why != NULL)
        finish(t, c != OK ? c : SYS_INTERNAL, why);
    else
        make_first_key(t);
}

static void prints_read(void *arg, enum code c, const struct redis_value *v)
{
    struct task *t = arg;
    const char *why = c == OK ? ring_fault(t, v) : "the store does not answer";
    if (why != NULL) {
        finish(t, c != OK ? c : SYS_INTERNAL, why);
        return;
    }
    struct store_command commands[64];
    size_t n = 0;
    struct str key = fingerprint_key(t->arena);
    for (unsigned i = 0; i < keyring_count(t->settings->keyring) && n < ARRAY_LEN(commands) - 1; i++) {
        char name[KEYRING_NAME], print[KEYRING_PRINT];
        struct str *argv = arena_array(t->arena, 4, sizeof *argv);
        keyring_fingerprint(t->settings->keyring, i, name, print);
        if (argv == NULL) {
            finish(t, SYS_OVERLOADED, "out of memory");
            return;
        }
        argv[0] = S("HSETNX");
        argv[1] = key;
        argv[2] = arena_str(t->arena, str_z(name));
        argv[3] = arena_str(t->arena, str_z(print));
        commands[n++] = (struct store_command){4, argv};
    }
    commands[n++] = (struct store_command)STORE_COMMAND(S("HGETALL"), key);
    c = store_read(t->store, commands, n, t->asker, prints_noted, t);
    if (c != OK)
        finish(t, c, "the store does not answer");
}

enum code credential_start(const struct settings *s, struct store *store, struct arena *arena, struct ops *asker,
                           credential_then *then, void *arg)
{
    struct task *t = task_new(s, store, arena, asker, then, arg);
    if (t == NULL)
        return SYS_OVERLOADED;
    snprintf(t->path, sizeof t->path, "%s/admin.key", s->data);
    const struct store_command read = STORE_COMMAND(S("HGETALL"), fingerprint_key(arena));
    return store_read(store, &read, 1, asker, prints_read, t);
}
