#include "server/store/store.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/must.h"
#include "lib/pack.h"
#include "lib/timer.h"
#include "server/store/commit.h"
#include "server/store/hazard.h"
#include "server/store/internal.h"

enum {
    PARTITIONS = 64,
    WATCH_MS = 1000,  /* memory and clock are looked at this often */
    RECHECK_MS = 250, /* a Redis that will not do is looked at again this often */
    PROBLEM_MAX = 160,
    FAILURES_QUIET = 5 /* failed attempts to connect before one is logged */
};

/* A call under way; the store's own, so that the asker may go away. */
struct store_wait {
    struct op op;
    struct store *store;
    store_decode *decode; /* NULL: `then` is a store_then */
    void (*then)(void);
    void *arg;
    struct store_wait *next; /* free list */
    int partition;           /* of a function; negative: none */
    size_t commands;         /* of a read */
};

struct store {
    struct loop *loop;
    struct store_settings settings;
    struct redis *redis;
    void (*changed)(void *arg);
    void *arg;
    struct ops ops; /* everything that waits for Redis */
    struct store_wait *free;
    enum redis_error unqueued; /* why a command of the MULTI whose replies come in was not taken; OK: all were */

    bool ready, closing, loading;
    unsigned failures; /* attempts to connect since it was ready */
    char problem[PROBLEM_MAX];
    enum log_level said; /* how loudly */
    struct timer watch, recheck;
    unsigned checks_left; /* epochs still to be compared before ready */
    struct arena scratch;

    int64_t offset_ms; /* Redis' clock less our monotonic one */
    bool has_offset;
    int64_t asked_ms; /* when TIME was sent */
    int64_t epochs[PARTITIONS];
    unsigned hazards; /* of this Redis: bits 1 << enum hazard */
    char version[32];
    struct store_figures figures;

    void (*closed)(void *arg);
    void *closed_arg;
};

/* --- what is wrong --- */

static void tell(struct store *s)
{
    if (s->changed)
        s->changed(s->arg);
}

