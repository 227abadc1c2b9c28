#include "server/engine/strategy.h"

const char *const strategy_types[] = {"all-at-once", "rolling", NULL};

#include <string.h>

static const char *const behaviours[] = {"rollback", "continue", "pause", NULL};
static const char *const unavailables[] = {"wait", "skip", "fail", NULL};
static const char *const orders[] = {"name", "random", "label", NULL};
const char *const strategy_checks[] = {"http", "tcp", "command", "none", NULL};

// clang-format off
const struct field strategy_health_fields[] = {STRATEGY_HEALTH(NULL, NULL, NULL, NULL, NULL, NULL), {0}};
static const struct field health_presets[] = {STRATEGY_HEALTH_ROWS, {0}};

#define COMMON(CONCURRENT, BEHAVIOUR, FAILURES, UNAVAILABLE, HEALTH_ROWS)                                                         \
    {"maxConcurrent",       FIELD_INT,    .min = 0, .max = 1000, .preset = (CONCURRENT), .doc = "Tasks under way at once; 0, the default: no bound."}, \
    {"failureBehavior",     FIELD_ENUM,   .choices = behaviours, .preset = (BEHAVIOUR), .doc = "Once more than maxFailures targets have failed. rollback, the default: every touched target goes back; continue: all others go on, the job fails in the end; pause: the job waits for a person."}, \
    {"maxFailures",         FIELD_INT,    .min = 0, .max = 1000, .preset = (FAILURES), .doc = "Failed targets that are tolerated. Default: 0."}, \
    {"onUnavailableTarget", FIELD_ENUM,   .choices = unavailables, .preset = (UNAVAILABLE), .doc = "When no agent serves a target. wait, the default: until the deployment's time is over; skip: it is left out; fail: it has failed after a minute."}, \
    {"healthCheck",         FIELD_OBJECT, .fields = (HEALTH_ROWS), .doc = "Asked for after each target's deployment. Default: the environment's healthCheckConfig, when that names a port; type none: not at all."}
#define ROLLING(ORDER, LABEL, PAUSE)                                                                                              \
    {"batchSize",    FIELD_INT,    .min = 1, .max = 1000, .doc = "Of rolling: targets at a time. Default: 1."},                    \
    {"batchPercent", FIELD_INT,    .min = 1, .max = 100, .doc = "Of rolling, instead of batchSize: per cent of the targets, rounded up."}, \
    {"order",        FIELD_ENUM,   .choices = orders, .preset = (ORDER), .doc = "Of rolling: which targets come first. Default: name."}, \
    {"orderLabel",   FIELD_STRING, .min = 1, .max = 128, .preset = (LABEL), .doc = "Of order label: the label whose values are the order, numbers by their size; targets without it come last. Default: order."}, \
    {"pauseBetweenBatchesSeconds", FIELD_INT, .min = 0, .max = 86400, .preset = (PAUSE), .doc = "Of rolling. Default: 0."}

const struct field strategy_config_fields[] = {
    COMMON(NULL, NULL, NULL, NULL, strategy_health_fields), ROLLING(NULL, NULL, NULL), {0}};
static const struct field all_at_once[] = {
    COMMON("0", "\"rollback\"", "0", "\"wait\"", health_presets), {0}};
static const struct field rolling[] = {
    COMMON("0", "\"rollback\"", "0", "\"wait\"", health_presets), ROLLING("\"name\"", "\"order\"", "0"), {0}};

const struct field strategy_fields[] = {
    {"type",   FIELD_ENUM,   FIELD_REQUIRED, .choices = strategy_types, .doc = "all-at-once: every target at the same time; rolling: batch after batch."},
    {"config", FIELD_OBJECT, .fields = strategy_config_fields, .doc = "What is not given has its default."},
    {0}};

static const struct {
    const char *type;
    const struct field *rows;
} kinds[] = {{"all-at-once", all_at_once}, {"rolling", rolling}};
// clang-format on

/* --- the health check --- */

static bool is_type(const struct json *check, const char *type)
{
    return str_eqz(json_str(json_get(check, "type")), type);
}

/* What the check cannot do without; NULL: nothing is missing. */
static const char *lacking(const struct json *check, const char **member)
{
    *member = "port";
    if (is_type(check, "http") && json_get(check, "port") == NULL && json_get(check, "url") == NULL)
        return "an http check needs a port or a url";
    if (is_type(check, "tcp") && json_get(check, "port") == NULL)
        return "a tcp check needs a port";
    *member = "command";
    return is_type(check, "command") && json_get(check, "command") == NULL ? "a command check needs a command" : NULL;
}

const char *strategy_health_lacking(const struct json *check)
{
    const char *member;

    return lacking(check, &member);
}

struct json *strategy_health_normalise(struct arena *a, const struct json *check, struct faults *faults)
{
    return field_check(health_presets, check == NULL ? json_new(a, JSON_OBJECT) : check, FIELD_CREATE, faults);
}

