/* A private redis-server on a unix socket in a folder of its own, a store on it, and calls that wait for their answer. */
#ifndef TEST_STORE_FIXTURE_H
#define TEST_STORE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>
#include <string.h>
#include <sys/types.h>
#include "lib/loop.h"
#include "server/store/admit.h"
#include "server/store/append.h"
#include "server/store/commit.h"
#include "server/store/lease.h"
#include "server/store/page.h"

#define TENANT "0190aaaa-0000-7000-8000-000000000001"
#define P      "{p07}:"

struct redis_process {
    pid_t pid;
    char folder[64], socket[96];
};
/* Starts a redis-server with these further arguments (ends with NULL; NULL: none) in a new folder, or in the one given. */
void redis_start(struct redis_process *p, const char *const *arguments);
void redis_start_again(struct redis_process *p, const char *const *arguments);
void redis_kill(struct redis_process *p, int signum); /* and waits for its end */
void redis_remove(struct redis_process *p);           /* ends it and removes its folder */

struct fixture {
    struct redis_process process;
    struct loop loop;
    struct store *store;
    struct store_seen seen;
    struct redis *raw; /* for looking behind the store's back */
    struct ops ops;
    struct arena arena; /* emptied between tests */
    int changes, answers;
};

int fixture_open(void **state);  /* group set-up */
int fixture_close(void **state); /* group tear-down: nothing may be left on the loop */
int fixture_clear(void **state); /* test set-up: an empty data set */
extern struct fixture fixture;

void fixture_connect(void); /* opens store and raw, waits until both are ready */
void fixture_disconnect(void);
void wait_ready(void);

extern const struct space space; /* TENANT in partition 7 */
struct str text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* A command of words parted by single spaces; the answer lives in the fixture's arena. */
const struct redis_value *redis_do(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
const struct redis_value *redis_args(size_t argc, const struct str *argv);
int64_t redis_number(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
struct str redis_string(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
struct str digest(void); /* of the whole data set */
/* Sets the partition's clock to a moment in the far future, where it stands still: time by hand. */
void set_clock(int64_t ms);

/* The store's calls; copies of what came, in the fixture's arena. */
void begin(struct commit *c, unsigned flags);
const struct commit_result *commit(struct commit *c);
const struct commit_result *commit_ok(struct commit *c);
void commit_refused(struct commit *c, enum code code, const char *label);
const struct admitted *admit(const struct admission *in);
const struct page_result *page(const struct page_query *q);
const struct appended *append(const struct append *in, enum code expected);
const struct claim *claim_run(const char *run, const char *owner, int64_t token, int64_t ms);
const struct swept *sweep(const struct sweep *in);
const struct taken *take(unsigned most, const struct str *renew, size_t n, int64_t ms);

struct redis_value *value_copy(const struct redis_value *v);

#endif
