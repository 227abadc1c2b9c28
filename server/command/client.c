/* `slipway client`: OAuth clients, with the data of a server or by its API. */
#include "server/commands.h"

#include "lib/clock.h"
#include "server/command/ask.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/credential.h"
#include "server/oauth/client.h"
#include "server/oauth/exchange.h"
#include "server/oauth/resources.h"
#include "server/settings.h"
#include "server/command/tool.h"

#include <stdlib.h>
#include <string.h>

struct options {
    const char *tenant, *name, *grant, *scope, *jwks;
    const char *trust_issuer, *trust_subject, *trust_audience;
    const char *redirect_uri;
    bool is_public;
    struct remote remote;
    bool json;
};

// clang-format off
#define AT(member) offsetof(struct options, member)
static const struct config_row rows[] = {
    {"tenant", CONFIG_STRING, AT(tenant), "default", .flags = CONFIG_LOCAL | CONFIG_REQUIRED, .arg = "NAME",
     .doc = "The tenant, by name or id. With --url it is the key's."},
    {"name", CONFIG_STRING, AT(name), "", .flags = CONFIG_LOCAL, .arg = "TEXT",
     .doc = "create: what the client is, for people; shown in the audit trail."},
    {"grant", CONFIG_STRING, AT(grant), "client_credentials", .flags = CONFIG_LOCAL, .arg = "GRANT,…",
     .doc = "create: the grants it may use."},
    {"scope", CONFIG_STRING, AT(scope), "", .flags = CONFIG_LOCAL, .arg = "SCOPE,…",
     .doc = "create: what it may ask for: scopes like projects:read, and permissions like release:read. Unset: what a pipeline needs, "
            "projects:write, deployments:write, environments:read and metrics:read."},
    {"redirect-uri", CONFIG_STRING, AT(redirect_uri), "", .flags = CONFIG_LOCAL, .arg = "URI,…",
     .doc = "create: where people are sent back to, with the grant authorization_code."},
    {"public", CONFIG_BOOL, AT(is_public), "false", .flags = CONFIG_LOCAL,
     .doc = "create: a program on people's own machines, which can keep no secret: it gets none."},
    {"jwks", CONFIG_PATH, AT(jwks), "", .flags = CONFIG_LOCAL, .arg = "FILE",
     .doc = "create: its public keys (RFC 7517). It signs with one of them (private_key_jwt) and gets no secret."},
    {"trust-issuer", CONFIG_STRING, AT(trust_issuer), "", .flags = CONFIG_LOCAL, .arg = "URL",
     .doc = "create: an OpenID provider of the server's token-issuers. The client's one grant is the exchange of this provider's tokens "
            "(RFC 8693), and it has no secret."},
    {"trust-subject", CONFIG_STRING, AT(trust_subject), "", .flags = CONFIG_LOCAL, .arg = "SUBJECT",
     .doc = "create: whose tokens: their `sub`, with * for any run of characters."},
    {"trust-audience", CONFIG_STRING, AT(trust_audience), "", .flags = CONFIG_LOCAL, .arg = "AUDIENCE",
     .doc = "create: their `aud`. Unset: the server's issuer."},
    ASK_ROWS(ASK_URL),
    {"json", CONFIG_BOOL, AT(json), "false", .flags = CONFIG_LOCAL,
     .doc = "Print JSON."},
    {0},
};
// clang-format on

static const char summary[] = "OAuth clients: programs that get access tokens of their own at /v1/auth/token. `client "
                              "create` registers one, `client list` lists those of a tenant, `client revoke ID` takes "
                              "one back with all its tokens. A secret is printed once and is not stored.";

struct call {
    struct settings settings;
    struct options options;
    char tenant[ID_UUID];
    const char *id; /* of revoke */
    struct json *members;
    struct client_new client;
    struct commit commit;
    struct tool *tool;
};

static struct arena *arena_of(struct call *c)
{
    return &c->settings.config.arena;
}

static int usage(struct call *c, const char *what)
{
    return config_usage(&c->settings.config, "%s", what);
}

/* --- what is printed --- */

static void print_one(const struct json *client)
{
    struct str secret = json_str(json_get(client, "client_secret"));
    printf("client_id      " STR_FMT "\n", STR_ARG(json_str(json_get(client, "client_id"))));
    if (secret.n > 0)
        printf("client_secret  " STR_FMT "\n", STR_ARG(secret));
}

static void print_row(const struct json *client)
{
    const struct json *scopes = json_get(client, "scopes");
    printf(STR_FMT "  " STR_FMT " ", STR_ARG(json_str(json_get(client, "client_id"))),
           STR_ARG(json_str(json_get(client, "created_at"))));
    for (size_t i = 0; i < json_count(scopes); i++)
        printf("%c" STR_FMT, i == 0 ? ' ' : ',', STR_ARG(json_str(json_at(scopes, i))));
    printf("  " STR_FMT "\n", STR_ARG(json_str(json_get(client, "name"))));
}

