/* `slipway key`: API keys and access tokens by hand. */
#include "server/commands.h"

#include "lib/clock.h"
#include "lib/json.h"
#include "proto/jwt.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/caller.h"
#include "server/credential.h"
#include "server/command/key_remote.h"
#include "server/identity/key.h"
#include "server/oauth/issuer.h"
#include "server/reseal.h"
#include "server/settings.h"
#include "server/command/tool.h"

#include <stdlib.h>
#include <string.h>

struct options {
    const char *tenant, *role, *roles, *permissions, *name, *user, *prefix, *cidrs;
    int tier;
    int64_t expires, ttl, overlap;
    struct remote remote;
    bool json;
};

// clang-format off
#define AT(member) offsetof(struct options, member)
static const struct config_row rows[] = {
    {"tenant", CONFIG_STRING, AT(tenant), "default", .flags = CONFIG_LOCAL | CONFIG_REQUIRED, .arg = "NAME",
     .doc = "The tenant, by name or id. `create` makes it when it is missing."},
    {"role", CONFIG_STRING, AT(role), "", .flags = CONFIG_LOCAL, .arg = "ROLE",
     .doc = "create: what the key may do: admin, release-manager, operator, approver, viewer or auditor."},
    {"roles", CONFIG_STRING, AT(roles), "", .flags = CONFIG_LOCAL, .arg = "ROLE,…",
     .doc = "create, jwt: several roles."},
    {"permissions", CONFIG_STRING, AT(permissions), "", .flags = CONFIG_LOCAL, .arg = "RESOURCE:ACTION[@ENVIRONMENT],…",
     .doc = "create, jwt: permissions beside those of the roles; one with @ENVIRONMENT, a name or an id, holds in that environment only."},
    {"name", CONFIG_STRING, AT(name), "", .flags = CONFIG_LOCAL, .arg = "TEXT",
     .doc = "create, jwt: what people see in the audit trail."},
    {"tier", CONFIG_CHOICE, AT(tier), "standard", .choices = limit_tiers, .flags = CONFIG_LOCAL,
     .doc = "create: the rate tier; with `standard` it is that of the tenant."},
    {"expires", CONFIG_DURATION, AT(expires), "0", 0, 3660 * INT64_C(86400000), .flags = CONFIG_LOCAL,
     .doc = "create: how long the key is good for. 0: until it is revoked."},
    {"user", CONFIG_STRING, AT(user), "", .flags = CONFIG_LOCAL, .arg = "ID",
     .doc = "jwt: `user_id` of the token. create: whose key it is, with a prefix that is a person's."},
    {"prefix", CONFIG_STRING, AT(prefix), "slp", .flags = CONFIG_LOCAL, .arg = "PREFIX",
     .doc = "create: how the key begins: slp, sk_proj and hks_live are the tenant's; aethex_pat, sk_user and sk_read (which only reads) a person's, who has to be registered and bounds what it may do."},
    {"cidrs", CONFIG_STRING, AT(cidrs), "", .flags = CONFIG_LOCAL, .arg = "CIDR,…",
     .doc = "create: networks from which the key may be used. Empty: everywhere."},
    {"overlap", CONFIG_DURATION, AT(overlap), "0", 0, KEY_OVERLAP_MAX * INT64_C(1000), .flags = CONFIG_LOCAL,
     .doc = "rotate ID: how long the old text is good as well."},
    {"ttl", CONFIG_DURATION, AT(ttl), "0", 0, 366 * INT64_C(86400000), .flags = CONFIG_LOCAL,
     .doc = "jwt: how long the token is good for. 0: as long as token-ttl says."},
    ASK_ROWS(ASK_URL),
    {"json", CONFIG_BOOL, AT(json), "false", .flags = CONFIG_LOCAL,
     .doc = "Print JSON."},
    {0},
};
// clang-format on

static const char summary[] =
    "API keys and access tokens. `key create` makes an API key, `key list` lists those of a "
    "tenant, `key revoke ID` takes a key "
    "or a token back, `key rotate ID` gives a key another text, `key jwt` signs an access "
    "token, `key rotate` without an id adds a signing and a sealing key to the keyring. A secret "
    "is printed once and is not stored.";

struct call {
    struct settings settings;
    struct options options;
    struct credential key;
    char tenant[ID_UUID];
    const char *id; /* of revoke */
    int status;     /* of rotate, while it is noted */
    struct tool *tool;
};

static int usage(struct call *c, const char *what)
{
    return config_usage(&c->settings.config, "%s", what);
}

