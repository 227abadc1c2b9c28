/* Tickets for streams: what stands in a URL in place of a token (server/ticket.h). */
#include "server/api/orchestrator/resources.h"

#include "lib/crypto.h"
#include "server/audit.h"
#include "server/idempotency.h"
#include "server/request.h"
#include "server/settings.h"
#include "server/store/commit.h"
#include "server/ticket.h"
#include "server/worker.h"

struct making {
    struct request *r;
    struct commit commit;
    struct str data;
};

static void made(void *arg, const struct commit_result *result)
{
    struct making *m = arg;
    if (result->code != OK)
        reply_error(m->r, result->code);
    else
        reply_data(m->r, 201, m->data);
}

static struct str answer(struct request *r, const char *secret, int64_t expires_ms)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &r->arena, 160);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("expiresAt"));
    json_put_time(&o, expires_ms);
    json_key(&o, S("ticket"));
    json_put_z(&o, secret);
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

static enum flow create(struct request *r)
{
    char secret[ID_KEY_MAX];
    struct making *m = arena_new(&r->arena, struct making);
    if (m == NULL)
        return reply_error(r, SYS_OVERLOADED);
    m->r = r;
    commit_begin(&m->commit, &r->arena, (struct space){r->caller.partition, r->caller.tenant}, COMMIT_GROWS);
    ticket_add(&m->commit, r, secret);
    m->data = answer(r, secret, store_now_ms(r->worker->store) + r->worker->settings->stream_ticket_ttl);
    crypto_wipe(secret, sizeof secret);
    if (m->data.p == NULL)
        return reply_error(r, SYS_OVERLOADED);
    audit_add(&m->commit, r, &(struct audit_entry){.action = "stream-ticket.created", .resource = "stream-ticket"});
    idempotency_commit(r, &m->commit, &(struct idempotent_answer){.status = 201, .data = m->data, .secret = true});
    enum code c = store_commit(r->worker->store, &m->commit, &r->ops, made, m);
    return c == OK ? WAIT : reply_error(r, c);
}

// clang-format off
static const struct field fields[] = {
    {"ticket",    FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 64,
     .doc = "Give it as `?token=` when opening a stream, once, from any client. Shown only here."},
    {"expiresAt", FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED, .doc = "When it is too late to open one."},
    {0}};

static const struct route routes[] = {
    {POST, "/stream-tickets", create, .id = "createStreamTicket",
     .doc = "Make a ticket that opens one stream, for clients that cannot send headers. It gives what the caller may do, and is over after seconds.",
     .flags = ROUTE_ANYONE | ROUTE_NO_BODY | ROUTE_SECRET, .status = 201},
    ROUTE_END};
// clang-format on

const struct resource stream_ticket_resource = {
    .kind = "stream-ticket",
    .plural = "stream-tickets",
    .tag = "SYSTEM",
    .doc = "What opens one stream in place of a token.",
    .fields = fields,
    .routes = routes,
};