static void set_problem(struct store *s, enum log_level level, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
static void set_problem(struct store *s, enum log_level level, const char *fmt, ...)
{
    char text[PROBLEM_MAX];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (!s->ready && strcmp(text, s->problem) == 0 && level <= s->said)
        return;
    s->ready = false;
    s->said = level;
    memcpy(s->problem, text, sizeof text);
    log_at(level, "store.not_ready", "why=%s", s->problem);
    tell(s);
}

static const char *const refusal_words[] = {"conflict", "exists", "absent", "busy"};
static const enum code refusal_codes[] = {RES_VERSION_CONFLICT, RES_ALREADY_EXISTS, RES_NOT_FOUND,
                                          RES_IDEMPOTENCY_IN_PROGRESS};

enum code store_refusal(const struct redis_value *word, const struct redis_value *label,
                        const struct redis_value *found)
{
    int64_t n = redis_int(word, -1);

    if (n > OK && n < CODES)
        return (enum code)n;
    for (size_t i = 0; i < ARRAY_LEN(refusal_words); i++)
        if (str_eqz(redis_text(word), refusal_words[i]))
            return refusal_codes[i];
    log_error("store.wrong_key", "check=" STR_FMT " key=" STR_FMT, STR_ARG(redis_text(label)),
              STR_ARG(redis_text(found)));
    return SYS_INTERNAL;
}

static void load_library(struct store *s);

static enum code code_of(struct store *s, enum redis_error e, struct str text)
{
    switch (e) {
    case REDIS_OK:
        return OK;
    case REDIS_FULL:
    case REDIS_MEMORY:
        return SYS_OVERLOADED;
    case REDIS_WRONG_TYPE:
    case REDIS_REFUSED:
        log_error("store.refused", "error=" STR_FMT, STR_ARG(text));
        return SYS_INTERNAL;
    case REDIS_NO_FUNCTION:
        load_library(s); /* Redis was restarted without its functions, or they were flushed */
        return SYS_STORAGE;
    case REDIS_DOWN:
    case REDIS_LOST:
    case REDIS_TIMEOUT:
    case REDIS_PROTOCOL:
    case REDIS_OOM:
    case REDIS_LOADING:
    case REDIS_READONLY:
    case REDIS_REPLICAS:
    case REDIS_BUSY:
    case REDIS_MISCONF:
    case REDIS_CLUSTER:
    case REDIS_AUTH:
        break;
    }
    return SYS_STORAGE;
}

/* --- calls --- */

static struct store_wait *wait_new(struct store *s)
{
    struct store_wait *w = s->free;

    if (w)
        s->free = w->next;
    else
        w = malloc(sizeof *w);
    if (w)
        memset(w, 0, sizeof *w);
    return w;
}

static void wait_free(struct store *s, struct store_wait *w)
{
    w->next = s->free;
    s->free = w;
}

static void note_commits(struct store *s, unsigned partition, int64_t commits)
{
    int64_t *seen = &s->settings.seen->commits[partition];

    if (commits > __atomic_load_n(seen, __ATOMIC_RELAXED))
        __atomic_store_n(seen, commits, __ATOMIC_RELAXED); /* a lost race forgets a commit or two */
}

/* Every function answers now, epoch and commits in a row; some have a verdict before them. */
static void note_partition(struct store *s, unsigned partition, const struct redis_value *v)
{
    size_t at = redis_int(redis_at(v, 0), 0) > 1000000 ? 0 : 1;
    int64_t epoch = redis_int(redis_at(v, at + 1), 0);

    if (epoch)
        s->epochs[partition] = epoch;
    note_commits(s, partition, redis_int(redis_at(v, at + 2), 0));
}

/* The first error among the replies of a MULTI. */
static enum code code_of_array(struct store *s, const struct redis_value *v)
{
    for (size_t i = 0; v->type == REDIS_ARRAY && i < v->count; i++)
        if (v->items[i]->type == REDIS_ERROR)
            return code_of(s, redis_error_of(v->items[i]->text), v->items[i]->text);
    return v->type == REDIS_ARRAY ? OK : SYS_INTERNAL;
}

static void on_reply(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct store_wait *w = arg;
    struct store *s = w->store;
    store_decode *decode = w->decode;
    void (*then)(void) = w->then;
    void *then_arg = w->arg;
    bool aborted = e == REDIS_REFUSED && w->commands > 1 && s->unqueued != REDIS_OK; /* EXEC does not say why */
    enum code c = code_of(s, aborted ? s->unqueued : e, v ? v->text : STR_NONE);
    bool wanted = op_finish(&w->op);

    if (c == OK && w->partition >= 0)
        note_partition(s, (unsigned)w->partition, v);
    if (c == OK && w->commands > 1)
        c = code_of_array(s, v);
    wait_free(s, w);
    if (!wanted)
        return;
    if (decode)
        decode(c, c == OK ? v : NULL, then, then_arg);
    else
        ((store_then *)then)(then_arg, c, c == OK ? v : NULL);
}

static enum code refuse(struct store *s, enum code c)
{
    s->figures.refused++;
    return c;
}

/* Sends one command whose reply goes to a new wait. */
static enum code start(struct store *s, struct store_wait **out, size_t argc, const struct str *argv)
{
    struct store_wait *w = wait_new(s);
    enum redis_error e;

    if (!w)
        return refuse(s, SYS_OVERLOADED);
    w->store = s;
    w->partition = -1;
    e = redis_call(s->redis, &s->ops, argc, argv, on_reply, w);
    if (e != REDIS_OK) {
        wait_free(s, w);
        return refuse(s, code_of(s, e, STR_NONE));
    }
    *out = w;
    return OK;
}

static enum code call_function(struct store *s, const char *function, unsigned partition, struct str plan,
                               const struct str *texts, size_t n, struct store_wait **out)
{
    enum { WORDS = 5 };
    char meta[16];
    struct str argv[WORDS + STORE_TEXTS] = {S("FCALL"), str_z(function), S("1"), {meta, 0}, plan};
    enum code c;

    must(partition < PARTITIONS && n <= STORE_TEXTS);
    argv[3].n = (size_t)snprintf(meta, sizeof meta, "{p%02u}:meta", partition);
    for (size_t i = 0; i < n; i++)
        argv[WORDS + i] = texts[i];
    c = start(s, out, WORDS + n, argv);
    if (c == OK)
        (*out)->partition = (int)partition;
    return c;
}

enum code store_send_with(struct store *s, const char *function, unsigned partition, const struct buf *plan,
                          const struct str *texts, size_t n, struct ops *asker, store_decode *decode,
                          void (*then)(void), void *arg)
{
    struct store_wait *w;
    enum code c;

    if (plan->failed)
        return refuse(s, SYS_OVERLOADED);
    if (!s->ready)
        return refuse(s, SYS_STORAGE);
    c = call_function(s, function, partition, buf_view(plan), texts, n, &w);
    if (c != OK)
        return c;
    op_begin(&w->op, asker);
    w->decode = decode;
    w->then = then;
    w->arg = arg;
    return OK;
}

enum code store_send(struct store *s, const char *function, unsigned partition, const struct buf *plan,
                     struct ops *asker, store_decode *decode, void (*then)(void), void *arg)
{
    return store_send_with(s, function, partition, plan, NULL, 0, asker, decode, then, arg);
}

enum code store_call(struct store *s, const char *function, unsigned partition, struct str plan, struct ops *asker,
                     store_then *then, void *arg)
{
    struct store_wait *w;
    enum code c;

    if (!plan.p)
        return refuse(s, SYS_OVERLOADED);
    if (!s->ready)
        return refuse(s, SYS_STORAGE);
    c = call_function(s, function, partition, plan, NULL, 0, &w);
    if (c != OK)
        return c;
    op_begin(&w->op, asker);
    w->then = STORE_THEN(then);
    w->arg = arg;
    return OK;
}

static void opened(void *arg, enum redis_error e, const struct redis_value *v)
{
    (void)v;
    ((struct store *)arg)->unqueued = e;
}

static void queued(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct store *s = arg;

    (void)v;
    if (s->unqueued == REDIS_OK)
        s->unqueued = e;
}

/* The part of a MULTI before its EXEC. When something of it cannot be sent the connection is dropped: what has been sent
 * must not stay open. */
static bool send_multi(struct store *s, const struct store_command *commands, size_t n)
{
    enum redis_error e = redis_call(s->redis, &s->ops, 1, (struct str[]){S("MULTI")}, opened, s);

    if (e != REDIS_OK)
        return false;
    for (size_t i = 0; i < n && e == REDIS_OK; i++)
        e = redis_call(s->redis, &s->ops, commands[i].argc, commands[i].argv, queued, s);
    if (e != REDIS_OK)
        redis_drop(s->redis, "a transaction could not be sent whole");
    return e == REDIS_OK;
}

static bool has_keys(const struct store_command *commands, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t a = 0; a < commands[i].argc; a++)
            if (!commands[i].argv[a].p)
                return false;
    return true;
}