/* Prints the members of `document` (JSON, may be STR_NONE) with `name`: `value` in front. */
static void print_json(const char *name, const char *value, struct str document)
{
    struct buf b = {0};
    struct json_out o;
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, str_z(name));
    json_put_z(&o, value);
    if (document.n > 2) {
        buf_char(&b, ',');
        buf_str(&b, str_slice(document, 1, document.n - 1));
    }
    json_close(&o, '}');
    printf(STR_FMT "\n", STR_ARG(buf_view(&b)));
    buf_free(&b);
}

static int failed(const char *what, enum code c)
{
    fprintf(stderr, "slipway key: %s: %s (%s)\n", what, code_text(c), code_name(c));
    return 1;
}

static void show_secret(struct call *call, enum code c, struct str text, const char *what)
{
    if (c == OK && call->options.json)
        print_json("key", call->key.secret, text);
    else if (c == OK)
        printf("%s\n", call->key.secret);
    tool_end(call->tool, c == OK ? 0 : failed(what, c));
}

static void created(void *arg, enum code c, struct str text)
{
    show_secret(arg, c, text, "the key is not made");
}

static void key_rotated(void *arg, enum code c, struct str text)
{
    show_secret(arg, c, text, "the key is not rotated");
}

static void create(struct tool *t, void *arg)
{
    struct call *call = arg;
    call->tool = t;
    credential_make(&call->key, clock_wall_ms());
    enum code c = credential_create(&call->settings, t->store, &t->arena, &call->key, &t->ops, created, call);
    if (c != OK)
        created(call, c, STR_NONE);
}

static struct str roles_of(const struct options *o)
{
    return str_z(o->roles[0] != '\0' ? o->roles : o->role);
}

/* Roles and permissions, or what is wrong with them. */
static int check_rights(struct call *c)
{
    const struct options *o = &c->options;
    struct str fault = credential_fault(&c->settings.config.arena, roles_of(o), str_z(o->permissions));
    if (fault.p != NULL)
        return usage(c, fault.p);
    if (roles_of(o).n == 0 && o->permissions[0] == '\0')
        return usage(c, "--role or --permissions says what it may do");
    return 0;
}

/* What goes with the prefix, or what is wrong with it. */
static int check_flavour(struct call *c)
{
    struct str wrong = STR_NONE;
    const struct options *o = &c->options;
    const struct key_flavour *flavour = key_flavour(str_z(o->prefix));
    if (flavour == NULL)
        return usage(c, "there is no such --prefix");
    if (flavour->personal != (o->user[0] != '\0'))
        return usage(c, flavour->personal ? "--user says whose key it is" : "--user goes with a person's --prefix");
    if (!key_fits(&c->settings.config.arena, flavour, roles_of(o), str_z(o->permissions)))
        return usage(c, "that is more than a key with this --prefix may do");
    if (!networks_known(str_z(o->cidrs), &wrong))
        return usage(c, "--cidrs takes networks such as 192.0.2.0/24 or 2001:db8::/32");
    return 0;
}

/* By the API a key's rights are scopes, and its tenant and tier are those of whoever asks. */
static bool is_remote(const struct call *c)
{
    return c->options.remote.url[0] != '\0';
}

static struct key_remote remote_of(struct call *c)
{
    return (struct key_remote){.ask = {.settings = &c->settings, .command = "key", .remote = c->options.remote},
                               .json = c->options.json};
}

static int create_remote(struct call *c)
{
    const struct options *o = &c->options;
    struct key_remote k = remote_of(c);
    if (roles_of(o).n > 0 || o->tier != 0 || o->user[0] != '\0')
        return usage(c, "with --url the rights are --permissions, and --role, --tier and --user are not taken");
    return key_remote_create(&k, &(struct key_wish){.name = o->name[0] != '\0' ? o->name : "key",
                                                    .prefix = o->prefix,
                                                    .permissions = o->permissions,
                                                    .cidrs = o->cidrs,
                                                    .expires_ms = o->expires});
}

static int run_create(void *arg)
{
    struct call *c = arg;
    const struct options *o = &c->options;
    if (is_remote(c))
        return create_remote(c);
    int status = check_rights(c);
    if (status == 0)
        status = check_flavour(c);
    if (status != 0)
        return status;
    c->key = (struct credential){
        .tenant_name = str_z(o->tenant),
        .name = str_z(o->name[0] != '\0' ? o->name : "key"),
        .roles = roles_of(o),
        .permissions = str_z(o->permissions),
        .networks = str_z(o->cidrs),
        .user = str_z(o->user),
        .prefix = key_flavour(str_z(o->prefix))->prefix,
        .tier = (unsigned)o->tier,
        .expires_ms = o->expires > 0 ? clock_wall_ms() + o->expires : 0,
    };
    memcpy(c->key.tenant, c->tenant, sizeof c->key.tenant);
    return settings_open_keyring(&c->settings, true) ? tool_run(&c->settings, "key", create, c) : 1;
}