/* One client, a list of them, or nothing after a revocation. */
static void print(struct call *c, struct str text)
{
    const struct json *j = text.n == 0 ? NULL : json_parse(arena_of(c), text, &(struct json_limits){8, 100000}, NULL);
    if (c->options.json && c->id != NULL)
        printf("{\"revoked\":\"%s\"}\n", c->id);
    else if (c->options.json)
        printf(STR_FMT "\n", STR_ARG(text));
    else if (c->id != NULL)
        printf("revoked the client %s\n", c->id);
    else if (json_is(j, JSON_ARRAY))
        for (size_t i = 0; i < json_count(j); i++)
            print_row(json_at(j, i));
    else
        print_one(j);
}

/* --- the body of a registration --- */

static void put_list(struct json_out *o, const char *name, const char *list)
{
    json_key(o, str_z(name));
    json_put_names(o, str_z(list));
}

static struct json *read_keys(struct call *c)
{
    struct buf text;
    char part[4096];
    size_t n;
    FILE *in = fopen(c->options.jwks, "re");
    buf_init_arena(&text, arena_of(c), sizeof part);
    while (in != NULL && (n = fread(part, 1, sizeof part, in)) > 0 && text.n < (1 << 20))
        buf_add(&text, part, n);
    if (in == NULL)
        return NULL;
    fclose(in);
    return json_parse(arena_of(c), buf_view(&text), NULL, NULL);
}

static void put_trust(struct json_out *o, const struct options *given)
{
    const char *const members[][2] = {
        {"issuer", given->trust_issuer}, {"subject", given->trust_subject}, {"audience", given->trust_audience}};
    json_key(o, S("trust"));
    json_open(o, '{');
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (members[i][1][0] != '\0') {
            json_key(o, str_z(members[i][0]));
            json_put_z(o, members[i][1]);
        }
    json_close(o, '}');
}

