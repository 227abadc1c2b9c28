#include "server/idempotency.h"

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/id.h"
#include "lib/keyring.h"
#include "proto/http.h"
#include "server/auth.h"
#include "server/dialect.h"
#include "server/reply.h"
#include "server/router.h"
#include "server/settings.h"
#include "server/store/admit.h"
#include "server/store/commit.h"
#include "server/worker.h"

enum { FIELDS_MAX = 7, GRACE_MS = 500 /* from the deadline of an operation to the end of a claim */ };

struct idempotency {
    struct str key, hash, fingerprint, record; /* the header's value; hex; hex; the record's name in the store */
    char owner[ID_UUID];                       /* of the claim; the request's id will not do, it may be the client's */
    bool claimed, closed, put_off;             /* put off: nobody has claimed it, the commit is to */
    enum code refused;                         /* what is answered, should the request turn out not to be done */
    int status;                                /* of the answer that waits for its record, with the rest */
    const char *type;
    struct str body;
};

bool idempotency_begin(struct request *r, struct faults *faults)
{
    struct str key = http_header(r->head, S("idempotency-key"));
    bool good = key.n > 0 && key.n <= IDEMPOTENCY_KEY_MAX;
    if (key.p == NULL || r->caller.type == CALLER_NONE)
        return true;
    for (size_t i = 0; good && i < key.n; i++)
        good = key.p[i] >= ' ' && key.p[i] < 0x7f;
    if (!good) {
        fault_add(faults, S("header.Idempotency-Key"), "VAL_INVALID_FORMAT", "1 to %d printable ASCII characters",
                  IDEMPOTENCY_KEY_MAX);
        return true;
    }
    r->idempotency = arena_new(&r->arena, struct idempotency);
    if (r->idempotency != NULL)
        r->idempotency->key = key;
    return r->idempotency != NULL;
}

static struct str hex(struct arena *a, const uint8_t hash[CRYPTO_HASH])
{
    struct buf b;
    buf_init_arena(&b, a, 2 * CRYPTO_HASH + 1);
    buf_hex(&b, hash, CRYPTO_HASH);
    return b.failed ? STR_NONE : buf_view(&b);
}

/* Hash of what the request asks for. Lengths go in as well, so that no two requests run together to the same bytes. */
static struct str fingerprint_of(struct request *r)
{
    const struct str parts[] = {r->head->method, r->head->path, r->head->query, r->body};
    struct crypto_sha256 h = {0};
    uint8_t hash[CRYPTO_HASH];
    crypto_sha256_init(&h);
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        uint64_t n = parts[i].n;
        crypto_sha256_add(&h, &n, sizeof n);
        crypto_sha256_add(&h, parts[i].p, parts[i].n);
    }
    crypto_sha256_end(&h, hash);
    return hex(&r->arena, hash);
}

/* The key under which a secret answer is sealed: only who has both the Idempotency-Key and the bearer can open it. */
static void sealing_key(const struct request *r, struct str idempotency_key, uint8_t out[CRYPTO_KEY])
{
    uint8_t bearer[CRYPTO_HASH];
    keyring_hash(r->worker->settings->keyring, auth_header(r->head), bearer);
    crypto_hmac_sha256(bearer, idempotency_key, out);
    crypto_wipe(bearer, sizeof bearer);
}

/* Records: names and values. An answer with data has status, data or sealed, and revision and location if it has them;
 * one that is a document has kind, id and revision, and data once the document moved on; a refusal has code, message,
 * and details and faults if it has them; anything else status, type and body. */

static struct str field(struct request *r, const struct redis_value *record, struct str name)
{
    struct str text = redis_text(redis_field(record, name));
    return text.p == NULL ? STR_NONE : arena_str(&r->arena, text);
}

static void read_faults(struct request *r, struct str text)
{
    const struct json *list = text.n == 0 ? NULL : json_parse(&r->arena, text, NULL, NULL);
    if (list == NULL || (r->faults = arena_new(&r->arena, struct faults)) == NULL)
        return;
    faults_init(r->faults, &r->arena);
    for (size_t i = 0; i < json_count(list); i++) {
        const struct json *f = json_at(list, i);
        const char *code = arena_z(&r->arena, json_str(json_get(f, "code")));
        if (code != NULL)
            fault_add(r->faults, json_str(json_get(f, "field")), code, STR_FMT,
                      STR_ARG(json_str(json_get(f, "message"))));
    }
}

static enum flow replay_refusal(struct request *r, const struct redis_value *record, struct str code)
{
    enum code c = code_find(code.p, code.n);
    r->why = field(r, record, S("message"));
    r->details = field(r, record, S("details"));
    r->refused = c == CODES ? SYS_INTERNAL : c;
    read_faults(r, field(r, record, S("faults")));
    return reply_error(r, r->refused);
}