static void revoked(void *arg, enum code c, struct str text)
{
    struct call *call = arg;
    if (c == OK && call->options.json)
        print_json("revoked", call->id, text);
    else if (c == OK)
        printf("revoked the %s %s\n", text.p != NULL ? "key" : "token", call->id);
    tool_end(call->tool, c == OK ? 0 : failed("nothing is revoked", c));
}

static void take_back(struct tool *t, void *arg)
{
    struct call *call = arg;
    call->tool = t;
    enum code c = credential_revoke(&call->settings, t->store, &t->arena, str_z(call->tenant), str_z(call->id), &t->ops,
                                    revoked, call);
    if (c != OK)
        revoked(call, c, STR_NONE);
}

static int run_revoke(void *arg)
{
    struct call *c = arg;
    if (c->settings.config.rest_count < 2 || !id_is_uuid(str_z(c->settings.config.rest[1]), NULL))
        return usage(c, "revoke needs the id of a key, or of a token (its jti)");
    c->id = c->settings.config.rest[1];
    struct key_remote k = remote_of(c);
    if (is_remote(c))
        return key_remote_revoke(&k, c->id);
    return settings_open_keyring(&c->settings, false) ? tool_run(&c->settings, "key", take_back, c) : 1;
}

static void print_row(const struct json *key)
{
    struct str id = json_str(json_get(key, "id")), name = json_str(json_get(key, "name"));
    struct str made = json_str(json_get(key, "created_at")), ends = json_str(json_get(key, "expires_at"));
    struct str gone = json_str(json_get(key, "revoked_at"));
    const struct json *roles = json_get(key, "roles");
    printf(STR_FMT "  " STR_FMT "  %-8s", STR_ARG(id), STR_ARG(made),
           gone.n > 0   ? "revoked"
           : ends.n > 0 ? "expires"
                        : "active");
    for (size_t i = 0; i < json_count(roles); i++)
        printf("%c" STR_FMT, i == 0 ? ' ' : ',', STR_ARG(json_str(json_at(roles, i))));
    printf("  " STR_FMT "\n", STR_ARG(name));
}

static void listed(void *arg, enum code c, struct str text)
{
    struct call *call = arg;
    const struct json *keys =
        c == OK ? json_parse(&call->tool->arena, text, &(struct json_limits){8, 100000}, NULL) : NULL;
    if (c == OK && call->options.json)
        printf(STR_FMT "\n", STR_ARG(text));
    for (size_t i = 0; !call->options.json && i < json_count(keys); i++)
        print_row(json_at(keys, i));
    tool_end(call->tool, c == OK ? 0 : failed("the keys cannot be read", c));
}

static void list(struct tool *t, void *arg)
{
    struct call *call = arg;
    call->tool = t;
    enum code c = credential_list(t->store, &t->arena, str_z(call->tenant), "key", &t->ops, listed, call);
    if (c != OK)
        listed(call, c, STR_NONE);
}

static int run_list(void *arg)
{
    struct call *c = arg;
    struct key_remote k = remote_of(c);
    return is_remote(c) ? key_remote_list(&k, print_row) : tool_run(&c->settings, "key", list, c);
}

static size_t split(struct arena *a, struct str text, struct str **out)
{
    size_t n = 0;
    *out = arena_array(a, text.n + 1, sizeof **out);
    for (struct str rest = text; *out != NULL && text.n > 0 && rest.p != NULL;)
        (*out)[n++] = str_trim(str_cut(&rest, ','));
    return n;
}

static int run_jwt(void *arg)
{
    struct call *c = arg;
    const struct options *o = &c->options;
    char id[ID_UUID];
    struct buf token = {0};
    struct str *roles, *permissions;
    int64_t now_ms = clock_wall_ms(), ttl = o->ttl > 0 ? o->ttl : c->settings.token_ttl;
    int status = o->user[0] == '\0' ? usage(c, "--user says whose token it is") : check_rights(c);
    if (status != 0)
        return status;
    if (!settings_open_keyring(&c->settings, false))
        return 1;
    id_uuid(now_ms, id);
    size_t role_count = split(&c->settings.config.arena, roles_of(o), &roles);
    size_t permission_count = split(&c->settings.config.arena, str_z(o->permissions), &permissions);
    const struct jwt claims = {
        .issuer = str_z(issuer_name(&c->settings)),
        .audience = str_z(c->settings.audience),
        .id = str_z(id),
        .subject = str_z(o->user),
        .user_id = str_z(o->user),
        .tenant_id = str_z(c->tenant),
        .name = str_z(o->name),
        .roles = roles,
        .role_count = role_count,
        .permissions = permissions,
        .permission_count = permission_count,
        .issued_s = now_ms / 1000,
        .expires_s = (now_ms + ttl) / 1000,
    };
    jwt_write(&token, c->settings.keyring, &claims);
    struct str text = buf_view(&token);
    char *z = arena_z(&c->settings.config.arena, text);
    if (token.failed || z == NULL)
        status = failed("no token", SYS_OVERLOADED);
    else if (o->json)
        print_json("token", z, arena_printf(&c->settings.config.arena, "{\"id\":\"%s\"}", id));
    else
        printf("%s\n", z);
    buf_free(&token);
    return status;
}

