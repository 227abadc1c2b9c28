#include "server/audit_verify.h"

#include "lib/keyring.h"
#include "server/audit.h"
#include "server/audit_chain.h"
#include "server/settings.h"
#include "server/store/store.h"
#include "server/worker.h"

#include <string.h>

enum { CHECKPOINTS_AT_ONCE = 64 };

// clang-format off
static const char *const reasons[] = {"missing", "changed", "checkpoint", NULL};

static const struct field broken_fields[] = {
    {"sequence", FIELD_INT,  FIELD_REQUIRED, .doc = "The first entry that does not hold."},
    {"reason",   FIELD_ENUM, FIELD_REQUIRED, .choices = reasons,
     .doc = "missing: it is gone, or not where it was. changed: it is not what was sealed, or what was before it is not. "
            "checkpoint: the seals themselves were changed."},
    {0}};

static const struct field unsealed_fields[] = {
    {"from", FIELD_INT, FIELD_REQUIRED},
    {"to",   FIELD_INT, FIELD_REQUIRED},
    {0}};

const struct field audit_verify_data[] = {
    {"valid",          FIELD_BOOL,   FIELD_REQUIRED, .doc = "Everything that was checked holds."},
    {"complete",       FIELD_BOOL,   FIELD_REQUIRED, .doc = "There is nothing left to check; else go on with from=nextSequence."},
    {"checked",        FIELD_INT,    FIELD_REQUIRED, .doc = "Entries recomputed by this call."},
    {"checkpoints",    FIELD_INT,    FIELD_REQUIRED, .doc = "Signed checkpoints that hold."},
    {"firstSequence",  FIELD_INT,    FIELD_REQUIRED, .doc = "Older entries were trimmed; a checkpoint vouches for them."},
    {"lastSequence",   FIELD_INT,    FIELD_REQUIRED},
    {"sealedSequence", FIELD_INT,    FIELD_REQUIRED},
    {"nextSequence",   FIELD_INT,    FIELD_NULLABLE},
    {"unsealed",       FIELD_OBJECT, FIELD_NULLABLE, .fields = unsealed_fields, .doc = "Entries too young to be sealed."},
    {"broken",         FIELD_OBJECT, FIELD_NULLABLE, .fields = broken_fields},
    {0}};

const struct field audit_verify_query[] = {
    {"from", FIELD_INT, .min = 1, .max = INT64_MAX, .preset = "1", .doc = "Sequence to begin with."},
    {0}};
// clang-format on

struct verification {
    struct request *r;
    struct space space;
    int64_t first, last, sealed; /* entries there are; as far as they are sealed */
    int64_t next, checked, checkpoints;
    int64_t broken; /* 0: nothing yet */
    const char *reason;
    bool started; /* `previous` is known */
    bool vouched; /* nothing was trimmed, or a checkpoint says what was before the first */
    struct checkpoint {
        int64_t sequence;
        struct str value; /* "<key> <signature>" */
    } * list;
    size_t count, judged; /* checkpoints */
    uint8_t previous[CRYPTO_HASH];
    struct arena scratch;
};

static void close_scratch(void *p)
{
    arena_fini(p);
}

static struct str number(struct verification *v, int64_t n)
{
    return arena_int(&v->scratch, n);
}

static enum flow ask(struct verification *v, const struct store_command *commands, size_t n, store_then *then)
{
    enum code c = store_read(v->r->worker->store, commands, n, &v->r->ops, then, v);
    return c == OK ? WAIT : reply_error(v->r, c);
}

static void put(struct json_out *o, const char *name, int64_t value)
{
    json_key(o, str_z(name));
    json_put_int(o, value);
}

static enum flow answer(struct verification *v)
{
    struct buf b;
    struct json_out o;
    bool complete = v->broken > 0 || v->next > v->sealed;
    buf_init_arena(&b, &v->r->arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("valid"));
    json_put_bool(&o, v->broken == 0);
    json_key(&o, S("complete"));
    json_put_bool(&o, complete);
    put(&o, "checked", v->checked);
    put(&o, "checkpoints", v->checkpoints);
    put(&o, "firstSequence", v->first);
    put(&o, "lastSequence", v->last);
    put(&o, "sealedSequence", v->sealed);
    json_key(&o, S("nextSequence"));
    if (complete)
        json_put_null(&o);
    else
        json_put_int(&o, v->next);
    json_key(&o, S("unsealed"));
    if (v->sealed < v->last) {
        json_open(&o, '{');
        put(&o, "from", v->sealed + 1);
        put(&o, "to", v->last);
        json_close(&o, '}');
    } else {
        json_put_null(&o);
    }
    json_key(&o, S("broken"));
    if (v->broken > 0) {
        json_open(&o, '{');
        put(&o, "sequence", v->broken);
        json_key(&o, S("reason"));
        json_put_z(&o, v->reason);
        json_close(&o, '}');
    } else {
        json_put_null(&o);
    }
    json_close(&o, '}');
    return b.failed ? reply_error(v->r, SYS_OVERLOADED) : reply_data(v->r, 200, buf_view(&b));
}

