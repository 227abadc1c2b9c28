/* The audit trail, read. Entries are not documents: they are in a stream whose ids are their sequence, so a page is
 * arithmetic, and a filter looks at each. */
#include "server/api/orchestrator/resources.h"

#include "server/audit.h"
#include "server/audit_tail.h"
#include "server/audit_verify.h"
#include "server/audit_chain.h"
#include "server/list.h"
#include "server/settings.h"
#include "server/store/store.h"
#include "server/worker.h"

#include <string.h>

static enum flow list_events(struct request *r);

// clang-format off
static const char *const actor_types[] = {"user", "agent", "system", "plugin", "client", NULL};

static const struct field fields[] = {
    {"id",                FIELD_UUID,   FIELD_REQUIRED | FIELD_SEARCH},
    {"sequence",          FIELD_INT,    FIELD_REQUIRED | FIELD_SORT, .doc = "Counts the tenant's entries, without gaps."},
    {"timestamp",         FIELD_TIME,   FIELD_REQUIRED | FIELD_SORT},
    {"tenantId",          FIELD_UUID,   FIELD_REQUIRED},
    {"actorType",         FIELD_ENUM,   FIELD_REQUIRED | FIELD_SEARCH, .choices = actor_types},
    {"actorId",           FIELD_STRING, FIELD_REQUIRED | FIELD_SEARCH, .max = 255},
    {"actorName",         FIELD_STRING, FIELD_REQUIRED | FIELD_SEARCH, .max = 255},
    {"actorIp",           FIELD_STRING, FIELD_SEARCH, .max = 64},
    {"action",            FIELD_STRING, FIELD_REQUIRED | FIELD_SEARCH, .max = 100, .doc = "environment.updated"},
    {"resource",          FIELD_STRING, FIELD_REQUIRED | FIELD_SEARCH, .max = 100},
    {"resourceId",        FIELD_STRING, FIELD_SEARCH, .max = 255},
    {"environmentId",     FIELD_UUID,   FIELD_SEARCH},
    {"releaseId",         FIELD_UUID,   FIELD_SEARCH},
    {"promotionId",       FIELD_UUID,   FIELD_SEARCH},
    {"before",            FIELD_OBJECT, .doc = "The document before; its size and hash when it is too large."},
    {"after",             FIELD_OBJECT, .doc = "The document after; its size and hash when it is too large."},
    {"metadata",          FIELD_OBJECT},
    {"previousEventHash", FIELD_STRING, FIELD_NULLABLE, .max = 64, .pattern = "^[0-9a-f]{64}$", .doc = "null until it is sealed."},
    {"eventHash",         FIELD_STRING, FIELD_NULLABLE, .max = 64, .pattern = "^[0-9a-f]{64}$",
     .doc = "SHA-256 of the event without this member, as canonical JSON (RFC 8785); null until it is sealed."},
    {0}};

static const struct field list_query[] = {
    {"afterSequence",  FIELD_INT, .min = 0, .max = INT64_MAX, .doc = "Only entries behind this one."},
    {"beforeSequence", FIELD_INT, .min = 1, .max = INT64_MAX, .doc = "Only entries before this one."},
    {0}};

static const struct route routes[] = {
    {GET, "/audit-events", list_events, "audit:read", "listAuditEvents",
     "List who changed what, newest first. Narrow long trails by sequence when filtering.", ROUTE_LIST, .query = list_query},
    {GET, "/audit-events/verify", audit_verify, "audit:read", "verifyAuditEvents",
     "Recompute the hash chain; names the first entry that breaks it, and those not yet sealed.",
     .query = audit_verify_query, .data = audit_verify_data},
    {GET, "/audit-events/export", audit_tail, "audit:read", "exportAuditEvents",
     "Sealed entries as lines of JSON, oldest first; with `follow` it goes on with what comes.", ROUTE_ENVELOPE_NONE | ROUTE_TAIL,
     .query = audit_tail_query, .media = "application/x-ndjson"},
    ROUTE_END};
// clang-format on

