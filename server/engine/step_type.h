/* Step types: what a node of a workflow can do. A row says who carries it out, what its configuration may hold, and
 * what it leaves behind. Only types that work are listed. */
#ifndef SERVER_ENGINE_STEP_TYPE_H
#define SERVER_ENGINE_STEP_TYPE_H

#include "lib/field.h"

enum executor {
    BY_AGENT,  /* a task for an agent with `capability` */
    BY_SERVER, /* any instance takes it from the partition's queue (server/engine/work.h) */
    BY_TIMER,  /* nobody: it waits */
    BY_JOB     /* a deployment job, which any instance makes (server/engine/job_step.h) */
};

enum backoff { BACKOFF_FIXED, BACKOFF_LINEAR, BACKOFF_EXPONENTIAL };

struct retry {
    int64_t attempts; /* 1..10 in all */
    enum backoff backoff;
    int64_t delay_ms, max_delay_ms;
    const struct json *on; /* array of error types; NULL: any */
};

struct step_type {
    const char *key;
    const char *name;
    const char *category; /* control gate deploy integration notify progressive */
    const char *doc;
    enum executor executor;
    const char *capability; /* BY_AGENT: what the agent must have */
    int64_t timeout_s;
    struct retry retry;
    bool cancellable;
    const struct field *config;
    const struct field *outputs;
    /* Further demands on a configuration that fits its rows; a sentence, or NULL when there is nothing to say. */
    const char *(*check)(const struct json *config);
    /* BY_AGENT: the agent's task type (spec §4.4), and the members of its payload. NULL: execute-command, as `script`. */
    const char *task;
    void (*payload)(struct json_out *o, const struct json *config);
};

const struct step_type *step_type_find(struct str key); /* NULL: unknown */
/* It changes which release is on a target: for promotions only. */
bool step_type_brings(const struct step_type *t);
/* In the order of the documents; NULL ends. */
const struct step_type *step_type_at(size_t i);
/* The public document of GET /step-types/{type}. */
void step_type_write(struct json_out *o, const struct step_type *t);

const char *backoff_name(enum backoff b);
bool backoff_find(struct str name, enum backoff *out);

/* Faults of a configuration as written in a template: a value that is wholly an expression may turn out to be of any
 * type, so its faults wait until it is rendered. Field names start with `prefix`. NULL counts
 * as {}. */
void step_type_check(const struct step_type *t, const struct json *config, struct str prefix, struct faults *faults);
/* A rendered configuration, normalised with its defaults; NULL when there are faults or memory ran out. */
struct json *step_type_normalise(const struct step_type *t, const struct json *config, struct faults *faults);

#endif
