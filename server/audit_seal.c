#include "server/audit_seal.h"

#include "lib/clock.h"
#include "lib/id.h"
#include "lib/keyring.h"
#include "lib/log.h"
#include "lib/timer.h"
#include "server/audit_chain.h"
#include "server/settings.h"
#include "server/worker.h"

#include <stdlib.h>
#include <string.h>

enum { CHAINS = 64, SWEEP_MS = 60, ADDRESS = 64 };

/* A tenant whose trail has entries that may not be sealed. */
struct chain {
    char tenant[40];
    unsigned partition;
    bool wanted; /* committed to since it was last looked at */
};

struct source {
    char address[ADDRESS];
    int64_t count;
    enum code last;
};

struct auditor {
    struct worker *worker;
    struct timer seal, sweep, report;
    struct ops ops;

    struct chain chains[CHAINS];
    size_t count, turn;
    bool busy;

    /* the one being sealed */
    struct arena arena;
    struct space space;
    char tenant[40];
    int64_t sealed, last;
    uint8_t previous[CRYPTO_HASH];
    int64_t trim_from, trim_upto;

    unsigned partition; /* swept next */
    struct source sources[AUDIT_SOURCES];
    size_t source_count;
};

static _Thread_local struct auditor *mine;

static void look(void *arg);
static void read_ends(struct auditor *a);

/* What has to be sealed. */

static void want(struct auditor *a, struct space s)
{
    for (size_t i = 0; i < a->count; i++)
        if (str_eqz(s.tenant, a->chains[i].tenant)) {
            a->chains[i].wanted = true;
            return;
        }
    if (a->count == CHAINS || s.tenant.n >= sizeof a->chains[0].tenant)
        return; /* the sweep finds it */
    struct chain *c = &a->chains[a->count++];
    *c = (struct chain){.partition = s.partition, .wanted = true};
    memcpy(c->tenant, s.tenant.p, s.tenant.n);
}

static void soon(struct auditor *a)
{
    if (!a->busy && !timer_running(&a->seal))
        timer_start(&a->seal, &a->worker->loop, AUDIT_SEAL_AFTER_MS, look, a);
}

int64_t audit_seal_note(struct space s)
{
    if (mine == NULL)
        return clock_wall_ms();
    want(mine, s);
    soon(mine);
    return store_now_ms(mine->worker->store);
}

/* One chain after the other; each gets its turn. */
static void look(void *arg)
{
    struct auditor *a = arg;
    if (a->busy)
        return;
    for (size_t i = 0; i < a->count; i++) {
        struct chain *c = &a->chains[(a->turn + i) % a->count];
        if (!c->wanted)
            continue;
        c->wanted = false;
        a->turn = (a->turn + i + 1) % a->count;
        memcpy(a->tenant, c->tenant, sizeof a->tenant);
        a->space = (struct space){c->partition, str_z(a->tenant)};
        a->busy = true;
        arena_reset(&a->arena);
        read_ends(a);
        return;
    }
    a->count = a->turn = 0;
}

/* Sealed as far as possible, or the store is away: then the entry in the set of unsealed ones is still there. */
static void done(struct auditor *a)
{
    a->busy = false;
    look(a);
}

static void ask(struct auditor *a, const struct store_command *commands, size_t n, store_then *then)
{
    if (store_read(a->worker->store, commands, n, &a->ops, then, a) != OK) {
        a->busy = false; /* not looked at again at once: the store is away */
        soon(a);
    }
}

static struct str number(struct auditor *a, int64_t n)
{
    return arena_int(&a->arena, n);
}

/* Sealing. */

static void written(void *arg, enum code c, const struct redis_value *v)
{
    struct auditor *a = arg;
    (void)v;
    if (c != OK) {
        done(a);
        return;
    }
    arena_reset(&a->arena);
    read_ends(a);
}

struct checkpoint {
    int64_t sequence; /* 0: none */
    uint8_t hash[CRYPTO_HASH];
};