enum code store_read(struct store *s, const struct store_command *commands, size_t n, struct ops *asker,
                     store_then *then, void *arg)
{
    const struct str exec = S("EXEC");
    struct store_wait *w;
    enum code c;

    must(n > 0 && n <= STORE_READS_AT_ONCE);
    if (!has_keys(commands, n))
        return refuse(s, SYS_OVERLOADED);
    if (!s->ready)
        return refuse(s, SYS_STORAGE);
    if (n == 1) {
        c = start(s, &w, commands->argc, commands->argv);
    } else {
        if (!send_multi(s, commands, n))
            return refuse(s, SYS_OVERLOADED);
        c = start(s, &w, 1, &exec);
        if (c != OK)
            redis_drop(s->redis, "a transaction could not be sent whole");
    }
    if (c != OK)
        return c;
    op_begin(&w->op, asker);
    w->commands = n;
    w->then = STORE_THEN(then);
    w->arg = arg;
    return OK;
}

/* --- becoming ready: checks, library, epochs --- */

static void check_server(void *arg);

static void check_again(struct store *s)
{
    if (redis_ready(s->redis)) /* else on_ready begins anew */
        timer_start(&s->recheck, s->loop, RECHECK_MS, check_server, s);
}

/* One command of the store's own; a refusal or a lost connection is followed up by on_down. */
static void ask(struct store *s, size_t argc, const struct str *argv, redis_then *then)
{
    enum redis_error e = redis_call(s->redis, &s->ops, argc, argv, then, s);

    if (e != REDIS_OK && e != REDIS_DOWN)
        check_again(s);
}
#define ASK(s, then, ...)                                                                                              \
    ask(s, sizeof((struct str[]){__VA_ARGS__}) / sizeof(struct str), (struct str[]){__VA_ARGS__}, then)

