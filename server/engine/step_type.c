#include "server/engine/step_type.h"

#include "server/engine/strategy.h"
#include "server/engine/text.h"

// clang-format off
static const struct field script_config[] = {
    {"command", FIELD_LIST, FIELD_REQUIRED, 1, 256, .item = FIELD_STRING, .item_max = 32768, .doc = "The program and its arguments; no shell is put between. For one: [\"sh\",\"-c\",\"...\"]."},
    {"env", FIELD_MAP, 0, 0, 128, .item = FIELD_STRING, .item_max = 32768, .doc = "Variables added to the agent's clean environment."},
    {"workingDirectory", FIELD_STRING, 0, 1, 1024, .doc = "Relative to the task's own folder, or absolute. Default: the task's own folder."},
    {"labels", FIELD_MAP, 0, 0, 32, .item = FIELD_STRING, .doc = "Labels that the agent must carry."},
    {0}};
static const struct field script_outputs[] = {
    {"exitCode", FIELD_INT, .doc = "Exit status of the process."},
    {"stdoutTail", FIELD_STRING, .doc = "The last 4 KiB of standard output."},
    {0}};

static const struct field wait_config[] = {
    {"seconds", FIELD_NUMBER, 0, 0, 604800, .doc = "How long to wait."},
    {"until", FIELD_TIME, .doc = "Wait until this time instead."},
    {0}};
static const struct field wait_outputs[] = {
    {"waitedSeconds", FIELD_NUMBER, .doc = "How long it really took, pauses included."},
    {0}};

static const char *const methods[] = {"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", NULL};
static const struct field http_config[] = {
    {"method", FIELD_ENUM, .choices = methods, .preset = "\"GET\"", .doc = "Request method."},
    {"url", FIELD_STRING, FIELD_REQUIRED, 1, 2048, .doc = "http or https. Private, loopback and link-local addresses are refused unless outbound.allow lists them; redirects are not followed."},
    {"headers", FIELD_MAP, 0, 0, 64, .item = FIELD_STRING, .item_max = 4096, .doc = "Request headers."},
    {"body", FIELD_ANY, .doc = "A text is sent as it is, anything else as JSON."},
    {"expectStatus", FIELD_LIST, 0, 1, 32, .item = FIELD_INT, .doc = "Statuses that count as success. Default: 200 to 299."},
    {0}};
static const struct field http_outputs[] = {
    {"status", FIELD_INT, .doc = "Response status."},
    {"body", FIELD_ANY, .doc = "Response body: parsed if it is JSON, else text, cut at 32 KiB."},
    {0}};

static const char *const channels[] = {"webhook", NULL};
static const struct field notify_config[] = {
    {"channel", FIELD_ENUM, .choices = channels, .preset = "\"webhook\"", .doc = "webhook posts {\"text\": message} and the details of the run to `url`."},
    {"url", FIELD_STRING, FIELD_REQUIRED, 1, 2048, .doc = "Where the channel is; the rules of http-request hold."},
    {"message", FIELD_STRING, FIELD_REQUIRED, 1, 8192, .doc = "What to say."},
    {"headers", FIELD_MAP, 0, 0, 64, .item = FIELD_STRING, .item_max = 4096, .doc = "Request headers."},
    {0}};
static const struct field notify_outputs[] = {
    {"delivered", FIELD_BOOL, .doc = "The receiver answered with a status from 200 to 299."},
    {0}};

static const struct field hook_fields[] = {
    {"preDeploy", FIELD_LIST, .min = 1, .max = 256, .item = FIELD_STRING, .item_max = 32768, .doc = "On each target, in the new release's folder before the switch: the program and its arguments."},
    {"postDeploy", FIELD_LIST, .min = 1, .max = 256, .item = FIELD_STRING, .item_max = 32768, .doc = "In the current release after the switch; when it fails, the target switches back."},
    {"timeoutSeconds", FIELD_INT, .min = 1, .max = 86400, .preset = "300", .doc = "Of each."},
    {0}};
static const struct field deploy_config[] = {
    {"strategy", FIELD_ENUM, .choices = strategy_types, .doc = "How the targets are gone through, unless the promotion says otherwise. Default: all-at-once."},
    {"strategyConfig", FIELD_OBJECT, .fields = strategy_config_fields, .doc = "What is not given has its default."},
    {"targets", FIELD_LIST, FIELD_UNIQUE_ITEMS, 1, 1000, .item = FIELD_UUID, .doc = "Only these of the environment's targets. Default: all."},
    {"hooks", FIELD_OBJECT, .fields = hook_fields, .doc = "Commands run on each target."},
    {"healthCheck", FIELD_OBJECT, .fields = strategy_health_fields, .doc = "Of each target, instead of the strategy's."},
    {0}};
