/* `slipway agent`: its options, its data folder, and the two programs behind the name: the agent, and the parent of one
 * task (`--task`, server/agent/task.h), which the agent starts by itself. */
#include "lib/cidr.h"
#include "lib/config.h"
#include "lib/log.h"
#include "server/agent/agent.h"
#include "server/agent/deploy.h"
#include "server/agent/file.h"
#include "server/agent/journal.h"
#include "server/agent/task.h"
#include "server/commands.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct options {
    const char *url, *ca, *token_file, *register_token, *data, *name;
    struct config_list labels, capabilities, outbound_allow;
    int64_t max_tasks, drain_ms, artifact_max, unpack_max;
    int log_level, log_format;
};

static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const formats[] = {"text", "json", NULL};
static const char summary[] = "Run tasks of a Slipway server on this host. It only connects out, survives the server's "
                              "absence and its own death, "
                              "and needs a registration token once. Tasks run in sessions of their own and go on when "
                              "the agent ends; under systemd "
                              "set KillMode=process. Exit status: 0 told to stop, 1 the data folder cannot be used, 2 "
                              "wrong usage, 3 registration "
                              "refused, revoked or deleted.";

#define AT(m) offsetof(struct options, m)
// clang-format off
static const struct config_row rows[] = {
    {"url", CONFIG_STRING, AT(url), "http://127.0.0.1:8080", .flags = CONFIG_URL, .arg = "URL",
     .doc = "The server: https://HOST, http://HOST:PORT or unix:/path/of/socket."},
    {"ca", CONFIG_PATH, AT(ca), "", .arg = "FILE",
     .doc = "Certificates (PEM) to trust in with https://. Unset: those of the system."},
    {"data", CONFIG_PATH, AT(data), "agent-data", .flags = CONFIG_REQUIRED, .arg = "DIR",
     .doc = "Where identity, journal and spools are kept. One agent at a time."},
    {"token-file", CONFIG_PATH, AT(token_file), NULL, .arg = "FILE",
     .doc = "Holds the registration token. Not read once there is an identity in DIR."},
    {"register-token", CONFIG_STRING, AT(register_token), NULL, .flags = CONFIG_SECRET, .arg = "TOKEN",
     .doc = "The registration token itself; others on this host can see it while the agent runs: prefer --token-file."},
    {"name", CONFIG_STRING, AT(name), NULL, .arg = "NAME",
     .doc = "How the agent is called, unique for the tenant. Default: the host's name."},
    {"label", CONFIG_LIST, AT(labels), NULL, .arg = "NAME=VALUE,…",
     .doc = "Labels that steps can ask for. May be given several times."},
    {"capability", CONFIG_LIST, AT(capabilities), "script,host", .arg = "NAME,…",
     .doc = "What the agent can do: script, to run commands; host, to deploy to folders of this host. May be given several "
            "times."},
    {"max-tasks", CONFIG_INT, AT(max_tasks), "4", .min = 1, .max = 64,
     .doc = "Tasks at once; more are refused as busy."},
    {"artifact-max", CONFIG_SIZE, AT(artifact_max), "32MiB", .min = 1024, .max = 64LL << 30, .code = PROTOCOL_TOO_LARGE,
     .doc = "The largest artifact that is downloaded; a deployment of a larger one fails."},
    {"unpack-max", CONFIG_SIZE, AT(unpack_max), "1GiB", .min = 1024, .max = 1LL << 40, .code = PROTOCOL_UNPACK,
     .doc = "Bytes that one artifact may have when it is unpacked; a deployment of a larger one fails."},
    {"outbound.allow", CONFIG_LIST, AT(outbound_allow), "", .arg = "CIDR,…",
     .doc = "Private, loopback and link-local networks that artifacts may be downloaded from, beside the server itself; "
            "all others of them are refused on the connected address."},
    {"drain", CONFIG_DURATION, AT(drain_ms), "0s", .min = 0, .max = 86400000,
     .doc = "On SIGTERM, wait this long for running tasks to end and be reported. What still runs then goes on by itself "
            "and is found again by the next start."},
    {"log-level", CONFIG_CHOICE, AT(log_level), "info", .choices = levels, .doc = "What is logged."},
    {"log-format", CONFIG_CHOICE, AT(log_format), "text", .choices = formats, .doc = "How it is logged."},
    {0},
};
// clang-format on

/* `--label a=b --label c=d` becomes `--label a=b,c=d`: the table knows one value for each name. */
static int repeated_join(int argc, char **argv, const char *flag)
{
    static char joined[2][4096];
    static int used;
    char *text = joined[used++ % 2];
    int first = 0, kept = 1;
    text[0] = '\0';
    for (int i = 1; i < argc; i++) {
        size_t n = strlen(flag);
        const char *value = strncmp(argv[i], flag, n) == 0 && argv[i][n] == '=' ? argv[i] + n + 1 : NULL;
        if (value == NULL && strcmp(argv[i], flag) == 0 && i + 1 < argc)
            value = argv[++i];
        if (value == NULL) {
            argv[kept++] = argv[i];
            continue;
        }
        size_t have = strlen(text);
        if (first == 0) {
            first = kept;
            kept += 1;
            have = (size_t)snprintf(text, sizeof joined[0], "%s=%s", flag, value);
        } else if (have + 1 < sizeof joined[0]) {
            have += (size_t)snprintf(text + have, sizeof joined[0] - have, ",%s", value);
        }
        if (have >= sizeof joined[0])
            return -1;
    }
    if (first != 0)
        argv[first] = text;
    argv[kept] = NULL;
    return kept;
}