/* One line for the process, however many workers find it. */
static void note_hazards(struct store *s, unsigned set)
{
    unsigned before = __atomic_exchange_n(&s->settings.seen->hazards, set, __ATOMIC_RELAXED);

    s->hazards = set;
    for (enum hazard h = 0; h < HAZARDS; h++)
        if ((set & ~before & 1u << h) != 0)
            log_warn("store.dangerous", "hazard=%s why=%s", hazard_label(h), hazard_why(h));
}

static void refuse_server(struct store *s, enum hazard h)
{
    set_problem(s, LOG_WARN, "this Redis is not used: %s", hazard_why(h));
    check_again(s);
}

static void on_time(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct store *s = arg;
    int64_t now = clock_mono_ms();

    if (e != REDIS_OK)
        return;
    s->offset_ms = redis_int(redis_at(v, 0), 0) * 1000 + redis_int(redis_at(v, 1), 0) / 1000 - (s->asked_ms + now) / 2;
    s->has_offset = true;
}

/* Whoever may CONFIG SET can make it evict at any time. */
static void check_policy(struct store *s, struct str policy)
{
    if (policy.n == 0 || str_eqz(policy, "noeviction") || !s->ready)
        return;
    note_hazards(s, s->hazards | 1u << HAZARD_EVICTS);
    refuse_server(s, HAZARD_EVICTS);
}

static void on_memory(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct store *s = arg;
    struct str text = redis_text(v);

    if (e != REDIS_OK)
        return;
    check_policy(s, hazard_info(text, "maxmemory_policy"));
    s->figures.used_memory = s->figures.max_memory = 0;
    str_i64(hazard_info(text, "used_memory"), &s->figures.used_memory);
    str_i64(hazard_info(text, "maxmemory"), &s->figures.max_memory);
}

static void watch(void *arg)
{
    struct store *s = arg;

    s->asked_ms = clock_mono_ms();
    ASK(s, on_time, S("TIME"));
    ASK(s, on_memory, S("INFO"), S("memory"));
    timer_start(&s->watch, s->loop, WATCH_MS, watch, s);
}

static void become_ready(struct store *s)
{
    if (s->ready)
        return;
    s->ready = true;
    s->loading = false;
    s->failures = 0;
    s->problem[0] = 0;
    log_info("store.ready");
    tell(s);
}

static void on_epoch(enum code c, const struct redis_value *v, void (*then)(void), void *arg)
{
    struct store *s = arg;

    (void)then;
    if (c != OK) {
        check_again(s);
        return;
    }
    if (redis_int(redis_at(v, 7), 0) == 1) {
        s->figures.epochs++;
        log_warn("store.older_data", "epoch=%lld", (long long)redis_int(redis_at(v, 1), 0));
    }
    if (--s->checks_left == 0)
        become_ready(s);
}

