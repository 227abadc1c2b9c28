#include "test/store/fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lib/log.h"
#include "lib/signal.h"

struct fixture fixture;
const struct space space = {7, S(TENANT)};

/* --- the server --- */

enum { WORDS = 48 };

void redis_start_again(struct redis_process *p, const char *const *arguments)
{
    const char *argv[WORDS] = {
        "redis-server", "--port",       "0", "--unixsocket", p->socket,   "--dir",
        p->folder,      "--save",       "",  "--logfile",    "redis.log", "--enable-debug-command",
        "yes",          "--appendonly", "no"};
    int n = 15;

    for (; arguments && *arguments; arguments++)
        argv[n++] = *arguments;
    p->pid = fork();
    assert_true(p->pid >= 0);
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* it does not outlive a test that dies */
        execvp("redis-server", (char **)(uintptr_t)argv);
        _exit(127);
    }
}

void redis_start(struct redis_process *p, const char *const *arguments)
{
    snprintf(p->folder, sizeof p->folder, "/tmp/store-test-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->socket, sizeof p->socket, "%s/s", p->folder);
    redis_start_again(p, arguments);
}

void redis_kill(struct redis_process *p, int signum)
{
    int status;

    if (p->pid <= 0)
        return;
    kill(p->pid, signum);
    while (waitpid(p->pid, &status, 0) < 0 && errno == EINTR)
        ;
    p->pid = 0;
}

void redis_remove(struct redis_process *p)
{
    char command[128];

    redis_kill(p, SIGKILL);
    snprintf(command, sizeof command, "rm -rf '%s'", p->folder);
    assert_int_equal(system(command), 0);
}

/* --- opening and closing --- */

static void on_changed(void *arg)
{
    ((struct fixture *)arg)->changes++;
}
static void on_closed(void *arg)
{
    ++*(int *)arg;
}

void wait_ready(void)
{
    while (!store_ready(fixture.store) || !redis_ready(fixture.raw))
        loop_turn(&fixture.loop, true);
}

void fixture_connect(void)
{
    static const struct redis_events none;
    struct store_settings settings = {.seen = &fixture.seen, .limits = {.backoff_ms = 50, .call_ms = 20000}};

    assert_true(redis_target_parse(str_z(fixture.process.socket), &settings.target, NULL));
    fixture.store = store_open(&fixture.loop, &settings, on_changed, &fixture);
    fixture.raw = redis_open(&fixture.loop, &settings.target, &settings.limits, &none, NULL);
    wait_ready();
}

void fixture_disconnect(void)
{
    int closed = 0;

    store_close(fixture.store, on_closed, &closed);
    redis_close(fixture.raw, on_closed, &closed);
    while (closed < 2)
        loop_turn(&fixture.loop, true);
}

int fixture_open(void **state)
{
    alarm(120); /* a test that hangs ends */
    signal_ignore_pipe();
    log_setup(getenv("VERBOSE") ? LOG_DEBUG : LOG_NONE, LOG_TEXT, 2);
    assert_int_equal(loop_init(&fixture.loop), 0);
    ops_init(&fixture.ops);
    arena_init(&fixture.arena, 0);
    redis_start(&fixture.process, NULL);
    fixture_connect();
    *state = &fixture;
    return 0;
}

int fixture_close(void **state)
{
    (void)state;
    fixture_disconnect();
    loop_run(&fixture.loop);
    loop_fini(&fixture.loop);
    assert_true(ops_idle(&fixture.ops));
    arena_fini(&fixture.arena);
    redis_remove(&fixture.process);
    return 0;
}

int fixture_clear(void **state)
{
    (void)state;
    arena_reset(&fixture.arena);
    redis_do("FLUSHALL");
    memset(&fixture.seen, 0, sizeof fixture.seen);
    return 0;
}

/* --- waiting for answers --- */

struct str text(const char *fmt, ...)
{
    char line[4096];
    va_list args;

    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    return arena_str(&fixture.arena, str_z(line));
}

struct redis_value *value_copy(const struct redis_value *v)
{
    struct redis_value *copy = arena_new(&fixture.arena, struct redis_value);
    const struct redis_value **items;

    if (!v)
        return copy;
    *copy = *v;
    if (v->text.p)
        copy->text = arena_str(&fixture.arena, v->text);
    if (v->type != REDIS_ARRAY)
        return copy;
    items = arena_array(&fixture.arena, v->count + 1, sizeof *items);
    for (size_t i = 0; i < v->count; i++)
        items[i] = value_copy(v->items[i]);
    copy->items = items;
    return copy;
}

static void *answer;

static void wait_answer(void)
{
    while (!answer)
        loop_turn(&fixture.loop, true);
}

static void on_raw(void *arg, enum redis_error e, const struct redis_value *v)
{
    (void)arg;
    if (e == REDIS_LOST || e == REDIS_TIMEOUT)
        fail_msg("Redis: %s", redis_error_name(e));
    answer = value_copy(v);
}

const struct redis_value *redis_args(size_t argc, const struct str *argv)
{
    answer = NULL;
    assert_int_equal(redis_call(fixture.raw, &fixture.ops, argc, argv, on_raw, NULL), REDIS_OK);
    wait_answer();
    return answer;
}

static const struct redis_value *redis_words(struct str words)
{
    struct str argv[WORDS];
    size_t argc = 0;

    while (words.p) {
        assert_true(argc < WORDS);
        argv[argc++] = str_cut(&words, ' ');
    }
    return redis_args(argc, argv);
}

#define FORMATTED(fmt)                                                                                                 \
    char line[4096];                                                                                                   \
    va_list args;                                                                                                      \
    va_start(args, fmt);                                                                                               \
    vsnprintf(line, sizeof line, fmt, args);                                                                           \
    va_end(args)

const struct redis_value *redis_do(const char *fmt, ...)
{
    FORMATTED(fmt);
    return redis_words(str_z(line));
}

int64_t redis_number(const char *fmt, ...)
{
    FORMATTED(fmt);
    return redis_int(redis_words(str_z(line)), -1);
}

struct str redis_string(const char *fmt, ...)
{
    FORMATTED(fmt);
    return redis_text(redis_words(str_z(line)));
}

struct str digest(void)
{
    return redis_string("DEBUG DIGEST");
}

void set_clock(int64_t ms)
{
    redis_do("HSET " P "meta clock %lld", (long long)ms);
}

void begin(struct commit *c, unsigned flags)
{
    commit_begin(c, &fixture.arena, space, flags);
}

static void copy_claim(struct claim *c)
{
    c->run = value_copy(c->run);
    c->entries = value_copy(c->entries);
}

static void on_commit(void *arg, const struct commit_result *result)
{
    struct commit_result *copy = arena_new(&fixture.arena, struct commit_result);

    (void)arg;
    *copy = *result;
    copy->label = arena_str(&fixture.arena, result->label);
    copy->found_text = arena_str(&fixture.arena, result->found_text);
    copy->seqs = value_copy(result->seqs);
    copy_claim(&copy->claim);
    answer = copy;
}

const struct commit_result *commit(struct commit *c)
{
    answer = NULL;
    assert_int_equal(store_commit(fixture.store, c, &fixture.ops, on_commit, NULL), OK);
    assert_null(answer);
    wait_answer();
    return answer;
}

const struct commit_result *commit_ok(struct commit *c)
{
    const struct commit_result *r = commit(c);

    if (r->code != OK)
        fail_msg("%s: " STR_FMT, code_name(r->code), STR_ARG(r->label));
    return r;
}

void commit_refused(struct commit *c, enum code code, const char *label)
{
    struct str before = digest(), after;
    const struct commit_result *r = commit(c);

    after = digest();
    assert_string_equal(code_name(r->code), code_name(code));
    assert_string_equal(r->label.p, label);
    assert_string_equal(before.p, after.p);
}

static void on_admit(void *arg, enum code c, const struct admitted *a)
{
    struct admitted *copy = arena_new(&fixture.arena, struct admitted);

    (void)arg;
    assert_int_equal(c, OK);
    *copy = *a;
    copy->credential = value_copy(a->credential);
    copy->user = value_copy(a->user);
    copy->tenant = value_copy(a->tenant);
    copy->record = value_copy(a->record);
    answer = copy;
}

const struct admitted *admit(const struct admission *in)
{
    answer = NULL;
    assert_int_equal(store_admit(fixture.store, &fixture.arena, in, &fixture.ops, on_admit, NULL), OK);
    wait_answer();
    return answer;
}

static void on_page(void *arg, enum code c, const struct page_result *r)
{
    struct page_result *copy = arena_new(&fixture.arena, struct page_result);

    (void)arg;
    assert_int_equal(c, OK);
    *copy = *r;
    copy->items = value_copy(r->items);
    copy->facets = value_copy(r->facets);
    answer = copy;
}

const struct page_result *page(const struct page_query *q)
{
    answer = NULL;
    assert_int_equal(store_page(fixture.store, &fixture.arena, q, &fixture.ops, on_page, NULL), OK);
    wait_answer();
    return answer;
}

static void on_append(void *arg, enum code c, const struct appended *a)
{
    struct appended *copy = arena_new(&fixture.arena, struct appended);

    assert_int_equal(c, *(enum code *)arg);
    if (a)
        *copy = *a;
    answer = copy;
}

const struct appended *append(const struct append *in, enum code expected)
{
    answer = NULL;
    assert_int_equal(store_append(fixture.store, &fixture.arena, in, &fixture.ops, on_append, &expected), OK);
    wait_answer();
    return answer;
}

static void on_claim(void *arg, enum code c, const struct claim *claim)
{
    struct claim *copy = arena_new(&fixture.arena, struct claim);

    (void)arg;
    assert_int_equal(c, OK);
    *copy = *claim;
    copy_claim(copy);
    answer = copy;
}

const struct claim *claim_run(const char *run, const char *owner, int64_t token, int64_t ms)
{
    answer = NULL;
    assert_int_equal(store_claim(fixture.store, &fixture.arena, space, "run", str_z(run), str_z(owner), token, ms,
                                 &fixture.ops, on_claim, NULL),
                     OK);
    wait_answer();
    return answer;
}

static void on_sweep(void *arg, enum code c, const struct swept *swept)
{
    struct swept *copy = arena_new(&fixture.arena, struct swept);

    (void)arg;
    assert_int_equal(c, OK);
    *copy = *swept;
    copy->dirty = value_copy(swept->dirty);
    copy->timers = value_copy(swept->timers);
    copy->queue = value_copy(swept->queue);
    copy->stale = value_copy(swept->stale);
    answer = copy;
}

const struct swept *sweep(const struct sweep *in)
{
    answer = NULL;
    assert_int_equal(store_sweep(fixture.store, &fixture.arena, in, &fixture.ops, on_sweep, NULL), OK);
    wait_answer();
    return answer;
}

static void on_take(void *arg, enum code c, const struct taken *taken)
{
    struct taken *copy = arena_new(&fixture.arena, struct taken);

    (void)arg;
    assert_int_equal(c, OK);
    *copy = *taken;
    copy->due = value_copy(taken->due);
    copy->renewed = value_copy(taken->renewed);
    answer = copy;
}

const struct taken *take(unsigned most, const struct str *renew, size_t n, int64_t ms)
{
    answer = NULL;
    assert_int_equal(store_take(fixture.store, &fixture.arena, 7, most, renew, n, ms, &fixture.ops, on_take, NULL), OK);
    wait_answer();
    return answer;
}