static void break_at(struct verification *v, int64_t sequence, const char *reason)
{
    if (v->broken > 0 && v->broken <= sequence)
        return;
    v->broken = sequence;
    v->reason = reason;
}

static enum flow next_slice(struct verification *v);

/* One entry against what was sealed for it. */
static enum code check(struct verification *v, const struct redis_value *entry, const uint8_t *sealed)
{
    struct audit_link link;
    uint8_t hash[CRYPTO_HASH];
    bool broken;
    arena_reset(&v->scratch);
    if (!audit_link_read(entry, &link) || link.sequence != v->next) {
        break_at(v, v->next, "missing");
        return OK;
    }
    const struct json *event = audit_event(&v->scratch, &link, v->previous, &broken);
    if (broken) {
        break_at(v, v->next, "changed");
        return OK;
    }
    if (event == NULL || !audit_hash(&v->scratch, event, hash))
        return SYS_OVERLOADED;
    if (memcmp(hash, sealed, sizeof hash) != 0) {
        break_at(v, v->next, "changed");
        return OK;
    }
    memcpy(v->previous, hash, sizeof hash);
    v->checked++;
    v->next++;
    return OK;
}

static void got_slice(void *arg, enum code c, const struct redis_value *reply)
{
    struct verification *v = arg;
    const struct redis_value *entries = redis_at(reply, 0);
    struct str hashes = redis_text(redis_at(reply, 1));
    size_t at = 0, expected = hashes.n / CRYPTO_HASH;
    if (c != OK) {
        reply_error(v->r, c);
        return;
    }
    if (!v->started && v->next > 1) { /* the hash before the first */
        memcpy(v->previous, hashes.p, hashes.n >= CRYPTO_HASH ? CRYPTO_HASH : 0);
        at++;
    }
    v->started = true;
    for (size_t i = 0; c == OK && v->broken == 0 && at < expected; i++, at++)
        c = check(v, redis_at(entries, i), (const uint8_t *)hashes.p + at * CRYPTO_HASH);
    if (c != OK)
        reply_error(v->r, c);
    else
        next_slice(v);
}

static void got_tail(void *arg, enum code c, const struct redis_value *reply)
{
    struct verification *v = arg;
    if (c == OK && reply->count == 0)
        break_at(v, v->sealed + 1, "missing");
    if (c != OK)
        reply_error(v->r, c);
    else
        answer(v);
}

/* The chain cannot be sealed over a hole, so it would stay unsealed for ever. */
static enum flow check_tail(struct verification *v)
{
    struct arena *a = &v->scratch;
    arena_reset(a);
    const struct store_command command =
        STORE_COMMAND(S("XRANGE"), key_audit(a, v->space), number(v, v->sealed + 1), number(v, v->sealed + 1));
    return ask(v, &command, 1, got_tail);
}

static enum flow next_slice(struct verification *v)
{
    struct arena *a = &v->scratch;
    if (v->broken == 0 && v->next > v->sealed && v->sealed < v->last)
        return check_tail(v);
    if (v->broken > 0 || v->next > v->sealed || v->checked >= AUDIT_VERIFY_MAX)
        return answer(v);
    int64_t to = v->next + AUDIT_SLICE - 1 < v->sealed ? v->next + AUDIT_SLICE - 1 : v->sealed;
    int64_t hash_from = v->started || v->next == 1 ? v->next : v->next - 1;
    arena_reset(a);
    const struct store_command commands[] = {
        STORE_COMMAND(S("XRANGE"), key_audit(a, v->space), number(v, v->next), number(v, to)),
        STORE_COMMAND(S("GETRANGE"), key_audit_sealed(a, v->space), number(v, (hash_from - 1) * CRYPTO_HASH),
                      number(v, to * CRYPTO_HASH - 1)),
    };
    return ask(v, commands, ARRAY_LEN(commands), got_slice);
}

/* Checkpoints: what was signed must be what is sealed. */

static bool holds(struct verification *v, int64_t sequence, struct str value, const uint8_t *sealed)
{
    struct buf signature = {0};
    uint64_t key;
    struct str rest = value, number_text = str_cut(&rest, ' ');
    struct str text = audit_checkpoint_text(&v->scratch, v->space.tenant, sequence, sealed);
    bool good = str_u64(number_text, &key) && buf_unbase64url(&signature, rest) && signature.n == CRYPTO_SIGNATURE &&
                text.p != NULL &&
                keyring_verify(v->r->worker->settings->keyring, KEYRING_EVIDENCE, (unsigned)key, text,
                               (const uint8_t *)signature.p);
    buf_free(&signature);
    return good;
}