/* "<key> <signature>" */
static struct str sign(struct auditor *a, const struct checkpoint *c)
{
    uint8_t signature[CRYPTO_SIGNATURE];
    struct buf value;
    struct str text = audit_checkpoint_text(&a->arena, a->space.tenant, c->sequence, c->hash);
    unsigned key = keyring_sign(a->worker->settings->keyring, KEYRING_EVIDENCE, text, signature);
    buf_init_arena(&value, &a->arena, 128);
    buf_printf(&value, "%u ", key);
    buf_base64url(&value, signature, sizeof signature);
    return value.failed || text.p == NULL ? STR_NONE : buf_view(&value);
}

static void write_seals(struct auditor *a, const struct buf *hashes, const struct checkpoint *checkpoint)
{
    struct arena *m = &a->arena;
    const struct store_command commands[] = {
        STORE_COMMAND(S("SETRANGE"), key_audit_sealed(m, a->space), number(a, a->sealed * CRYPTO_HASH),
                      buf_view(hashes)),
        STORE_COMMAND(S("HSET"), key_audit_checkpoints(m, a->space), number(a, checkpoint->sequence),
                      checkpoint->sequence > 0 ? sign(a, checkpoint) : S("")),
    };
    ask(a, commands, checkpoint->sequence > 0 ? 2 : 1, written);
}

/* `hash` becomes that of the entry behind it. False without memory, or when the entry is none. */
static bool hash_entry(struct buf *text, const struct audit_link *link, uint8_t hash[CRYPTO_HASH], bool *broken)
{
    struct arena scratch;
    if (audit_event_text(text, link, hash)) {
        crypto_sha256(buf_view(text), hash);
        return true;
    }
    arena_init(&scratch, 0);
    const struct json *event = audit_event(&scratch, link, hash, broken);
    bool good = event != NULL && audit_hash(&scratch, event, hash);
    arena_fini(&scratch);
    return good;
}

/* The entries behind the sealed ones, without a hole: what is missing must not be sealed over. */
static void got_entries(void *arg, enum code c, const struct redis_value *v)
{
    struct auditor *a = arg;
    const struct redis_value *entries = redis_at(v, 1);
    struct str before = redis_text(redis_at(v, 0));
    struct buf hashes, text;
    struct checkpoint checkpoint = {0};
    int64_t first = a->sealed + 1, n = 0;

    if (c != OK) {
        done(a);
        return;
    }
    memset(a->previous, 0, sizeof a->previous);
    if (before.n == sizeof a->previous)
        memcpy(a->previous, before.p, before.n);
    buf_init_arena(&hashes, &a->arena, AUDIT_SLICE * CRYPTO_HASH);
    buf_init(&text);
    for (; n < (int64_t)entries->count; n++) {
        struct audit_link link;
        bool broken = !audit_link_read(redis_at(entries, (size_t)n), &link) || link.sequence != first + n;
        bool good = !broken && hash_entry(&text, &link, a->previous, &broken);
        if (broken)
            log_error("audit.broken", "tenant=%s sequence=%lld", a->tenant, (long long)(first + n));
        if (!good)
            break;
        buf_add(&hashes, a->previous, sizeof a->previous);
        if (link.sequence % AUDIT_CHECKPOINT_EVERY == 0) {
            checkpoint.sequence = link.sequence;
            memcpy(checkpoint.hash, a->previous, sizeof a->previous);
        }
    }
    buf_free(&text);
    if (n == 0 || hashes.failed)
        done(a);
    else
        write_seals(a, &hashes, &checkpoint);
}