void strategy_health_payload(struct json_out *o, const struct json *check)
{
    static const struct {
        const char *name, *agents;
    } members[] = {{"command", "command"},
                   {"expectBody", "expectBody"},
                   {"expectStatus", "expectStatus"},
                   {"host", "host"},
                   {"interval", "intervalSeconds"},
                   {"path", "path"},
                   {"port", "port"},
                   {"retries", "retries"},
                   {"timeout", "timeoutSeconds"},
                   {"type", "type"},
                   {"url", "url"}};

    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (json_get(check, members[i].name) != NULL) {
            json_key(o, str_z(members[i].agents));
            json_put(o, json_get(check, members[i].name));
        }
}

/* The environment's, in the rows of a strategy's; NULL: it names none that could be carried out. */
static struct json *environments_check(struct arena *a, const struct json *environment)
{
    static const char *const members[] = {"type", "path", "port", "timeout", "retries", "interval"};
    const struct json *own = json_get(environment, "healthCheckConfig");
    struct json *check = json_new(a, JSON_OBJECT);

    if (json_get(own, "port") == NULL || !(is_type(own, "http") || is_type(own, "tcp")))
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(members); i++)
        if (json_get(own, members[i]) != NULL)
            json_set(a, check, str_z(members[i]), json_copy_tree(a, json_get(own, members[i])));
    return check;
}

static bool settle_health(struct arena *a, struct json *config, const struct json *environment, struct faults *own)
{
    struct json *check = json_get(config, "healthCheck"), *given = NULL;
    const char *member, *why;

    if (check == NULL) {
        given = environments_check(a, environment);
        if (given == NULL)
            return true;
        check = strategy_health_normalise(a, given, own);
        return check != NULL && json_set(a, config, S("healthCheck"), check);
    }
    if (is_type(check, "none"))
        return json_set(a, config, S("healthCheck"), json_parse(a, S("{\"type\":\"none\"}"), NULL, NULL));
    why = lacking(check, &member);
    if (why != NULL && strcmp(member, "port") != 0) /* the targets may have one each */
        fault_add(own, arena_printf(a, "healthCheck.%s", member), "VAL_REQUIRED", "%s", why);
    return true;
}

/* --- the whole --- */

const char *strategy_misfit(struct str type, const struct json *config)
{
    if (json_count(config) > 0 && type.n == 0)
        return "strategyConfig needs a strategy";
    for (struct json_iter it = json_members(config); str_eqz(type, "all-at-once") && json_next(&it);)
        if (field_find(all_at_once, it.name) == NULL)
            return "strategyConfig has a member that all-at-once does not know";
    return NULL;
}

static bool settle_batches(struct arena *a, struct json *config, struct faults *own)
{
    bool size = json_get(config, "batchSize") != NULL, percent = json_get(config, "batchPercent") != NULL;

    if (size && percent)
        fault_add(own, S("batchPercent"), "VAL_INVALID_FORMAT", "batchSize and batchPercent exclude each other");
    return size || percent || json_set(a, config, S("batchSize"), json_new_int(a, 1));
}

static void pass_on(struct arena *a, const struct faults *own, struct str prefix, struct faults *faults)
{
    for (size_t i = 0; i < own->n; i++)
        fault_add(faults, arena_printf(a, STR_FMT ".config." STR_FMT, STR_ARG(prefix), STR_ARG(own->list[i].field)),
                  own->list[i].code, STR_FMT, STR_ARG(own->list[i].message));
}

static struct json *config_of(struct arena *a, const struct field *rows, const struct json *config,
                              const struct json *environment, struct faults *own)
{
    struct json *normal = field_check(rows, config == NULL ? json_new(a, JSON_OBJECT) : config, FIELD_CREATE, own);

    if (normal == NULL || !settle_health(a, normal, environment, own))
        return NULL;
    return rows != rolling || settle_batches(a, normal, own) ? normal : NULL;
}

struct json *strategy_normalise(struct arena *a, const struct json *strategy, const struct json *environment,
                                struct str prefix, struct faults *faults)
{
    struct str type = strategy == NULL ? S("all-at-once") : json_str(json_get(strategy, "type"));
    struct faults *own = arena_new(a, struct faults);
    struct json *whole = json_new(a, JSON_OBJECT), *config = NULL;

    if (own == NULL || whole == NULL)
        return NULL;
    faults_init(own, a);
    for (size_t i = 0; i < ARRAY_LEN(kinds) && config == NULL; i++)
        if (str_eqz(type, kinds[i].type)) {
            config = config_of(a, kinds[i].rows, json_get(strategy, "config"), environment, own);
            if (config == NULL)
                return NULL;
        }
    if (config == NULL)
        fault_add(faults, arena_printf(a, STR_FMT ".type", STR_ARG(prefix)), "VAL_INVALID_ENUM",
                  "is not a strategy that is offered");
    pass_on(a, own, prefix, faults);
    return config != NULL && own->n == 0 && json_set(a, whole, S("config"), config) &&
                   json_set(a, whole, S("type"), json_new_str(a, type))
               ? whole
               : NULL;
}