static const struct field rollback_config[] = {
    {"to", FIELD_STRING, .min = 1, .max = 36, .preset = "\"previous\"", .pattern = "^(previous|[0-9A-Fa-f-]{36})$", .doc = "previous: each target goes back to what it had before this run's deployment; or the id of a release."},
    {"strategy", FIELD_ENUM, .choices = strategy_types, .doc = "Default: all-at-once."},
    {"strategyConfig", FIELD_OBJECT, .fields = strategy_config_fields, .doc = "What is not given has its default."},
    {"targets", FIELD_LIST, FIELD_UNIQUE_ITEMS, 1, 1000, .item = FIELD_UUID, .doc = "Only these of the environment's targets. Default: all."},
    {"hooks", FIELD_OBJECT, .fields = hook_fields, .doc = "Commands run on each target."},
    {"healthCheck", FIELD_OBJECT, .fields = strategy_health_fields, .doc = "Of each target, instead of the strategy's."},
    {0}};
static const struct field sticker_config[] = {
    {"targets", FIELD_LIST, FIELD_UNIQUE_ITEMS, 1, 1000, .item = FIELD_UUID, .doc = "Only these of the environment's targets. Default: all that have a release."},
    {0}};
#define JOB_OUTPUT_ROWS                                                                                                \
    {"deploymentJobId", FIELD_UUID, .doc = "The job it made."},                                                        \
    {"status", FIELD_STRING, .doc = "How the job ended."},                                                             \
    {"targets", FIELD_INT, .doc = "All there were."},                                                                  \
    {"completed", FIELD_INT, .doc = "Targets that were brought to the release."},                                      \
    {"failed", FIELD_INT, .doc = "Targets that failed."},                                                              \
    {"skipped", FIELD_INT, .doc = "Targets that were left out."}
static const struct field job_outputs[] = {JOB_OUTPUT_ROWS, {0}};
static const struct field sticker_outputs[] = {
    JOB_OUTPUT_ROWS,
    {"stickerIds", FIELD_LIST, .item = FIELD_UUID, .doc = "The version stickers it wrote, in the order of the targets."},
    {0}};

static const struct field health_config[] = {
    STRATEGY_HEALTH_ROWS,
    {"labels", FIELD_MAP, 0, 0, 32, .item = FIELD_STRING, .doc = "Labels that the agent must carry."},
    {0}};
static const struct field sample_fields[] = {
    {"at", FIELD_TIME},
    {"ok", FIELD_BOOL},
    {"latencyMs", FIELD_NUMBER},
    {"message", FIELD_STRING},
    {0}};
static const struct field health_outputs[] = {
    {"healthy", FIELD_BOOL, .doc = "The last check was good."},
    {"latencyMs", FIELD_NUMBER, .doc = "Of the last check."},
    {"samples", FIELD_LIST, .item = FIELD_OBJECT, .fields = sample_fields, .doc = "Each check."},
    {0}};
// clang-format on

static const char *check_wait(const struct json *config)
{
    bool seconds = json_get(config, "seconds") != NULL, until = json_get(config, "until") != NULL;

    return seconds != until ? NULL : "exactly one of seconds and until is needed";
}

/* What is still an expression may turn out to be anything. */
static const char *check_job(const struct json *config)
{
    return strategy_misfit(json_str(json_get(config, "strategy")), json_get(config, "strategyConfig"));
}

#define RETRY_ONCE                                                                                                     \
    {                                                                                                                  \
        1, BACKOFF_FIXED, 5000, 300000, NULL                                                                           \
    }
#define RETRY_NET                                                                                                      \
    {                                                                                                                  \
        3, BACKOFF_EXPONENTIAL, 5000, 300000, NULL                                                                     \
    }

// clang-format off
static const struct step_type types[] = {
    {"script", "Script", "deploy", "Runs a command on an agent and streams what it prints. Files it puts into the folder `artifacts` are kept.",
     BY_AGENT, "script", 3600, RETRY_ONCE, true, script_config, script_outputs, NULL},
    {"wait", "Wait", "control", "Waits for a number of seconds or until a time. Stands still while the run is paused.",
     BY_TIMER, NULL, 604800, RETRY_ONCE, true, wait_config, wait_outputs, check_wait},
    {"http-request", "HTTP request", "integration", "Calls a URL and checks the status of the answer.",
     BY_SERVER, NULL, 60, RETRY_ONCE, true, http_config, http_outputs, NULL},
    {"notify", "Notify", "notify", "Sends a message to a channel.",
     BY_SERVER, NULL, 60, RETRY_NET, true, notify_config, notify_outputs, NULL},
    {"deploy", "Deploy", "deploy", "Brings the run's release to the targets of its environment: makes a deployment job and waits for its end.",
     BY_JOB, NULL, 86400, RETRY_ONCE, true, deploy_config, job_outputs, check_job},
    {"rollback", "Roll back", "deploy", "Brings the targets of the run's environment back to an earlier release: makes a deployment job and waits for its end.",
     BY_JOB, NULL, 86400, RETRY_ONCE, true, rollback_config, job_outputs, check_job},
    {"write-sticker", "Write sticker", "deploy", "Writes the version sticker of what each target of the run's environment has anew, and puts back what is missing there. The stickers are those of its deployment job.",
     BY_JOB, NULL, 86400, RETRY_ONCE, true, sticker_config, sticker_outputs, NULL},
    {"health-check", "Health check", "deploy", "Asks for health from an agent's host, and fails when it is bad.",
     BY_AGENT, "host", 600, RETRY_ONCE, true, health_config, health_outputs, strategy_health_lacking,
     "health-check", strategy_health_payload},
};
// clang-format on

