/* `slipway tenant`: organisations. For whoever has the data: no tenant's administrator may. */
#include "server/commands.h"

#include "lib/clock.h"
#include "server/command/ask.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/credential.h"
#include "server/limit.h"
#include "server/settings.h"
#include "server/store/commit.h"
#include "server/store/store.h"
#include "server/command/tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    struct remote remote;
    bool json;
};

// clang-format off
#define AT(member) offsetof(struct options, member)
static const struct config_row rows[] = {
    ASK_ROWS("list: ask the server there, which shows the key's own tenant: https://HOST, http://HOST:PORT or unix:/path/of/socket. What "
             "makes, suspends and rates tenants needs the data: no key may."),
    {"json", CONFIG_BOOL, AT(json), "false", .flags = CONFIG_LOCAL, .doc = "Print JSON."},
    {0}};
// clang-format on

static const char summary[] =
    "Organisations that share a server and see nothing of each other. `tenant create NAME` makes "
    "one, `tenant list` lists them, `tenant suspend NAME` refuses all its people, keys and tokens "
    "and ends their streams, `tenant activate NAME` takes that back; `tenant tier NAME TIER` gives its keys and people "
    "the rates of standard, premium, free, pro or enterprise.";

struct call {
    struct settings settings;
    struct options options;
    const char *name;
    char id[ID_UUID];
    unsigned tier;
    struct commit commit;
    struct tool *tool;
};

static int failed(enum code c, const char *name)
{
    fprintf(stderr, "slipway tenant: %s%s%s (%s)\n", name == NULL ? "" : name, name == NULL ? "" : ": ",
            c == RES_NOT_FOUND        ? "there is no such tenant"
            : c == RES_ALREADY_EXISTS ? "it is there already"
                                      : code_text(c),
            code_name(c));
    return 1;
}

static void print_one(const struct call *c, struct str id, struct str status, struct str name)
{
    struct buf b = {0};
    struct json_out o;
    if (!c->options.json) {
        printf(STR_FMT "  %-9.*s  " STR_FMT "\n", STR_ARG(id), STR_ARG(status), STR_ARG(name));
        return;
    }
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("id"));
    json_put_str(&o, id);
    json_key(&o, S("name"));
    json_put_str(&o, name);
    json_key(&o, S("status"));
    json_put_str(&o, status);
    json_close(&o, '}');
    printf(STR_FMT, STR_ARG(buf_view(&b)));
    buf_free(&b);
}

/* --- changing --- */

static void committed(void *arg, const struct commit_result *result)
{
    struct call *c = arg;
    if (result->code == OK)
        print_one(c, str_z(c->id), strcmp(c->settings.config.rest[0], "suspend") == 0 ? S("suspended") : S("active"),
                  str_z(c->name));
    if (result->code == OK && c->options.json)
        printf("\n");
    tool_end(c->tool, result->code == OK ? 0 : failed(result->code, c->name));
}

static void begin(struct call *c, struct tool *t)
{
    c->tool = t;
    tenant_id(str_z(c->name), c->id);
    commit_begin(&c->commit, &t->arena, (struct space){partition_of(str_z(c->id)), str_z(c->id)}, COMMIT_ESSENTIAL);
}

static void commit_now(struct call *c, const char *action)
{
    const struct audit_entry entry = {.action = action, .resource = "tenant", .resource_id = str_z(c->id)};
    audit_add_system(&c->commit, &c->tool->arena, "slipway tenant", &entry);
    enum code code = store_commit(c->tool->store, &c->commit, &c->tool->ops, committed, c);
    if (code != OK)
        tool_end(c->tool, failed(code, c->name));
}

static void create(struct tool *t, void *arg)
{
    struct call *c = arg;
    begin(c, t);
    credential_put_tenant(&c->commit, &c->settings, c->id, str_z(c->name), clock_wall_ms());
    commit_now(c, "tenant.created");
}

static void set_suspended(struct tool *t, struct call *c, bool suspended)
{
    struct arena *a = &t->arena;
    begin(c, t);
    struct space space = c->commit.space;
    commit_expect_exists(&c->commit, RES_NOT_FOUND, "id", key_document(a, space, "tenant", str_z(c->id)));
    commit_hset(&c->commit, key_tenant(a, space), S("suspended"), suspended ? arena_int(a, clock_wall_ms()) : S(""));
    tenant_note(&c->commit, c->id, suspended ? "suspended" : "active", str_z(c->name));
    commit_revoked(&c->commit);
    commit_now(c, suspended ? "tenant.suspended" : "tenant.activated");
}

static void suspend(struct tool *t, void *arg)
{
    set_suspended(t, arg, true);
}

static void activate(struct tool *t, void *arg)
{
    set_suspended(t, arg, false);
}