static const char *token_read(const struct options *o, char out[256])
{
    struct buf b = {0};
    snprintf(out, 256, "%s", o->register_token);
    if (o->token_file[0] == '\0')
        return NULL;
    int error = file_read(AT_FDCWD, o->token_file, &b);
    struct str token = str_trim(str_cut(&(struct str){b.p, b.n}, '\n'));
    if (error == 0 && token.n < 256)
        snprintf(out, 256, STR_FMT, STR_ARG(token));
    buf_free(&b);
    return error != 0 ? strerror(error) : out[0] == '\0' ? "there is no token in it" : NULL;
}

static int folder_open(const struct options *o, char path[4096])
{
    if (mkdir(o->data, 0700) != 0 && errno != EEXIST)
        return -1;
    if (realpath(o->data, path) == NULL)
        return -1;
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* What a task's process needs to know: server/agent/deploy.h. */
static int settings_write(const struct options *o, int data)
{
    struct buf b = {0};
    char ca[PATH_MAX] = "";
    if (o->ca[0] != '\0' && realpath(o->ca, ca) == NULL)
        ca[0] = '\0'; /* client_trust says why */
    struct json_out out;
    json_out_init(&out, &b);
    json_open(&out, '{');
    json_key(&out, S("artifactMax"));
    json_put_int(&out, o->artifact_max);
    json_key(&out, S("ca"));
    json_put_z(&out, ca);
    json_key(&out, S("outboundAllow"));
    json_open(&out, '[');
    for (size_t i = 0; i < o->outbound_allow.n; i++)
        json_put_z(&out, o->outbound_allow.items[i]);
    json_close(&out, ']');
    json_key(&out, S("unpackMax"));
    json_put_int(&out, o->unpack_max);
    json_key(&out, S("url"));
    json_put_z(&out, o->url);
    json_close(&out, '}');
    int error = b.failed ? ENOMEM : file_replace(data, DEPLOY_SETTINGS, buf_view(&b), true);
    buf_free(&b);
    return error;
}

static const char *bad_network(const struct config_list *list)
{
    struct cidr ignored;
    for (size_t i = 0; i < list->n; i++)
        if (!cidr_parse(str_z(list->items[i]), &ignored))
            return list->items[i];
    return NULL;
}

static bool is_new(const struct options *o)
{
    struct identity known = {0};
    int data = open(o->data, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool none = data < 0 || identity_load(&known, data) == ENOENT;
    if (data >= 0)
        close(data);
    explicit_bzero(&known, sizeof known);
    return none;
}

/* What the first start needs, asked for before anything is made. 0, or the exit status. */
static int token_want(struct config *c, const struct options *o, char token[256])
{
    if (!is_new(o))
        return 0;
    const char *wrong = token_read(o, token);
    if (wrong != NULL)
        return config_usage(c, "--token-file %s: %s", o->token_file, wrong);
    if (token[0] == '\0')
        return config_usage(c, "%s has no identity yet: give --token-file or --register-token", o->data);
    return 0;
}

static enum agent_exit run(struct config *c, const struct options *o)
{
    char path[4096], host[256] = "agent", token[256] = "", why[CLIENT_REASON];
    struct agent_settings s = {.drain_ms = o->drain_ms, .log_format = o->log_format};
    const char *wrong = client_url_parse(str_z(o->url), &s.url);
    if (wrong != NULL)
        return (enum agent_exit)config_usage(c, "--url %s: %s", o->url, wrong);
    wrong = bad_network(&o->outbound_allow);
    if (wrong != NULL)
        return (enum agent_exit)config_usage(c, "--outbound-allow: %s is no network", wrong);
    int refused = token_want(c, o, token);
    if (refused != 0)
        return (enum agent_exit)refused;
    if (!client_trust(&s.url, o->ca, why))
        return (enum agent_exit)config_usage(c, "--ca %s", why);
    s.data = folder_open(o, path);
    int error = s.data < 0 ? errno : journal_lock(s.data);
    if (error == 0)
        error = settings_write(o, s.data);
    if (error != 0) {
        fprintf(stderr, "slipway agent: %s: %s\n", o->data,
                error == EAGAIN ? "another agent uses it" : strerror(error));
        client_distrust(&s.url);
        return AGENT_FAILED;
    }
    gethostname(host, sizeof host - 1);
    s.token = str_z(token);
    s.facts = (struct identity_facts){.name = str_z(o->name[0] != '\0' ? o->name : host),
                                      .capabilities = o->capabilities.items,
                                      .capability_count = o->capabilities.n,
                                      .label_texts = o->labels.items,
                                      .label_count = o->labels.n,
                                      .max_tasks = o->max_tasks};
    s.tasks = (struct tasks_settings){.path = path,
                                      .exe = "/proc/self/exe",
                                      .capabilities = o->capabilities.items,
                                      .capability_count = o->capabilities.n,
                                      .most = (size_t)o->max_tasks};
    log_setup((enum log_level)o->log_level, (enum log_format)o->log_format, 2);
    enum agent_exit status = agent_run(&s);
    client_distrust(&s.url);
    close(s.data);
    return status;
}

int agent_main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--task") == 0)
        return task_run(argv[2], NULL);
    struct options options = {0};
    struct config config;
    argc = repeated_join(argc, argv, "--label");
    if (argc > 0)
        argc = repeated_join(argc, argv, "--capability");
    if (argc < 0) {
        fprintf(stderr, "slipway agent: labels and capabilities are longer than 4,095 bytes\n");
        return AGENT_USAGE;
    }
    config_init(&config, "agent", summary, stderr);
    config_table(&config, rows, &options);
    int status = config_parse(&config, argc, argv);
    if (status == CONFIG_READ && config.rest_count > 0)
        status = config_usage(&config, "there are no arguments but options: %s", config.rest[0]);
    if (status == CONFIG_READ)
        status = run(&config, &options);
    config_fini(&config);
    return status;
}
