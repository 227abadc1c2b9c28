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

#endif