static void read_entries(struct auditor *a)
{
    struct arena *m = &a->arena;
    struct str from = number(a, a->sealed > 0 ? (a->sealed - 1) * CRYPTO_HASH : 0);
    struct str to = number(a, a->sealed > 0 ? a->sealed * CRYPTO_HASH - 1 : 0);
    const struct store_command commands[] = {
        STORE_COMMAND(S("GETRANGE"), key_audit_sealed(m, a->space), from, to),
        STORE_COMMAND(S("XRANGE"), key_audit(m, a->space), number(a, a->sealed + 1), S("+"), S("COUNT"),
                      number(a, AUDIT_SLICE)),
    };
    ask(a, commands, ARRAY_LEN(commands), got_entries);
}

/* Trimming: entries older than they have to be kept go, once a checkpoint vouches for the last of them. */

static bool is_old(const struct auditor *a, const struct redis_value *entry, struct audit_link *link)
{
    int64_t limit = store_now_ms(a->worker->store) - a->worker->settings->audit_keep;
    return audit_link_read(entry, link) && link->time_ms < limit && link->sequence <= a->sealed;
}

static void got_last_hash(void *arg, enum code c, const struct redis_value *v)
{
    struct auditor *a = arg;
    struct arena *m = &a->arena;
    struct checkpoint checkpoint = {.sequence = a->trim_upto};
    struct str hash = redis_text(v);
    if (c != OK || hash.n != sizeof checkpoint.hash) {
        done(a);
        return;
    }
    memcpy(checkpoint.hash, hash.p, hash.n);
    log_info("audit.trimmed", "tenant=%s upto=%lld", a->tenant, (long long)a->trim_upto);
    const struct store_command commands[] = {
        STORE_COMMAND(S("HSET"), key_audit_checkpoints(m, a->space), number(a, a->trim_upto), sign(a, &checkpoint)),
        STORE_COMMAND(S("XTRIM"), key_audit(m, a->space), S("MINID"), number(a, a->trim_upto + 1)),
        STORE_COMMAND(S("HDEL"), key_audit_checkpoints(m, a->space), number(a, a->trim_from - 1)),
    };
    ask(a, commands, (a->trim_from - 1) % AUDIT_CHECKPOINT_EVERY == 0 ? 2 : 3, written);
}

static void got_oldest(void *arg, enum code c, const struct redis_value *entries)
{
    struct auditor *a = arg;
    struct audit_link link;
    a->trim_from = a->trim_upto = 0;
    for (size_t i = 0; c == OK && i < entries->count && is_old(a, redis_at(entries, i), &link); i++) {
        a->trim_from = i == 0 ? link.sequence : a->trim_from;
        a->trim_upto = link.sequence;
    }
    if (a->trim_upto == 0) {
        done(a);
        return;
    }
    int64_t at = (a->trim_upto - 1) * CRYPTO_HASH;
    const struct store_command command = STORE_COMMAND(S("GETRANGE"), key_audit_sealed(&a->arena, a->space),
                                                       number(a, at), number(a, at + CRYPTO_HASH - 1));
    ask(a, &command, 1, got_last_hash);
}

static void read_oldest(struct auditor *a)
{
    const struct store_command command =
        STORE_COMMAND(S("XRANGE"), key_audit(&a->arena, a->space), S("-"), S("+"), S("COUNT"), number(a, AUDIT_SLICE));
    ask(a, &command, 1, got_oldest);
}

static void forgotten(void *arg, enum code c, const struct redis_value *v)
{
    (void)c;
    (void)v;
    done(arg);
}

/* Nothing is left to do. Whoever commits another entry in this moment looks after it. */
static void finish(struct auditor *a)
{
    const struct store_command command =
        STORE_COMMAND(S("ZREM"), key_audit_unsealed(&a->arena, a->space.partition), a->space.tenant);
    ask(a, &command, 1, forgotten);
}

static void got_ends(void *arg, enum code c, const struct redis_value *v)
{
    struct auditor *a = arg;
    struct audit_link link;
    if (c != OK) {
        done(a);
        return;
    }
    a->sealed = redis_int(redis_at(v, 0), 0) / CRYPTO_HASH;
    a->last = redis_int(redis_at(v, 1), 0);
    if (a->sealed < a->last)
        read_entries(a);
    else if (is_old(a, redis_at(redis_at(v, 2), 0), &link))
        read_oldest(a);
    else
        finish(a);
}