static bool unseal(struct request *r, struct str sealed, struct str *out)
{
    struct buf opened;
    uint8_t key[CRYPTO_KEY];
    buf_init_arena(&opened, &r->arena, sealed.n);
    sealing_key(r, http_header(r->head, S("idempotency-key")), key);
    bool ok = crypto_open(key, S("idempotency"), sealed, &opened);
    crypto_wipe(key, sizeof key);
    *out = buf_view(&opened);
    return ok;
}

/* What is replayed, while the document it is about is read. */
struct replay {
    struct request *r;
    int status;
    int64_t revision;
};

static void document_read(void *arg, enum code c, const struct redis_value *v)
{
    struct replay *p = arg;
    struct request *r = p->r;
    const struct redis_value *document = redis_at(v, 0);
    bool still = c == OK && redis_int(redis_at(document, 1), 0) == p->revision;
    struct str data = redis_text(still ? redis_at(document, 0) : redis_at(v, 1));
    if (c == OK && data.p == NULL)
        c = SYS_INTERNAL;
    if (c == OK && (data = arena_str(&r->arena, data)).p == NULL)
        c = SYS_OVERLOADED;
    if (c != OK)
        reply_error(r, c);
    else
        reply_document(r, p->status, data, p->revision);
}

/* As it stands; or, where it has moved on since the record was read, from the record, which is read behind it. */
static enum flow replay_document(struct request *r, struct str record, struct str kind, struct str id, int status,
                                 int64_t revision)
{
    struct replay *p = arena_new(&r->arena, struct replay);
    const char *name = arena_z(&r->arena, kind);
    if (p == NULL || name == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *p = (struct replay){r, status, revision};
    const struct space space = {r->caller.partition, r->caller.tenant};
    const struct store_command commands[] = {
        STORE_COMMAND(S("HMGET"), key_document(&r->arena, space, name, id), S("j"), S("r")),
        STORE_COMMAND(S("HGET"), record, S("data"))};
    enum code c = store_read(r->worker->store, commands, ARRAY_LEN(commands), &r->ops, document_read, p);
    return c == OK ? WAIT : reply_error(r, c);
}

static enum flow replay(struct request *r, const struct redis_value *record)
{
    int status = (int)redis_int(redis_field(record, S("status")), 200);
    int64_t revision = redis_int(redis_field(record, S("revision")), 0);
    struct str code = field(r, record, S("code")), location = field(r, record, S("location"));
    struct str data = field(r, record, S("data")), sealed = field(r, record, S("sealed"));
    struct str type = field(r, record, S("type")), kind = field(r, record, S("kind"));
    struct str name = r->idempotency->record;
    r->idempotency = NULL;
    r->replayed = true;
    if (code.n > 0)
        return replay_refusal(r, record, code);
    reply_header(r, "Idempotency-Replayed", S("true"));
    if (location.n > 0)
        reply_header(r, "Location", location);
    if (sealed.n > 0 && !unseal(r, sealed, &data))
        return reply_error(r, r->dialect->key_conflict);
    if (data.p == NULL && kind.n > 0)
        return replay_document(r, name, kind, field(r, record, S("id")), status, revision);
    if (data.p == NULL)
        return type.n > 0 ? reply_raw(r, status, type.p, field(r, record, S("body"))) : reply_empty(r, status);
    return revision > 0 ? reply_document(r, status, data, revision) : reply_data(r, status, data);
}

/* Whether it is ours now; else it is answered. */
static bool is_ours(struct request *r, enum code c, const struct admitted *a)
{
    if (c == OK && a->replay == ADMIT_REPLAY) {
        replay(r, a->record);
        return false;
    }
    c = c != OK                          ? c
        : a->replay == ADMIT_OTHER       ? r->dialect->key_conflict
        : a->replay == ADMIT_IN_PROGRESS ? RES_IDEMPOTENCY_IN_PROGRESS
        : a->replay == ADMIT_CLAIMED     ? OK
                                         : SYS_INTERNAL;
    r->idempotency->claimed = c == OK;
    if (c == OK)
        return true;
    r->idempotency = NULL;
    reply_error(r, c);
    return false;
}

static void claimed(void *arg, enum code c, const struct admitted *a)
{
    struct request *r = arg;
    if (is_ours(r, c, a))
        request_resume(r);
}

static enum code claim(struct request *r, admit_then *then)
{
    struct idempotency *i = r->idempotency;
    id_uuid(clock_wall_ms(), i->owner);
    const struct admission in = {
        .partition = r->caller.partition,
        .space = {r->caller.partition, r->caller.tenant},
        .caller = auth_caller_name(&r->arena, &r->caller),
        .idempotency = {r->route->path, i->hash, i->fingerprint, str_z(i->owner),
                        r->worker->settings->redis_timeout + GRACE_MS},
    };
    return in.caller.p == NULL ? SYS_OVERLOADED : store_admit(r->worker->store, &r->arena, &in, &r->ops, then, r);
}

static bool name_record(struct request *r)
{
    struct idempotency *i = r->idempotency;
    uint8_t hash[CRYPTO_HASH];
    keyring_hash(r->worker->settings->keyring, i->key, hash);
    i->hash = hex(&r->arena, hash);
    i->fingerprint = fingerprint_of(r);
    i->record = key_idempotency(&r->arena, (struct space){r->caller.partition, r->caller.tenant},
                                auth_caller_name(&r->arena, &r->caller), r->route->path, i->hash);
    return i->hash.p != NULL && i->fingerprint.p != NULL && i->record.p != NULL;
}

enum flow idempotency_claim(struct request *r)
{
    struct idempotency *i = r->idempotency;
    if (i == NULL)
        return NEXT;
    enum code c = name_record(r) ? OK : SYS_OVERLOADED;
    i->put_off = (r->route->flags & ROUTE_ONE_COMMIT) != 0 && r->resource->live == NULL;
    if (c == OK && i->put_off)
        return NEXT;
    if (c == OK && (c = claim(r, claimed)) == OK)
        return WAIT;
    r->idempotency = NULL;
    return reply_error(r, c);
}

struct record { /* fields on their way into the store */
    struct str fields[2 * FIELDS_MAX];
    size_t n;
};

static void add(struct record *to, struct str name, struct str value)
{
    to->fields[to->n++] = name;
    to->fields[to->n++] = value;
}

static void add_number(struct request *r, struct record *to, struct str name, int64_t value)
{
    add(to, name, arena_int(&r->arena, value));
}

static bool is_document(const struct idempotent_answer *a)
{
    return a->kind != NULL && !a->secret && a->revision > 0;
}

static void add_answer(struct request *r, struct record *to, const struct idempotent_answer *a)
{
    struct buf sealed;
    uint8_t key[CRYPTO_KEY];
    add_number(r, to, S("status"), a->status);
    if (a->revision > 0 && !is_document(a))
        add_number(r, to, S("revision"), a->revision);
    if (a->location.n > 0)
        add(to, S("location"), a->location);
    if (is_document(a))
        return; /* the rest goes beside the record: close_record */
    if (!a->secret) {
        add(to, S("data"), a->data);
        return;
    }
    buf_init_arena(&sealed, &r->arena, a->data.n + CRYPTO_SEAL_EXTRA);
    sealing_key(r, r->idempotency->key, key);
    crypto_seal(key, S("idempotency"), a->data, &sealed);
    crypto_wipe(key, sizeof key);
    add(to, S("sealed"), sealed.failed ? STR_NONE : buf_view(&sealed)); /* STR_NONE fails the commit */
}

static void add_refusal(struct request *r, struct record *to)
{
    struct buf b;
    struct json_out o;
    add(to, S("code"), str_z(code_name(r->refused)));
    add(to, S("message"), r->why.p == NULL ? S("") : r->why);
    if (r->details.n > 0)
        add(to, S("details"), r->details);
    if (r->faults == NULL || r->faults->n == 0)
        return;
    buf_init_arena(&b, &r->arena, 256);
    json_out_init(&o, &b);
    reply_faults(&o, r->faults);
    add(to, S("faults"), b.failed ? STR_NONE : buf_view(&b));
}

static void close_record(struct request *r, struct commit *c, const struct record *record,
                         const struct idempotent_answer *a)
{
    struct commit_answer of;
    if (a != NULL && is_document(a))
        of = (struct commit_answer){a->kind, a->id, a->revision, a->data};
    struct str owner = r->idempotency->put_off ? STR_NONE : str_z(r->idempotency->owner);
    commit_idempotency(c, r->idempotency->record, owner, r->worker->settings->idempotency_keep, record->fields,
                       record->n, a != NULL && is_document(a) ? &of : NULL);
}

void idempotency_commit(struct request *r, struct commit *c, const struct idempotent_answer *a)
{
    struct record record = {.n = 0};
    if (r->idempotency == NULL || !(r->idempotency->claimed || r->idempotency->put_off))
        return;
    if (r->idempotency->put_off)
        add(&record, S("fingerprint"), r->idempotency->fingerprint);
    add_answer(r, &record, a);
    close_record(r, c, &record, a);
    r->idempotency->closed = true;
}

void idempotency_draft(struct request *r, struct commit *c, const struct idempotent_answer *a)
{
    const struct idempotent_answer as_text = {
        .status = a->status, .data = a->data, .revision = a->revision, .location = a->location};
    struct record record = {.n = 0};
    if (r->idempotency == NULL || !r->idempotency->claimed)
        return;
    struct str key = r->idempotency->record;
    commit_expect_field(c, RES_IDEMPOTENCY_IN_PROGRESS, "claim", key, S("owner"), str_z(r->idempotency->owner));
    add(&record, S("state"), S("done"));
    add_answer(r, &record, &as_text);
    for (size_t i = 0; i < record.n; i += 2)
        commit_hset(c, key, record.fields[i], record.fields[i + 1]);
    commit_expire(c, key, r->worker->settings->idempotency_keep);
}

static void kept(void *arg, const struct commit_result *result)
{
    struct request *r = arg;
    struct idempotency *i = r->idempotency;
    (void)result; /* the answer stands whether or not it can be replayed */
    i->claimed = false;
    reply_kept(r, i->status, i->type, i->body);
}

static bool is_kept(int status)
{
    return status < 500 && status != 400 && status != 401 && status != 403 && status != 429;
}

/* Gives the key back, for the request to be made again. Not when its change was made after all, and only the answer was
 * lost: then the record is done. By memory of its own, for the request's may have run out; a
 * claim that is not given back ends by itself a second after the request's time. */
static enum code release(struct request *r, const struct idempotency *i)
{
    struct arena scratch;
    struct commit c;
    arena_init(&scratch, 64 << 10);
    commit_begin(&c, &scratch, (struct space){r->caller.partition, r->caller.tenant}, COMMIT_ESSENTIAL);
    commit_expect_field(&c, RES_IDEMPOTENCY_IN_PROGRESS, "claim", i->record, S("state"), S("claimed"));
    commit_expect_field(&c, RES_IDEMPOTENCY_IN_PROGRESS, "claim", i->record, S("owner"), str_z(i->owner));
    commit_remove(&c, i->record);
    enum code code = store_commit(r->worker->store, &c, &r->ops, kept, r);
    arena_fini(&scratch);
    return code;
}

/* Of an answer that is not in the record: keeps it or gives the claim back. */
static enum flow keep(struct request *r)
{
    struct record record = {.n = 0};
    struct idempotency *i = r->idempotency;
    if (!is_kept(i->status) || r->refused == RES_IDEMPOTENCY_IN_PROGRESS)
        return release(r, i) == OK ? WAIT : NEXT;
    struct commit *c = arena_new(&r->arena, struct commit);
    if (c == NULL)
        return NEXT;
    commit_begin(c, &r->arena, (struct space){r->caller.partition, r->caller.tenant}, 0);
    if (r->answer.data.p != NULL) {
        const struct idempotent_answer answer = {.status = i->status,
                                                 .data = r->answer.data,
                                                 .revision = r->answer.revision,
                                                 .location = r->answer.location,
                                                 .secret = (r->route->flags & ROUTE_SECRET) != 0,
                                                 .kind = r->answer.kind,
                                                 .id = r->answer.id};
        add_answer(r, &record, &answer);
        close_record(r, c, &record, &answer);
    } else if (i->status >= 400) {
        add_refusal(r, &record);
        close_record(r, c, &record, NULL);
    } else {
        add_number(r, &record, S("status"), i->status);
        add(&record, S("type"), str_z(i->type == NULL ? "" : i->type));
        add(&record, S("body"), i->body.p == NULL ? S("") : i->body);
        close_record(r, c, &record, NULL);
    }
    return store_commit(r->worker->store, c, &r->ops, kept, r) == OK ? WAIT : NEXT;
}

enum flow idempotency_keep(struct request *r, int status, const char *type, struct str body)
{
    struct idempotency *i = r->idempotency;
    if (i == NULL || !i->claimed || (i->closed && status < 300))
        return NEXT;
    i->status = status;
    i->type = type;
    i->body = body;
    return keep(r);
}

static void looked(void *arg, enum code c, const struct admitted *a)
{
    struct request *r = arg;
    enum code refused = r->idempotency->refused;
    if (c != OK || a->replay != ADMIT_CLAIMED) {
        r->faults = NULL;
        r->why = r->details = STR_NONE;
    }
    if (is_ours(r, c, a))
        reply_error(r, refused);
}

enum flow idempotency_look(struct request *r, enum code refused)
{
    struct idempotency *i = r->idempotency;
    if (i == NULL || !i->put_off || code_status(refused) >= 500)
        return NEXT;
    i->put_off = i->closed = false;
    i->refused = refused;
    return claim(r, looked) == OK ? WAIT : NEXT;
}
