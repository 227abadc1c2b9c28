/* A deployment job in a test: a plan, an agent that takes every task at once, and what was said. */
#ifndef TEST_UNIT_JOB_FIXTURE_H
#define TEST_UNIT_JOB_FIXTURE_H

#include "server/engine/job.h"
#include "server/engine/kind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct job_fixture {
    struct arena arena;
    const struct json *plan;
    struct run *r;
    struct effects fx;
    int64_t now;
    const char *deaf; /* nobody takes tasks: why */
    const char *deaf_to;
};

int job_set_up(void **state);
int job_tear_down(void **state);

struct json *job_json(struct job_fixture *f, const char *text);
/* A plan with a parent: strategy, members of its config (without braces), targets "a,b,c"; "-b": skipped. */
void job_make(struct job_fixture *f, const char *strategy, const char *config, const char *targets);
void job_of_plan(struct job_fixture *f, const char *plan);
void job_send(struct job_fixture *f, struct run_event e);
void job_event(struct job_fixture *f, enum run_event_type type);
void job_start(struct job_fixture *f);
void job_wait(struct job_fixture *f, int64_t seconds); /* time goes by, and a tick comes */
/* The agent's word about the present attempt. */
void job_done(struct job_fixture *f, const char *task);
void job_fails(struct job_fixture *f, const char *task);    /* for good */
void job_stumbles(struct job_fixture *f, const char *task); /* may be tried again */

struct step *job_step_of(struct job_fixture *f, const char *task);
const char *job_task(struct job_fixture *f, const char *task); /* its status */
/* Tasks in that status, in the order of the plan: "1-deploy 2-deploy". */
const char *job_tasks(struct job_fixture *f, const char *status);
/* Types of all frames so far, and a name or number behind it where it has one: "batch_started:1 task_assigned:1-deploy". */
const char *job_frames(struct job_fixture *f, const char *but);  /* but: types left out, e.g. "task_assigned" */
struct json *job_frame(struct job_fixture *f, const char *type); /* the last one; NULL */
struct json *job_doc(struct job_fixture *f);
struct json *job_task_doc(struct job_fixture *f, const char *task);
/* The last effect of the type; NULL. */
const struct effect *job_effect(struct job_fixture *f, enum effect_type type);
#define job_is(f, status) assert_string_equal(job_status_name((f)->r), status)

#endif