static void read_ends(struct auditor *a)
{
    struct arena *m = &a->arena;
    const struct store_command commands[] = {
        STORE_COMMAND(S("STRLEN"), key_audit_sealed(m, a->space)),
        STORE_COMMAND(S("GET"), key_audit_seq(m, a->space)),
        STORE_COMMAND(S("XRANGE"), key_audit(m, a->space), S("-"), S("+"), S("COUNT"), S("1")),
    };
    ask(a, commands, ARRAY_LEN(commands), got_ends);
}

/* The sweep: what other workers left lying, one partition after the other. */

static void got_unsealed(void *arg, enum code c, const struct redis_value *v)
{
    struct auditor *a = arg;
    for (size_t i = 0; c == OK && i < v->count; i++)
        want(a, (struct space){a->partition, redis_text(redis_at(v, i))});
    if (c == OK && v->count > 0)
        soon(a);
}

static void sweep(void *arg)
{
    struct auditor *a = arg;
    struct arena m;
    arena_init(&m, 0);
    a->partition = (a->partition + 1) % ID_PARTITIONS;
    const struct store_command command =
        STORE_COMMAND(S("ZRANGE"), key_audit_unsealed(&m, a->partition), S("0"), S("9"));
    store_read(a->worker->store, &command, 1, &a->ops, got_unsealed, a);
    arena_fini(&m);
    timer_start(&a->sweep, &a->worker->loop, SWEEP_MS, sweep, a);
}

/* Failed authentications. */

static void report(void *arg)
{
    struct auditor *a = arg;
    for (size_t i = 0; i < a->source_count; i++) {
        struct source *s = &a->sources[i];
        audit_write_failed_authentications(a->worker, str_z(s->address), s->count, s->last);
    }
    a->source_count = 0;
}

/* Where the address is counted; the last place is everybody's for whom there was none left. */
static struct source *source_of(struct auditor *a, struct str address)
{
    for (size_t i = 0; i < a->source_count; i++)
        if (str_eqz(address, a->sources[i].address))
            return &a->sources[i];
    if (a->source_count == AUDIT_SOURCES)
        return &a->sources[AUDIT_SOURCES - 1];
    struct source *s = &a->sources[a->source_count++];
    memset(s, 0, sizeof *s);
    if (a->source_count == AUDIT_SOURCES)
        address = S("others");
    memcpy(s->address, address.p, address.n);
    return s;
}

void audit_seal_count(struct str address, enum code c)
{
    struct auditor *a = mine;
    if (a == NULL)
        return;
    struct source *s = source_of(a, address.n == 0 || address.n >= ADDRESS ? S("unknown") : address);
    s->count++;
    s->last = c;
    if (!timer_running(&a->report))
        timer_start(&a->report, &a->worker->loop, AUDIT_REPORT_AFTER_MS, report, a);
}

struct auditor *auditor_new(struct worker *w)
{
    struct auditor *a = calloc(1, sizeof *a);
    if (a == NULL)
        return NULL;
    a->worker = w;
    arena_init(&a->arena, 0);
    ops_init(&a->ops);
    a->partition = w->index * (ID_PARTITIONS / 4) % ID_PARTITIONS; /* workers do not sweep in step */
    timer_start(&a->sweep, &w->loop, SWEEP_MS, sweep, a);
    mine = a;
    return a;
}

void auditor_free(struct auditor *a)
{
    if (a == NULL)
        return;
    report(a);
    timer_stop(&a->seal);
    timer_stop(&a->sweep);
    timer_stop(&a->report);
    ops_detach(&a->ops);
    arena_fini(&a->arena);
    free(a);
    mine = NULL;
}
