#include "server/command/tool.h"

#include "lib/log.h"
#include "lib/timer.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/credential.h"
#include "server/embedded.h"
#include "server/settings.h"
#include "server/store/commit.h"
#include "server/store/store.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 15000 };

struct running {
    struct tool tool; /* first: tool_end gets back from it */
    const char *command;
    void (*action)(struct tool *t, void *arg);
    void *arg;
    struct loop loop;
    struct timer patience;
    struct embedded *embedded;
    struct store_seen seen;
    int status;
    bool acting, ending;
};

static void embedded_closed(void *arg)
{
    loop_stop(&((struct running *)arg)->loop);
}

static void store_closed(void *arg)
{
    struct running *run = arg;
    run->tool.store = NULL;
    if (run->embedded != NULL)
        embedded_close(run->embedded, embedded_closed, run);
    else
        loop_stop(&run->loop);
}

void tool_end(struct tool *t, int status)
{
    struct running *run = (struct running *)(void *)t;
    if (run->ending)
        return;
    run->ending = true;
    run->status = status;
    timer_stop(&run->patience);
    ops_detach(&t->ops);
    if (t->store != NULL)
        store_close(t->store, store_closed, run);
    else
        store_closed(run);
}

struct noting {
    void (*then)(void *arg, enum code c);
    void *arg;
};

static void noted(void *arg, const struct commit_result *r)
{
    const struct noting *n = arg;
    n->then(n->arg, r->code);
}

enum code tool_audit(struct tool *t, const char *actor, const struct audit_entry *entry,
                     void (*then)(void *arg, enum code c), void *arg)
{
    struct commit commit;
    char *tenant = arena_alloc(&t->arena, ID_UUID);
    struct noting *n = arena_new(&t->arena, struct noting);
    if (tenant == NULL || n == NULL)
        return SYS_OVERLOADED;
    tenant_id(S(FIRST_TENANT), tenant);
    *n = (struct noting){then, arg};
    commit_begin(&commit, &t->arena, (struct space){partition_of(str_z(tenant)), str_z(tenant)}, 0);
    audit_add_system(&commit, &t->arena, actor, entry);
    return store_commit(t->store, &commit, &t->ops, noted, n);
}

static void give_up(struct running *run, const char *why)
{
    if (!run->ending)
        fprintf(stderr, "slipway %s: %s\n", run->command, why);
    tool_end(&run->tool, 1);
}

static void out_of_patience(void *arg)
{
    struct running *run = arg;
    const char *why = run->tool.store == NULL ? "the embedded Redis does not start" : store_problem(run->tool.store);
    give_up(run, why != NULL ? why : "the store does not answer in time");
}

static void store_changed(void *arg)
{
    struct running *run = arg;
    if (run->acting || run->ending || !store_ready(run->tool.store))
        return;
    run->acting = true;
    timer_stop(&run->patience); /* what it does may take long */
    run->action(&run->tool, run->arg);
}

static void open_store(struct running *run, struct str url)
{
    const char *why = "";
    const struct settings *s = run->tool.settings;
    struct store_settings settings = {.limits = {.call_ms = s->redis_timeout}, .seen = &run->seen};
    if (!redis_target_parse(url, &settings.target, &why)) {
        give_up(run, why);
        return;
    }
    run->tool.store = store_open(&run->loop, &settings, store_changed, run);
    if (run->tool.store == NULL)
        give_up(run, "out of memory");
}

static void redis_up(void *arg)
{
    struct running *run = arg;
    if (run->tool.store == NULL && !run->ending)
        open_store(run, str_z(embedded_socket(run->embedded)));
}

static void redis_failed(void *arg, const char *why)
{
    give_up(arg, why);
}

static void redis_down(void *arg, const char *why)
{
    (void)arg; /* it is started again; patience bounds that */
    (void)why;
}

static void open_redis(struct running *run)
{
    static const struct embedded_events events = {.on_up = redis_up, .on_down = redis_down, .on_failed = redis_failed};
    const struct settings *s = run->tool.settings;
    const struct embedded_settings settings = {.data = s->data, .everysec = s->redis_fsync == 1};
    run->embedded = embedded_open(&run->loop, &settings, &events, run);
    if (run->embedded == NULL)
        give_up(run, "the embedded Redis cannot be started");
}

int tool_run(const struct settings *s, const char *command, void (*action)(struct tool *t, void *arg), void *arg)
{
    struct running run = {.tool = {.settings = s}, .command = command, .action = action, .arg = arg, .status = 1};
    if (loop_init(&run.loop) != 0) {
        fprintf(stderr, "slipway %s: no event loop\n", command);
        return 1;
    }
    log_setup(LOG_WARN, (enum log_format)s->log_format, STDERR_FILENO);
    run.tool.loop = &run.loop;
    arena_init(&run.tool.arena, 0);
    ops_init(&run.tool.ops);
    timer_start(&run.patience, &run.loop, PATIENCE_MS, out_of_patience, &run);
    if (strcmp(s->redis, "embedded") == 0)
        open_redis(&run);
    else
        open_store(&run, str_z(s->redis));
    loop_run(&run.loop);
    loop_fini(&run.loop);
    arena_fini(&run.tool.arena);
    return run.status;
}

/* "create, list and revoke" */
static void list_actions(const struct tool_action *actions, char *out, size_t room)
{
    size_t n = 0;
    for (const struct tool_action *a = actions; a->name != NULL; a++)
        n += (size_t)snprintf(out + n, room - n, "%s%s",
                              a == actions        ? ""
                              : a[1].name == NULL ? " and "
                                                  : ", ",
                              a->name);
}

int tool_choose(const struct config *config, const char *command, const struct tool_action *actions, void *call)
{
    char names[128];
    list_actions(actions, names, sizeof names);
    if (config->rest_count == 0)
        return config_usage(config, "one of %s is needed", names);
    for (const struct tool_action *a = actions; a->name != NULL; a++)
        if (strcmp(config->rest[0], a->name) == 0)
            return config->rest_count > a->arguments ? config_usage(config, "too many arguments") : a->run(call);
    return config_usage(config, "there is no `%s %s`", command, config->rest[0]);
}