/* Has the data set gone back behind what this process has seen of a partition? */
static bool compare_epoch(struct store *s, unsigned partition, int64_t commits)
{
    struct store_wait *w;
    struct buf plan;

    buf_init_arena(&plan, &s->scratch, 32);
    pack_array(&plan, 5);
    pack_int(&plan, commits);
    for (int i = 0; i < 4; i++)
        pack_int(&plan, 0);
    if (plan.failed || call_function(s, "sweep_1", partition, buf_view(&plan), NULL, 0, &w) != OK)
        return false;
    op_begin(&w->op, &s->ops);
    w->decode = on_epoch;
    w->arg = s;
    return true;
}

static void compare_epochs(struct store *s)
{
    s->checks_left = 1;
    for (unsigned i = 0; i < PARTITIONS; i++) {
        int64_t seen = __atomic_load_n(&s->settings.seen->commits[i], __ATOMIC_RELAXED);

        if (seen > 0 && compare_epoch(s, i, seen))
            s->checks_left++;
        else if (seen > 0) {
            check_again(s);
            return;
        }
    }
    arena_reset(&s->scratch);
    if (--s->checks_left == 0)
        become_ready(s);
}

static void on_loaded(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct store *s = arg;

    if (e == REDIS_OK) {
        s->figures.loads++;
        log_info("store.functions_loaded", "abi=%d", STORE_ABI);
        compare_epochs(s);
    } else if (v) {
        set_problem(s, LOG_WARN, "the function library cannot be loaded: " STR_FMT, STR_ARG(v->text));
        check_again(s);
    }
}

/* The number behind "-- abi " in a library's text; 0 without one. */
static int64_t abi_of(struct str code)
{
    ptrdiff_t at = str_find(code, S("\n-- abi "));
    struct str rest = at < 0 ? STR_NONE : str_slice(code, (size_t)at + 8, code.n);
    int64_t abi = 0;

    return str_i64(str_cut(&rest, '\n'), &abi) ? abi : 0;
}

static void on_listed(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct store *s = arg;
    struct str loaded = redis_text(redis_field(redis_at(v, 0), S("library_code")));
    struct buf ours = {0};

    if (e != REDIS_OK) {
        if (v) {
            set_problem(s, LOG_WARN, "functions cannot be listed: " STR_FMT, STR_ARG(v->text));
            check_again(s);
        }
        return;
    }
    if (!store_library(&ours)) {
        check_again(s);
    } else if (str_eq(loaded, buf_view(&ours)) || abi_of(loaded) > STORE_ABI) {
        compare_epochs(s); /* a newer build's library has our functions too */
    } else {
        ASK(s, on_loaded, S("FUNCTION"), S("LOAD"), S("REPLACE"), buf_view(&ours));
    }
    buf_free(&ours);
}

static void load_library(struct store *s)
{
    if (s->loading || !redis_ready(s->redis))
        return;
    s->loading = true;
    set_problem(s, LOG_DEBUG, "loading the function library");
    ASK(s, on_listed, S("FUNCTION"), S("LIST"), S("LIBRARYNAME"), S("slipway"), S("WITHCODE"));
}

static void on_config(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct store *s = arg;

    if (e != REDIS_OK && v == NULL)
        return;
    note_hazards(s, s->hazards | hazards_of_config(e == REDIS_OK ? v : NULL));
    enum hazard refusal = hazards_refusal(s->hazards);
    if (refusal == HAZARDS)
        load_library(s);
    else
        refuse_server(s, refusal);
}

static void on_info(void *arg, enum redis_error e, const struct redis_value *v)
{
    struct store *s = arg;

    if (e != REDIS_OK) {
        if (v) {
            set_problem(s, LOG_WARN, "Redis answers: " STR_FMT, STR_ARG(v->text));
            check_again(s);
        }
        return;
    }
    s->hazards = hazards_of_info(redis_text(v));
    snprintf(s->version, sizeof s->version, STR_FMT, STR_ARG(hazard_info(redis_text(v), "redis_version")));
    ASK(s, on_config, S("CONFIG"), S("GET"), S("appendonly"), S("appendfsync"), S("no-appendfsync-on-rewrite"),
        S("maxmemory-policy"));
}