/* STR_NONE after a message. */
static struct str body_of(struct call *c)
{
    struct buf b;
    struct json_out o;
    const struct options *given = &c->options;
    const struct json *keys = given->jwks[0] == '\0' ? NULL : read_keys(c);
    if (given->jwks[0] != '\0' && keys == NULL) {
        usage(c, "--jwks names no file with a JSON object");
        return STR_NONE;
    }
    buf_init_arena(&b, arena_of(c), 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("name"));
    json_put_z(&o, given->name);
    bool trusts = given->trust_issuer[0] != '\0';
    put_list(&o, "grant_types", trusts ? EXCHANGE_GRANT : given->grant);
    if (given->scope[0] != '\0')
        put_list(&o, "scopes", given->scope);
    if (keys != NULL) {
        json_key(&o, S("jwks"));
        json_put(&o, keys);
    }
    if (trusts)
        put_trust(&o, given);
    if (given->redirect_uri[0] != '\0')
        put_list(&o, "redirect_uris", given->redirect_uri);
    if (keys != NULL || trusts || given->is_public) {
        json_key(&o, S("token_endpoint_auth_method"));
        json_put_z(&o, keys != NULL ? "private_key_jwt" : "none");
    }
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

/* --- by the data --- */

static int failed(const char *what, enum code c)
{
    fprintf(stderr, "slipway client: %s: %s (%s)\n", what, code_text(c), code_name(c));
    return 1;
}

static void end(struct call *c, enum code code, const char *what, struct str text)
{
    if (code == OK)
        print(c, text);
    tool_end(c->tool, code == OK ? 0 : failed(what, code));
}

static void committed(void *arg, const struct commit_result *result)
{
    struct call *c = arg;
    end(c, result->code, c->id != NULL ? "nothing is revoked" : "the client is not made", c->client.shown);
}

static enum code commit_now(struct call *c, const char *action, struct str id, struct str after)
{
    const struct audit_entry entry = {.action = action, .resource = CLIENT_KIND, .resource_id = id, .after = after};
    audit_add_system(&c->commit, &c->tool->arena, "slipway client", &entry);
    return store_commit(c->tool->store, &c->commit, &c->tool->ops, committed, c);
}

/* The first tenant is made by the first start of a server, which makes its admin key, too. */
static void tenant_looked_up(void *arg, enum code code, const struct redis_value *v)
{
    struct call *c = arg;
    struct arena *a = &c->tool->arena;
    bool missing = code == OK && redis_int(v, 0) == 0 && strcmp(c->options.tenant, "default") != 0;
    c->client = (struct client_new){.space = {partition_of(str_z(c->tenant)), str_z(c->tenant)},
                                    .members = c->members,
                                    .created_by = S("slipway client"),
                                    .now_ms = clock_wall_ms()};
    commit_begin(&c->commit, a, c->client.space, COMMIT_GROWS);
    if (missing)
        credential_put_tenant(&c->commit, &c->settings, c->tenant, str_z(c->options.tenant), c->client.now_ms);
    client_put(&c->client, &c->settings, &c->commit);
    if (code == OK)
        code = commit_now(c, "client.created", str_z(c->client.id), c->client.document);
    if (code != OK)
        end(c, code, "the client is not made", STR_NONE);
}

static void create(struct tool *t, void *arg)
{
    struct call *c = arg;
    c->tool = t;
    const struct space space = {partition_of(str_z(c->tenant)), str_z(c->tenant)};
    const struct store_command read =
        STORE_COMMAND(S("EXISTS"), key_document(&t->arena, space, "tenant", str_z(c->tenant)));
    enum code code = store_read(t->store, &read, 1, &t->ops, tenant_looked_up, c);
    if (code != OK)
        end(c, code, "the client is not made", STR_NONE);
}

static void revoke_client(struct tool *t, void *arg)
{
    struct call *c = arg;
    char hex[65];
    unsigned partition;
    c->tool = t;
    const struct space space = {partition_of(str_z(c->tenant)), str_z(c->tenant)};
    if (!client_credential(&c->settings, str_z(c->id), &partition, hex) || partition != space.partition) {
        end(c, RES_NOT_FOUND, "nothing is revoked", STR_NONE);
        return;
    }
    commit_begin(&c->commit, &t->arena, space, COMMIT_ESSENTIAL);
    client_end(&c->settings, &c->commit, str_z(c->id), clock_wall_ms());
    enum code code = commit_now(c, "client.deleted", str_z(c->id), STR_NONE);
    if (code != OK)
        end(c, code, "nothing is revoked", STR_NONE);
}

static void listed(void *arg, enum code code, struct str text)
{
    end(arg, code, "the clients cannot be read", text);
}

static void list(struct tool *t, void *arg)
{
    struct call *c = arg;
    c->tool = t;
    enum code code = credential_list(t->store, &t->arena, str_z(c->tenant), CLIENT_KIND, &t->ops, listed, c);
    if (code != OK)
        listed(c, code, STR_NONE);
}

/* --- by the API --- */

static struct ask ask_of(struct call *c)
{
    return (struct ask){.settings = &c->settings, .command = "client", .remote = c->options.remote};
}

static int ask(struct call *c, const char *method, struct str path, struct str body, int wanted)
{
    const struct json *answer;
    struct buf text;
    struct ask ask = ask_of(c);
    if (!ask_for(&ask, method, path, body, wanted, &answer))
        return 1;
    buf_init_arena(&text, arena_of(c), 512);
    if (answer != NULL)
        json_write(&text, answer);
    print(c, buf_view(&text));
    return 0;
}

/* --- actions --- */

static bool is_remote(const struct call *c)
{
    return c->options.remote.url[0] != '\0';
}

/* The same rows as the API's: what is wrong is said in the same words. */
static bool check(struct call *c, struct str body)
{
    struct faults faults;
    faults_init(&faults, arena_of(c));
    const struct json *given = json_parse(arena_of(c), body, NULL, NULL);
    c->members = field_check(client_resource.fields, given, FIELD_CREATE, &faults);
    if (c->members != NULL)
        client_check(c->members, &faults);
    if (faults.n > 0)
        config_usage(&c->settings.config, STR_FMT " " STR_FMT, STR_ARG(faults.list[0].field),
                     STR_ARG(faults.list[0].message));
    return c->members != NULL && faults.n == 0;
}

static int client_create(void *arg)
{
    struct call *c = arg;
    if (c->options.name[0] == '\0')
        return usage(c, "create needs a --name");
    struct str body = body_of(c);
    if (body.p == NULL || (!is_remote(c) && !check(c, body)))
        return CONFIG_BAD;
    if (is_remote(c))
        return ask(c, "POST", S("/v1/oauth/clients"), body, 201);
    return settings_open_keyring(&c->settings, true) ? tool_run(&c->settings, "client", create, c) : 1;
}

static int client_list(void *arg)
{
    struct call *c = arg;
    struct ask ask = ask_of(c);
    if (is_remote(c))
        return ask_list(&ask, "/v1/oauth/clients", c->options.json, print_row);
    return tool_run(&c->settings, "client", list, c);
}

static int client_revoke(void *arg)
{
    struct call *c = arg;
    if (c->settings.config.rest_count < 2 || !id_is_uuid(str_z(c->settings.config.rest[1]), NULL))
        return usage(c, "revoke needs the id of a client");
    c->id = c->settings.config.rest[1];
    if (is_remote(c))
        return ask(c, "DELETE", arena_printf(arena_of(c), "/v1/oauth/clients/%s", c->id), STR_NONE, 204);
    return settings_open_keyring(&c->settings, false) ? tool_run(&c->settings, "client", revoke_client, c) : 1;
}

static const struct tool_action actions[] = {
    {"create", client_create, 1}, {"list", client_list, 1}, {"revoke", client_revoke, 2}, {0}};

int client_main(int argc, char **argv)
{
    struct call *c = calloc(1, sizeof *c);
    if (c == NULL)
        return 1;
    int status =
        settings_read(&c->settings, "client create | list | revoke ID", summary, rows, &c->options, argc, argv);
    if (status == CONFIG_READ) {
        tenant_id(str_z(c->options.tenant), c->tenant);
        status = tool_choose(&c->settings.config, "client", actions, c);
    }
    settings_fini(&c->settings);
    free(c);
    return status;
}
