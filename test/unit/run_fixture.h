/* A run in a test: a definition, an agent that takes every step at once, and what came of the last event. */
#ifndef TEST_UNIT_RUN_FIXTURE_H
#define TEST_UNIT_RUN_FIXTURE_H

#include "server/engine/kind.h"
#include "server/engine/run.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct run_fixture {
    struct arena arena;
    struct run *r;
    struct effects fx;
    int64_t now;
    size_t seen; /* effects of earlier events */
    bool deaf;   /* no agent answers EFFECT_CHOOSE */
};

#define CHAIN "'edges':[{'from':'a','to':'b'},{'from':'b','to':'c'}]"

int run_set_up(void **state);
int run_tear_down(void **state);
/* Fails the test when it is no JSON. */
struct json *run_parse(struct run_fixture *f, struct str text);
/* With every step that asks for an agent given to "agent-1", unless deaf. */
void run_send(struct run_fixture *f, struct run_event e);
/* Parses a definition with single quotes for double ones, and starts it; `$` is the rest of a script node: {'id':'a',$}.
 * Nodes named "job" are carried out by one. */
void run_begin(struct run_fixture *f, const char *text);
struct step *run_step_of(struct run_fixture *f, const char *id);
void run_say(struct run_fixture *f, enum run_event_type type, const char *id);
void run_succeed(struct run_fixture *f, const char *id);
void run_fail_with(struct run_fixture *f, const char *id, const char *type);
void run_fail_step(struct run_fixture *f, const char *id);
void run_tick(struct run_fixture *f, int64_t ms);
void run_is_step(struct run_fixture *f, const char *id, enum step_status status);
void run_is(struct run_fixture *f, enum run_status status);
/* Of the last event; NULL: there is none. */
const struct effect *run_effect_of(struct run_fixture *f, enum effect_type type);
/* The last event was told in a frame that holds `part`. */
bool run_framed(struct run_fixture *f, const char *part);

#endif