static enum flow judge_checkpoints(struct verification *v);

static void got_hashes(void *arg, enum code c, const struct redis_value *reply)
{
    struct verification *v = arg;
    size_t n = v->count - v->judged < CHECKPOINTS_AT_ONCE ? v->count - v->judged : CHECKPOINTS_AT_ONCE;
    if (c != OK) {
        reply_error(v->r, c);
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const struct checkpoint *p = &v->list[v->judged++];
        struct str hash = redis_text(n == 1 ? reply : redis_at(reply, i));
        if (hash.n != CRYPTO_HASH || !holds(v, p->sequence, p->value, (const uint8_t *)hash.p)) {
            break_at(v, p->sequence, "checkpoint");
            continue;
        }
        v->checkpoints++;
        v->vouched = v->vouched || p->sequence == v->first - 1;
    }
    judge_checkpoints(v);
}

static enum flow judge_checkpoints(struct verification *v)
{
    struct store_command commands[CHECKPOINTS_AT_ONCE];
    size_t n = 0;
    arena_reset(&v->scratch);
    for (size_t i = v->judged; i < v->count && n < CHECKPOINTS_AT_ONCE; i++, n++) {
        struct str *argv = arena_array(&v->scratch, 4, sizeof *argv);
        if (argv == NULL)
            return reply_error(v->r, SYS_OVERLOADED);
        argv[0] = S("GETRANGE");
        argv[1] = key_audit_sealed(&v->scratch, v->space);
        argv[2] = number(v, (v->list[i].sequence - 1) * CRYPTO_HASH);
        argv[3] = number(v, v->list[i].sequence * CRYPTO_HASH - 1);
        commands[n] = (struct store_command){4, argv};
    }
    if (n > 0)
        return ask(v, commands, n, got_hashes);
    if (!v->vouched)
        break_at(v, v->first - 1, "missing");
    return next_slice(v);
}

static void got_checkpoints(void *arg, enum code c, const struct redis_value *reply)
{
    struct verification *v = arg;
    if (c == OK) {
        v->list = arena_array(&v->r->arena, reply->count / 2 + 1, sizeof *v->list);
        c = v->list == NULL ? SYS_OVERLOADED : OK;
    }
    for (size_t i = 0; c == OK && i + 1 < reply->count; i += 2) {
        struct checkpoint p = {redis_int(redis_at(reply, i), 0),
                               arena_str(&v->r->arena, redis_text(redis_at(reply, i + 1)))};
        if (p.sequence < 1 || p.sequence > v->sealed)
            break_at(v, p.sequence < 1 ? 1 : p.sequence, "checkpoint");
        else
            v->list[v->count++] = p;
        if (p.value.p == NULL)
            c = SYS_OVERLOADED;
    }
    if (c != OK)
        reply_error(v->r, c);
    else
        judge_checkpoints(v);
}

static void got_ends(void *arg, enum code c, const struct redis_value *reply)
{
    struct verification *v = arg;
    struct arena *a = &v->scratch;
    struct audit_link first;
    if (c != OK) {
        reply_error(v->r, c);
        return;
    }
    v->last = redis_int(redis_at(reply, 0), 0);
    v->sealed = redis_int(redis_at(reply, 1), 0) / CRYPTO_HASH;
    v->sealed = v->sealed < v->last ? v->sealed : v->last;
    v->first = audit_link_read(redis_at(redis_at(reply, 2), 0), &first) ? first.sequence : v->last + 1;
    v->next = json_int(json_get(v->r->parameters, "from"), 1);
    v->next = v->next < v->first ? v->first : v->next;
    v->vouched = v->first <= 1;
    const struct store_command command = STORE_COMMAND(S("HGETALL"), key_audit_checkpoints(a, v->space));
    if (v->sealed == 0 && v->last > 0 && v->first > 1)
        break_at(v, 1, "missing");
    if (v->sealed == 0)
        next_slice(v);
    else
        ask(v, &command, 1, got_checkpoints);
}

enum flow audit_verify(struct request *r)
{
    struct verification *v = arena_new(&r->arena, struct verification);
    if (v == NULL)
        return reply_error(r, SYS_OVERLOADED);
    arena_init(&v->scratch, 0);
    if (!arena_defer(&r->arena, close_scratch, &v->scratch))
        return reply_error(r, SYS_OVERLOADED);
    v->r = r;
    v->space = (struct space){r->caller.partition, r->caller.tenant};
    const struct store_command commands[] = {
        STORE_COMMAND(S("GET"), key_audit_seq(&v->scratch, v->space)),
        STORE_COMMAND(S("STRLEN"), key_audit_sealed(&v->scratch, v->space)),
        STORE_COMMAND(S("XRANGE"), key_audit(&v->scratch, v->space), S("-"), S("+"), S("COUNT"), S("1")),
    };
    return ask(v, commands, ARRAY_LEN(commands), got_ends);
}
