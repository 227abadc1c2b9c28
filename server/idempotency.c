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

enum { KEY_LENGTH_MAX = 255, FIELDS_MAX = 6 };

struct idempotency {
    struct str key, hash, fingerprint, record; /* the header's value; hex; hex; the record's name in the store */
    char owner[ID_UUID];                       /* of the claim; the request's id will not do, it may be the client's */
    bool claimed, closed;
    int status; /* of the answer that waits for its record, with the rest */
    const char *type;
    struct str body;
};

bool idempotency_begin(struct request *r, struct faults *faults)
{
    struct str key = http_header(r->head, S("idempotency-key"));
    bool good = key.n > 0 && key.n <= KEY_LENGTH_MAX;
    if (key.p == NULL || r->caller.type == CALLER_NONE)
        return true;
    for (size_t i = 0; good && i < key.n; i++)
        good = key.p[i] >= ' ' && key.p[i] < 0x7f;
    if (!good) {
        fault_add(faults, S("header.Idempotency-Key"), "VAL_INVALID_FORMAT", "1 to %d printable ASCII characters",
                  KEY_LENGTH_MAX);
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
    keyring_hash(r->worker->settings->keyring, http_header(r->head, S("authorization")), bearer);
    crypto_hmac_sha256(bearer, idempotency_key, out);
    crypto_wipe(bearer, sizeof bearer);
}

/* Records: names and values. An answer with data has status, data or sealed, and revision and location if it has them; a
 * refusal has code, message, and details and faults if it has them; anything else status, type and body. */

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

static enum flow replay(struct request *r, const struct redis_value *record)
{
    int status = (int)redis_int(redis_field(record, S("status")), 200);
    int64_t revision = redis_int(redis_field(record, S("revision")), 0);
    struct str code = field(r, record, S("code")), location = field(r, record, S("location"));
    struct str data = field(r, record, S("data")), sealed = field(r, record, S("sealed"));
    struct str type = field(r, record, S("type"));
    r->idempotency = NULL;
    r->replayed = true;
    if (code.n > 0)
        return replay_refusal(r, record, code);
    reply_header(r, "Idempotency-Replayed", S("true"));
    if (location.n > 0)
        reply_header(r, "Location", location);
    if (sealed.n > 0 && !unseal(r, sealed, &data))
        return reply_error(r, r->dialect->key_conflict);
    if (data.p == NULL)
        return type.n > 0 ? reply_raw(r, status, type.p, field(r, record, S("body"))) : reply_empty(r, status);
    return revision > 0 ? reply_document(r, status, data, revision) : reply_data(r, status, data);
}

static void claimed(void *arg, enum code c, const struct admitted *a)
{
    struct request *r = arg;
    if (c == OK && a->replay == ADMIT_REPLAY) {
        replay(r, a->record);
        return;
    }
    c = c != OK                          ? c
        : a->replay == ADMIT_OTHER       ? r->dialect->key_conflict
        : a->replay == ADMIT_IN_PROGRESS ? RES_IDEMPOTENCY_IN_PROGRESS
        : a->replay == ADMIT_CLAIMED     ? OK
                                         : SYS_INTERNAL;
    if (c != OK) {
        r->idempotency = NULL;
        reply_error(r, c);
        return;
    }
    r->idempotency->claimed = true;
    request_resume(r);
}

enum flow idempotency_claim(struct request *r)
{
    struct idempotency *i = r->idempotency;
    struct worker *w = r->worker;
    uint8_t hash[CRYPTO_HASH];
    if (i == NULL)
        return NEXT;
    id_uuid(clock_wall_ms(), i->owner);
    keyring_hash(w->settings->keyring, i->key, hash);
    const struct space space = {r->caller.partition, r->caller.tenant};
    struct str caller = auth_caller_name(&r->arena, &r->caller);
    i->hash = hex(&r->arena, hash);
    i->fingerprint = fingerprint_of(r);
    i->record = key_idempotency(&r->arena, space, caller, r->route->path, i->hash);
    const struct admission in = {
        .partition = r->caller.partition,
        .space = space,
        .caller = caller,
        .idempotency = {r->route->path, i->hash, i->fingerprint, str_z(i->owner), w->settings->request_timeout + 1000},
    };
    enum code c = caller.p == NULL || i->hash.p == NULL || i->fingerprint.p == NULL || i->record.p == NULL
                      ? SYS_OVERLOADED
                      : store_admit(w->store, &r->arena, &in, &r->ops, claimed, r);
    if (c == OK)
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
    add(to, name, arena_printf(&r->arena, "%lld", (long long)value));
}

static void add_answer(struct request *r, struct record *to, const struct idempotent_answer *a)
{
    struct buf sealed;
    uint8_t key[CRYPTO_KEY];
    add_number(r, to, S("status"), a->status);
    if (a->revision > 0)
        add_number(r, to, S("revision"), a->revision);
    if (a->location.n > 0)
        add(to, S("location"), a->location);
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

static void close_record(struct request *r, struct commit *c, const struct record *record)
{
    commit_idempotency(c, r->idempotency->record, str_z(r->idempotency->owner), r->worker->settings->idempotency_keep,
                       record->fields, record->n);
}

void idempotency_commit(struct request *r, struct commit *c, const struct idempotent_answer *a)
{
    struct record record = {.n = 0};
    if (r->idempotency == NULL || !r->idempotency->claimed)
        return;
    add_answer(r, &record, a);
    close_record(r, c, &record);
    r->idempotency->closed = true;
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

enum flow idempotency_keep(struct request *r, int status, const char *type, struct str body)
{
    struct record record = {.n = 0};
    struct idempotency *i = r->idempotency;
    if (i == NULL || !i->claimed || (i->closed && status < 300))
        return NEXT;
    struct commit *c = arena_new(&r->arena, struct commit);
    if (c == NULL)
        return NEXT;
    i->status = status;
    i->type = type;
    i->body = body;
    commit_begin(c, &r->arena, (struct space){r->caller.partition, r->caller.tenant}, 0);
    if (!is_kept(status)) {
        commit_remove(c, i->record);
    } else if (r->answer.data.p != NULL) {
        add_answer(r, &record,
                   &(struct idempotent_answer){status, r->answer.data, r->answer.revision, r->answer.location,
                                               (r->route->flags & ROUTE_SECRET) != 0});
        close_record(r, c, &record);
    } else if (status >= 400) {
        add_refusal(r, &record);
        close_record(r, c, &record);
    } else {
        add_number(r, &record, S("status"), status);
        add(&record, S("type"), str_z(type == NULL ? "" : type));
        add(&record, S("body"), body.p == NULL ? S("") : body);
        close_record(r, c, &record);
    }
    return store_commit(r->worker->store, c, &r->ops, kept, r) == OK ? WAIT : NEXT;
}