const struct resource audit_event_resource = {
    .kind = "audit-event",
    .plural = "audit-events",
    .tag = "RELEVI",
    .doc = "Who changed what, when and from where, in one hash chain.",
    .fields = fields,
    .routes = routes,
    .sort = "-timestamp",
};

struct listing {
    struct request *r;
    struct space space;
    struct list_query query;
    bool descending;
    int64_t from, to;     /* sequences that are left to look at; from > to: none */
    int64_t low;          /* of the slice under way */
    int64_t skip, wanted; /* matches before the page, matches still to come */
    int64_t matched;
    struct arena scratch;
    struct buf out;
};

static void close_scratch(void *p)
{
    arena_fini(p);
}

static struct str number(struct listing *l, int64_t n)
{
    return arena_int(&l->scratch, n);
}

static enum flow answer(struct listing *l)
{
    buf_char(&l->out, ']');
    if (l->query.filter != NULL)
        l->query.page.total = l->matched;
    return l->out.failed ? reply_error(l->r, SYS_OVERLOADED) : reply_list(l->r, buf_view(&l->out), &l->query.page);
}

/* Hashes of the slice and of the entry before it: 32 bytes each, as far as they are sealed. */
static bool set_hash(struct arena *a, struct json *event, const char *name, struct str hashes, int64_t i)
{
    struct json *value = json_new(a, JSON_NULL);
    static const uint8_t zeros[CRYPTO_HASH];
    const uint8_t *hash = i < 0 ? zeros : (const uint8_t *)hashes.p + i * CRYPTO_HASH;
    if (i < 0 || (i + 1) * CRYPTO_HASH <= (int64_t)hashes.n)
        value = json_new_str(a, audit_hex(a, hash));
    return json_set(a, event, str_z(name), value);
}

static enum code take(struct listing *l, const struct redis_value *entry, struct str hashes, int64_t first_hash)
{
    static const uint8_t none[CRYPTO_HASH];
    struct audit_link link;
    bool broken;
    arena_reset(&l->scratch);
    if (!audit_link_read(entry, &link))
        return OK; /* verify tells */
    struct json *event = audit_event(&l->scratch, &link, none, &broken);
    if (broken)
        return OK;
    int64_t at = link.sequence - first_hash;
    bool sealed = (at + 1) * CRYPTO_HASH <= (int64_t)hashes.n;
    if (event == NULL || !set_hash(&l->scratch, event, "eventHash", hashes, at) ||
        !set_hash(&l->scratch, event, "previousEventHash", hashes, sealed ? at - 1 : at))
        return SYS_OVERLOADED;
    if (!filter_match(l->query.filter, event) || l->matched++ < l->skip || l->wanted == 0)
        return OK;
    l->wanted--;
    if (l->out.n > 1)
        buf_char(&l->out, ',');
    json_write(&l->out, event);
    return OK;
}

static enum flow next_slice(struct listing *l);

static void got_slice(void *arg, enum code c, const struct redis_value *v)
{
    struct listing *l = arg;
    const struct redis_value *entries = redis_at(v, 0);
    struct str hashes = redis_text(redis_at(v, 1));
    int64_t first_hash = l->low > 1 ? l->low - 1 : 1;
    for (size_t i = 0; c == OK && i < entries->count; i++)
        c = take(l, redis_at(entries, i), hashes, first_hash);
    if (c != OK)
        reply_error(l->r, c);
    else
        next_slice(l);
}

/* XRANGE in either direction, with the hashes of what it covers and of the one before. */
static enum flow next_slice(struct listing *l)
{
    struct arena *a = &l->scratch;
    if (l->from > l->to || (l->query.filter == NULL && l->wanted == 0))
        return answer(l);
    int64_t low = l->descending ? l->to - AUDIT_SLICE + 1 : l->from, high = low + AUDIT_SLICE - 1;
    low = low < l->from ? l->from : low;
    high = high > l->to ? l->to : high;
    l->low = low;
    if (l->descending)
        l->to = low - 1;
    else
        l->from = high + 1;
    arena_reset(a);
    int64_t hash_from = low > 1 ? low - 1 : 1;
    const struct store_command commands[] = {
        STORE_COMMAND(l->descending ? S("XREVRANGE") : S("XRANGE"), key_audit(a, l->space),
                      number(l, l->descending ? high : low), number(l, l->descending ? low : high)),
        STORE_COMMAND(S("GETRANGE"), key_audit_sealed(a, l->space), number(l, (hash_from - 1) * CRYPTO_HASH),
                      number(l, high * CRYPTO_HASH - 1)),
    };
    enum code c = store_read(l->r->worker->store, commands, ARRAY_LEN(commands), &l->r->ops, got_slice, l);
    return c == OK ? WAIT : reply_error(l->r, c);
}

