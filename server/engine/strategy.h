/* Deployment strategies: how a release reaches the targets of an environment. The one table for everybody who takes a
 * strategy: promotions and rollbacks ({type, config} in a body) and the deploy step (strategy, strategyConfig).
 *
 *     {"strategy", FIELD_OBJECT, .fields = strategy_fields},                                    the row
 *     if (strategy_normalise(a, strategy, NULL, S("strategy"), &faults) == NULL) ...            before it is stored
 *
 * Only strategies that work are offered: all-at-once and rolling. */
#ifndef SERVER_ENGINE_STRATEGY_H
#define SERVER_ENGINE_STRATEGY_H

#include "lib/field.h"

extern const char *const strategy_types[];          /* ends with NULL */
extern const struct field strategy_fields[];        /* type, config */
extern const struct field strategy_config_fields[]; /* of every type together, without defaults */
extern const struct field strategy_health_fields[]; /* healthCheck, without defaults */

/* One row per member: what a body's rows and those that fill in defaults differ in is the preset alone. The latter, for
 * a table of rows that has more, are STRATEGY_HEALTH_ROWS. */
// clang-format off
#define STRATEGY_HEALTH(TYPE, HOST, PATH, TIMEOUT, RETRIES, INTERVAL) \
    {"type",         FIELD_ENUM,   .choices = strategy_checks, .preset = (TYPE), .doc = "How health is asked for, by the agent that deployed. Default: http."}, \
    {"url",          FIELD_STRING, .min = 1, .max = 2048, .pattern = "^https?://[^ @]+$", .doc = "Of an http check, instead of host, port and path."}, \
    {"host",         FIELD_STRING, .min = 1, .max = 255, .preset = (HOST), .doc = "Where an http or tcp check connects. Default: 127.0.0.1, the agent's own host."}, \
    {"port",         FIELD_INT,    .min = 1, .max = 65535}, \
    {"path",         FIELD_STRING, .min = 1, .max = 1024, .pattern = "^/[^ ]*$", .preset = (PATH), .doc = "Of an http check. Default: /health."}, \
    {"command",      FIELD_LIST,   .min = 1, .max = 256, .item = FIELD_STRING, .item_max = 32768, .doc = "Of a command check: the program and its arguments; status 0 is healthy."}, \
    {"expectStatus", FIELD_INT,    .min = 100, .max = 599, .doc = "Of an http check. Default: 200 to 399."}, \
    {"expectBody",   FIELD_STRING, .min = 1, .max = 1024, .doc = "What the answer to an http check must contain."}, \
    {"timeout",      FIELD_INT,    .min = 1, .max = 3600, .preset = (TIMEOUT), .doc = "Seconds until one check has failed. Default: 30."}, \
    {"retries",      FIELD_INT,    .min = 0, .max = 100, .preset = (RETRIES), .doc = "Further checks after a failed one. Default: 3."}, \
    {"interval",     FIELD_INT,    .min = 0, .max = 3600, .preset = (INTERVAL), .doc = "Seconds between checks. Default: 10."}
#define STRATEGY_HEALTH_ROWS STRATEGY_HEALTH("\"http\"", "\"127.0.0.1\"", "\"/health\"", "30", "3", "10")
// clang-format on
extern const char *const strategy_checks[];

/* {type, config} with every default filled in, as it stands in a job's plan:
 *   all-at-once: failureBehavior, maxConcurrent, maxFailures, onUnavailableTarget, healthCheck?
 *   rolling:     the same, batchSize or batchPercent (never both), order, orderLabel, pauseBetweenBatchesSeconds
 * `strategy` fits strategy_fields; NULL: all-at-once. `environment` is the environment's `config`, or NULL: a strategy
 * that names no healthCheck takes the environment's healthCheckConfig when that is of type tcp or http and names a port
 * (a check without one could only guess where to connect). What is normal stays as it is: {type: none} remains, so that
 * no environment's check takes its place later.
 * Faults are added as <prefix>.type, <prefix>.config.<member>; NULL then, and when memory ran out. */
struct json *strategy_normalise(struct arena *a, const struct json *strategy, const struct json *environment,
                                struct str prefix, struct faults *faults);

/* A check that fits strategy_health_fields, with its defaults (NULL counts as {}); and the members of a health-check
 * task's payload made of one that is normal: its own but for timeout and interval, which agents call timeoutSeconds and
 * intervalSeconds. */
struct json *strategy_health_normalise(struct arena *a, const struct json *check, struct faults *faults);
void strategy_health_payload(struct json_out *o, const struct json *check);
/* What a configuration as written in a template lacks or has too much, as a sentence; NULL: nothing. */
const char *strategy_health_lacking(const struct json *check);
const char *strategy_misfit(struct str type, const struct json *config);

#endif