static void set_tier(struct tool *t, void *arg)
{
    struct call *c = arg;
    struct arena *a = &t->arena;
    begin(c, t);
    struct space space = c->commit.space;
    commit_expect_exists(&c->commit, RES_NOT_FOUND, "id", key_document(a, space, "tenant", str_z(c->id)));
    commit_hset(&c->commit, key_tenant(a, space), S("tier"), arena_printf(a, "%u", c->tier));
    commit_revoked(&c->commit);
    commit_now(c, "tenant.tier-set");
}

/* --- listing --- */

static void listed(void *arg, enum code code, const struct redis_value *v)
{
    struct call *c = arg;
    const char *before = "[";
    for (size_t p = 0; code == OK && p < v->count; p++) {
        const struct redis_value *found = redis_at(v, p);
        for (size_t i = 0; i + 1 < found->count; i += 2) {
            struct str name = redis_text(redis_at(found, i + 1)), status = str_cut(&name, ' ');
            if (c->options.json)
                printf("%s", before);
            before = ",";
            print_one(c, redis_text(redis_at(found, i)), status, name);
        }
    }
    if (code == OK && c->options.json)
        printf("%s]\n", before[0] == '[' ? "[" : "");
    tool_end(c->tool, code == OK ? 0 : failed(code, NULL));
}

static void list(struct tool *t, void *arg)
{
    struct call *c = arg;
    struct store_command reads[ID_PARTITIONS];
    c->tool = t;
    for (unsigned p = 0; p < ID_PARTITIONS; p++) {
        struct str *words = arena_array(&t->arena, 2, sizeof *words);
        if (words == NULL) {
            tool_end(t, failed(SYS_OVERLOADED, NULL));
            return;
        }
        words[0] = S("HGETALL");
        words[1] = key_tenants(&t->arena, p);
        reads[p] = (struct store_command){2, words};
    }
    enum code code = store_read(t->store, reads, ID_PARTITIONS, &t->ops, listed, c);
    if (code != OK)
        tool_end(t, failed(code, NULL));
}

/* --- the command --- */

static int act(struct call *c, void (*action)(struct tool *t, void *arg))
{
    const struct config *config = &c->settings.config;
    if (c->options.remote.url[0] != '\0')
        return config_usage(config, "%s needs the data of the server: --url goes with list alone", config->rest[0]);
    if (config->rest_count < 2 || config->rest[1][0] == '\0' || strlen(config->rest[1]) > 100)
        return config_usage(config, "%s needs the name of a tenant", config->rest[0]);
    c->name = config->rest[1];
    return settings_open_keyring(&c->settings, true) ? tool_run(&c->settings, "tenant", action, c) : 1;
}

static int run_create(void *c)
{
    return act(c, create);
}

static int run_suspend(void *c)
{
    return act(c, suspend);
}

static int run_activate(void *c)
{
    return act(c, activate);
}

static int run_tier(void *arg)
{
    struct call *c = arg;
    const struct config *config = &c->settings.config;
    if (config->rest_count < 3 || !limit_tier_find(str_z(config->rest[2]), &c->tier))
        return config_usage(config, "tier needs a tenant, and standard, premium, free, pro or enterprise");
    return act(c, set_tier);
}

/* The tenant of whoever asks. */
static int list_remote(struct call *c)
{
    const struct json *tenant;
    struct ask ask = {.settings = &c->settings, .command = "tenant", .remote = c->options.remote};
    if (!ask_for(&ask, "GET", S("/v1/tenant"), STR_NONE, 200, &tenant))
        return 1;
    printf("%s", c->options.json ? "[" : "");
    print_one(c, json_str(json_get(tenant, "id")), S("active"), json_str(json_get(tenant, "name")));
    printf("%s", c->options.json ? "]\n" : "");
    return 0;
}

static int run_list(void *arg)
{
    struct call *c = arg;
    if (c->options.remote.url[0] != '\0')
        return list_remote(c);
    return tool_run(&c->settings, "tenant", list, c);
}

static const struct tool_action actions[] = {{"create", run_create, 2},   {"list", run_list, 1},
                                             {"suspend", run_suspend, 2}, {"activate", run_activate, 2},
                                             {"tier", run_tier, 3},       {0}};

int tenant_main(int argc, char **argv)
{
    struct call *c = calloc(1, sizeof *c);
    if (c == NULL)
        return 1;
    int status =
        settings_read(&c->settings, "tenant create NAME | list | suspend NAME | activate NAME | tier NAME TIER",
                      summary, rows, &c->options, argc, argv);
    if (status == CONFIG_READ)
        status = tool_choose(&c->settings.config, "tenant", actions, c);
    settings_fini(&c->settings);
    free(c);
    return status;
}