const struct step_type *step_type_at(size_t i)
{
    return i < ARRAY_LEN(types) ? &types[i] : NULL;
}

const struct step_type *step_type_find(struct str key)
{
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (str_eqz(key, types[i].key))
            return &types[i];
    return NULL;
}

bool step_type_brings(const struct step_type *t)
{
    return t->executor == BY_JOB && t->config != sticker_config;
}

static const char *const backoffs[] = {"fixed", "linear", "exponential"};

const char *backoff_name(enum backoff b)
{
    return backoffs[b];
}

bool backoff_find(struct str name, enum backoff *out)
{
    for (size_t i = 0; i < ARRAY_LEN(backoffs); i++)
        if (str_eqz(name, backoffs[i])) {
            *out = (enum backoff)i;
            return true;
        }
    return false;
}

static void write_retry(struct json_out *o, const struct retry *r)
{
    json_open(o, '{');
    json_key(o, S("backoff"));
    json_put_z(o, backoff_name(r->backoff));
    json_key(o, S("initialDelaySeconds"));
    json_put_real(o, (double)r->delay_ms / 1000);
    json_key(o, S("maxAttempts"));
    json_put_int(o, r->attempts);
    json_key(o, S("maxDelaySeconds"));
    json_put_real(o, (double)r->max_delay_ms / 1000);
    json_close(o, '}');
}

void step_type_write(struct json_out *o, const struct step_type *t)
{
    static const struct field no_inputs[] = {{0}};

    json_open(o, '{');
    json_key(o, S("cancellable"));
    json_put_bool(o, t->cancellable);
    json_key(o, S("category"));
    json_put_z(o, t->category);
    json_key(o, S("configSchema"));
    field_schema(o, t->config, true);
    json_key(o, S("defaultRetry"));
    write_retry(o, &t->retry);
    json_key(o, S("defaultTimeoutSeconds"));
    json_put_int(o, t->timeout_s);
    json_key(o, S("description"));
    json_put_z(o, t->doc);
    json_key(o, S("displayName"));
    json_put_z(o, t->name);
    json_key(o, S("inputsSchema"));
    field_schema(o, no_inputs, true);
    json_key(o, S("outputsSchema"));
    field_schema(o, t->outputs, false);
    json_key(o, S("provider"));
    json_put_z(o, "builtin");
    json_key(o, S("type"));
    json_put_z(o, t->key);
    json_close(o, '}');
}

/* The value a fault's field name ("env.A", "command[2]") points at. */
static const struct json *at_field(const struct json *j, struct str field)
{
    while (field.n > 0 && j != NULL) {
        size_t end = 0;
        int64_t index;

        if (field.p[0] == '[') {
            ptrdiff_t close = str_index(field, ']');

            if (close < 0 || !str_i64(str_slice(field, 1, (size_t)close), &index) || index < 0)
                return NULL;
            j = json_at(j, (size_t)index);
            end = (size_t)close + 1;
        } else {
            while (end < field.n && field.p[end] != '.' && field.p[end] != '[')
                end++;
            j = json_get_str(j, str_slice(field, 0, end));
        }
        if (end < field.n && field.p[end] == '.')
            end++;
        field = str_slice(field, end, field.n);
    }
    return j;
}

void step_type_check(const struct step_type *t, const struct json *config, struct str prefix, struct faults *faults)
{
    struct faults own;
    const char *further;
    bool dynamic = false;

    if (config == NULL)
        config = json_parse(faults->arena, S("{}"), NULL, &(struct json_fault){0});
    faults_init(&own, faults->arena);
    field_check(t->config, config, FIELD_CREATE, &own);
    for (size_t i = 0; i < own.n; i++) {
        const struct json *value = at_field(config, own.list[i].field);

        if (json_is(value, JSON_STRING) && text_is_expression(json_str(value)))
            dynamic = true;
        else
            fault_add(faults,
                      arena_printf(faults->arena, STR_FMT "." STR_FMT, STR_ARG(prefix), STR_ARG(own.list[i].field)),
                      own.list[i].code, STR_FMT, STR_ARG(own.list[i].message));
    }
    further = t->check == NULL || (own.n > 0 && !dynamic) ? NULL : t->check(config);
    if (further != NULL)
        fault_add(faults, prefix, "VAL_REQUIRED", "%s", further);
}

struct json *step_type_normalise(const struct step_type *t, const struct json *config, struct faults *faults)
{
    struct json *normal = field_check(t->config, config, FIELD_CREATE, faults);
    const char *further;

    if (normal == NULL || faults->n > 0)
        return NULL;
    further = t->check == NULL ? NULL : t->check(normal);
    if (further != NULL)
        fault_add(faults, S("config"), "VAL_REQUIRED", "%s", further);
    return further == NULL ? normal : NULL;
}