static enum flow too_broad(struct listing *l)
{
    int64_t n = l->to - l->from + 1;
    l->r->details = arena_printf(
        &l->r->arena, "{\"candidates\":%lld,\"limit\":%lld,\"indexedFields\":[\"afterSequence\",\"beforeSequence\"]}",
        (long long)n, (long long)l->r->worker->settings->list_examined);
    request_refuse(
        l->r, VAL_FILTER_TOO_BROAD,
        "%lld entries would have to be examined, %lld is the limit; narrow it by afterSequence and beforeSequence",
        (long long)n, (long long)l->r->worker->settings->list_examined);
    return reply_error(l->r, VAL_FILTER_TOO_BROAD);
}

/* Without a filter the page is arithmetic: sequences have no gaps. */
static void jump_to_page(struct listing *l)
{
    int64_t n = l->from > l->to ? 0 : l->to - l->from + 1, skip = l->skip < n ? l->skip : n;
    l->query.page.total = n;
    l->skip = 0;
    if (l->descending) {
        l->to -= skip;
        l->from = l->to - l->wanted + 1 > l->from ? l->to - l->wanted + 1 : l->from;
    } else {
        l->from += skip;
        l->to = l->from + l->wanted - 1 < l->to ? l->from + l->wanted - 1 : l->to;
    }
}

static void got_ends(void *arg, enum code c, const struct redis_value *v)
{
    struct listing *l = arg;
    struct audit_link first;
    const struct json *p = l->r->parameters;
    int64_t after = json_int(json_get(p, "afterSequence"), 0),
            before = json_int(json_get(p, "beforeSequence"), INT64_MAX);
    if (c != OK) {
        reply_error(l->r, c);
        return;
    }
    l->to = redis_int(redis_at(v, 0), 0);
    l->from = audit_link_read(redis_at(redis_at(v, 1), 0), &first) ? first.sequence : l->to + 1;
    l->from = after >= l->from ? (after < l->to ? after + 1 : l->to + 1) : l->from;
    l->to = before <= l->to ? before - 1 : l->to;
    if (l->query.filter == NULL)
        jump_to_page(l);
    else if (l->to - l->from + 1 > l->r->worker->settings->list_examined) {
        too_broad(l);
        return;
    }
    next_slice(l);
}

static enum flow list_events(struct request *r)
{
    struct listing *l = arena_new(&r->arena, struct listing);
    if (l == NULL)
        return reply_error(r, SYS_OVERLOADED);
    arena_init(&l->scratch, 0);
    if (!arena_defer(&r->arena, close_scratch, &l->scratch))
        return reply_error(r, SYS_OVERLOADED);
    enum code c = list_query_parse(r, &audit_event_resource, &l->query);
    if (c != OK)
        return reply_error(r, c);
    l->r = r;
    l->space = (struct space){r->caller.partition, r->caller.tenant};
    l->descending = l->query.sort.by[0].descending;
    l->skip = (l->query.page.page - 1) * l->query.page.size;
    l->wanted = l->query.page.size;
    buf_init_arena(&l->out, &r->arena, 4096);
    buf_char(&l->out, '[');
    const struct store_command commands[] = {
        STORE_COMMAND(S("GET"), key_audit_seq(&r->arena, l->space)),
        STORE_COMMAND(S("XRANGE"), key_audit(&r->arena, l->space), S("-"), S("+"), S("COUNT"), S("1")),
    };
    c = store_read(r->worker->store, commands, ARRAY_LEN(commands), &r->ops, got_ends, l);
    return c == OK ? WAIT : reply_error(r, c);
}