static void check_server(void *arg)
{
    struct store *s = arg;

    s->loading = false;
    ASK(s, on_info, S("INFO"));
}

static void on_ready(void *arg)
{
    struct store *s = arg;

    set_problem(s, LOG_DEBUG, "looking at Redis");
    watch(s);
    check_server(s);
}

static void on_down(void *arg, enum redis_error e, const char *what)
{
    struct store *s = arg;

    timer_stop(&s->watch);
    timer_stop(&s->recheck);
    s->loading = false;
    /* At start, a Redis that is about to listen is no news. */
    set_problem(s, s->ready || ++s->failures == FAILURES_QUIET ? LOG_WARN : LOG_DEBUG, "no Redis (%s): %s",
                redis_error_name(e), what);
}

/* --- opening and closing --- */

struct store *store_open(struct loop *loop, const struct store_settings *settings, void (*changed)(void *arg),
                         void *arg)
{
    static const struct redis_events events = {.on_ready = on_ready, .on_down = on_down};
    struct store *s = calloc(1, sizeof *s);

    if (!s)
        return NULL;
    s->loop = loop;
    s->settings = *settings;
    if (s->settings.memory_percent <= 0)
        s->settings.memory_percent = 85;
    s->changed = changed;
    s->arg = arg;
    ops_init(&s->ops);
    arena_init(&s->scratch, 64 * 1024);
    snprintf(s->problem, sizeof s->problem, "not yet connected");
    s->redis = redis_open(loop, &s->settings.target, &s->settings.limits, &events, s);
    if (!s->redis) {
        arena_fini(&s->scratch);
        free(s);
        return NULL;
    }
    return s;
}

static void on_closed(void *arg)
{
    struct store *s = arg;
    void (*closed)(void *) = s->closed;
    void *closed_arg = s->closed_arg;

    while (s->free) {
        struct store_wait *w = s->free;

        s->free = w->next;
        free(w);
    }
    arena_fini(&s->scratch);
    explicit_bzero(&s->settings, sizeof s->settings);
    free(s);
    if (closed)
        closed(closed_arg);
}

void store_close(struct store *s, void (*closed)(void *arg), void *arg)
{
    must(!s->closing);
    s->closing = true;
    s->ready = false;
    s->changed = NULL;
    s->closed = closed;
    s->closed_arg = arg;
    timer_stop(&s->watch);
    timer_stop(&s->recheck);
    redis_close(s->redis, on_closed, s);
}

/* --- looking --- */

bool store_ready(const struct store *s)
{
    return s->ready;
}
const char *store_problem(const struct store *s)
{
    return s->ready ? NULL : s->problem;
}
unsigned store_hazards(const struct store *s)
{
    return s->hazards;
}
const char *store_version(const struct store *s)
{
    return s->version;
}
int64_t store_epoch(const struct store *s, unsigned partition)
{
    return s->epochs[partition];
}
const struct redis_target *store_target(const struct store *s)
{
    return &s->settings.target;
}

bool store_full(const struct store *s)
{
    const struct store_figures *f = &s->figures;

    return f->max_memory > 0 && f->used_memory / 100 >= f->max_memory * s->settings.memory_percent / 10000;
}

int64_t store_now_ms(const struct store *s)
{
    static _Thread_local int64_t told; /* the offset is measured again and again */
    int64_t now = s->has_offset ? clock_mono_ms() + s->offset_ms : clock_wall_ms();

    told = now > told ? now : told;
    return told;
}

void store_figures(const struct store *s, struct store_figures *out)
{
    *out = s->figures;
    redis_figures(s->redis, &out->redis);
    out->clock_offset_ms = s->has_offset ? (double)(clock_mono_ms() + s->offset_ms - clock_wall_ms()) : 0;
}