static void rotated(void *arg, enum code c)
{
    struct call *call = arg;
    tool_end(call->tool, c == OK ? call->status : failed("the rotation is not in the audit trail", c));
}

static void resealed(void *arg, enum code c, const struct resealed *r)
{
    struct call *call = arg;
    struct arena *a = &call->tool->arena;
    if (c == OK)
        printf("keyring: sealing and signing with key %u; %zu of %zu documents with secrets sealed anew, %zu not\n",
               keyring_newest(call->settings.keyring, KEYRING_SEAL), r->sealed, r->seen, r->failed);
    call->status = c == OK && r->failed == 0 ? 0 : failed("not all secrets are sealed anew; run it again", c);
    struct str metadata = arena_printf(a, "{\"failed\":%zu,\"key\":%u,\"sealed\":%zu,\"seen\":%zu}", r->failed,
                                       keyring_newest(call->settings.keyring, KEYRING_SEAL), r->sealed, r->seen);
    const struct audit_entry entry = {.action = "keyring.rotated", .resource = "keyring", .metadata = metadata};
    c = tool_audit(call->tool, "slipway key", &entry, rotated, call);
    if (c != OK)
        rotated(call, c);
}

static void noted(void *arg, enum code c, struct str text)
{
    struct call *call = arg;
    if (c == OK)
        c = reseal(&call->settings, call->tool->store, &call->tool->arena, &call->tool->ops, resealed, call);
    else
        fprintf(stderr, "slipway key: " STR_FMT "\n", STR_ARG(text));
    if (c != OK)
        tool_end(call->tool, 1);
}

/* The data set learns the new keys before anything is made with them. */
static void note(struct tool *t, void *arg)
{
    struct call *call = arg;
    call->tool = t;
    enum code c = credential_start(&call->settings, t->store, &t->arena, &t->ops, noted, call);
    if (c != OK)
        noted(call, c, str_z(code_text(c)));
}

static void rotate_one(struct tool *t, void *arg)
{
    struct call *call = arg;
    call->tool = t;
    enum code c = credential_rotate(&call->settings, t->store, &t->arena, &call->key, call->options.overlap, &t->ops,
                                    key_rotated, call);
    if (c != OK)
        key_rotated(call, c, STR_NONE);
}

static int rotate_key(struct call *c)
{
    if (!id_is_uuid(str_z(c->settings.config.rest[1]), c->key.id))
        return usage(c, "rotate needs the id of a key, or none for the keyring");
    memcpy(c->key.tenant, c->tenant, sizeof c->key.tenant);
    return settings_open_keyring(&c->settings, false) ? tool_run(&c->settings, "key", rotate_one, c) : 1;
}

/* Instances with this very file take the keys up by themselves; others need the file first. */
static int run_rotate(void *arg)
{
    struct call *c = arg;
    char error[256];
    if (c->settings.config.rest_count > 1 && is_remote(c)) {
        struct key_remote k = remote_of(c);
        return key_remote_rotate(&k, c->settings.config.rest[1], c->options.overlap);
    }
    if (c->settings.config.rest_count > 1)
        return rotate_key(c);
    if (is_remote(c))
        return usage(c, "with --url, rotate needs the id of a key: a keyring is rotated where it is");
    if (!settings_open_keyring(&c->settings, false))
        return 1;
    if (!keyring_rotate(c->settings.keyring, error)) {
        fprintf(stderr, "slipway key: %s\n", error);
        return 1;
    }
    return tool_run(&c->settings, "key", note, c);
}

static const struct tool_action actions[] = {{"create", run_create, 1}, {"list", run_list, 1},
                                             {"revoke", run_revoke, 2}, {"jwt", run_jwt, 1},
                                             {"rotate", run_rotate, 2}, {0}};

int key_main(int argc, char **argv)
{
    struct call *c = calloc(1, sizeof *c);
    if (c == NULL) {
        fputs("slipway key: out of memory\n", stderr);
        return 1;
    }
    int status = settings_read(&c->settings, "key create | list | revoke ID | rotate ID | jwt | rotate", summary, rows,
                               &c->options, argc, argv);
    if (status == CONFIG_READ) {
        tenant_id(str_z(c->options.tenant), c->tenant);
        status = tool_choose(&c->settings.config, "key", actions, c);
    }
    settings_fini(&c->settings);
    free(c);
    return status;
}
