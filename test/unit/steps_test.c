/* The steps of a request against a store that answers when the test says so: who is refused with what and in which order,
 * what is charged, what is held back, and that nothing is answered twice or after the client left. */
#include "server/request.h"

#include "lib/clock.h"
#include "lib/id.h"
#include "lib/keyring.h"
#include "lib/must.h"
#include "proto/http.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/conn.h"
#include "server/credit.h"
#include "server/dialect.h"
#include "server/list.h"
#include "server/principal.h"
#include "server/router.h"
#include "server/scope.h"
#include "server/settings.h"
#include "server/store/admit.h"
#include "server/store/commit.h"
#include "server/ticket.h"
#include "server/worker.h"
#include "test/lib/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TENANT "0192f7a0-0000-7000-8000-000000000002"

/* --- the rows --- */

static struct request *handled; /* the request whose handler ran last */
static unsigned handles;

static enum flow handle(struct request *r)
{
    handled = r;
    handles++;
    return reply_data(r, 200, S("{\"ok\":true}"));
}

static enum flow create(struct request *r)
{
    handled = r;
    handles++;
    return reply_created(r, S("id-1"), S("{\"id\":\"id-1\"}"), 1);
}

static enum flow wait(struct request *r)
{
    handled = r;
    handles++;
    return WAIT;
}

static const struct field thing_fields[] = {
    {"name", FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 8},
    {"size", FIELD_INT, .max = 9, .min = 1},
    {0},
};
static const struct field query_fields[] = {{"depth", FIELD_INT, .min = 1, .max = 5}, {"deep", FIELD_BOOL}, {0}};
// clang-format off
static const struct route routes[] = {
    {GET,  "/things",          handle, "environment:read",   "list", .query = query_fields},
    {POST, "/things",          create, "environment:create", "create", .status = 201},
    {GET,  "/things/{id}",     wait,   "environment:read",   "get"},
    {POST, "/things/{id}/act", wait,   "workflow:execute",   "act", .flags = ROUTE_NO_BODY},
    {POST, "/beat",            handle, "agent:connect",      "beat", .flags = ROUTE_NO_BODY | ROUTE_NO_RATE},
    {GET,  "/open",            handle, NULL,                 "open", .flags = ROUTE_PUBLIC},
    ROUTE_END};
// clang-format on
static const struct resource thing = {.kind = "thing", .plural = "things", .fields = thing_fields, .routes = routes};
const struct resource *const resources[] = {&thing, NULL};
static const struct resource *const nothing[] = {NULL};
const struct dialect dialect_system = {.name = "system",
                                       .base = "",
                                       .resources = nothing,
                                       .write_data = dialect_orchestrator_data,
                                       .open = true,
                                       .write_error = dialect_orchestrator_error,
                                       .write_challenge = dialect_bearer};
const struct dialect *const dialects[] = {&dialect_orchestrator, &dialect_system, NULL};

bool list_query_check(struct request *r, const struct resource *of, struct faults *faults)
{
    (void)r, (void)of, (void)faults;
    return true;
}
bool list_parameter(const struct dialect *d, const struct resource *of, struct str name)
{
    (void)d, (void)of, (void)name;
    return false;
}

/* --- the connection --- */

static struct sent {
    unsigned count;
    int status;
    char fields[4096], body[4096];
} sent;
static bool body_wanted;

bool conn_surplus(const struct conn *c)
{
    (void)c;
    return false;
}

bool conn_secure(const struct conn *c)
{
    (void)c;
    return false;
}

void conn_send(struct conn *c, int status, struct str fields, struct str body)
{
    (void)c;
    sent.count++;
    sent.status = status;
    snprintf(sent.fields, sizeof sent.fields, STR_FMT, STR_ARG(fields));
    snprintf(sent.body, sizeof sent.body, STR_FMT, STR_ARG(body));
}

bool conn_want_body(struct conn *c, uint64_t max)
{
    (void)c, (void)max;
    body_wanted = true;
    return false;
}

/* Large bodies and answers are the connection's business; no request here has one. */
bool conn_stream_body(struct conn *c, uint64_t max, const struct conn_sink *sink, void *arg)
{
    (void)c, (void)max, (void)sink, (void)arg;
    fail();
    return false;
}

void conn_body_room(struct conn *c)
{
    (void)c;
    fail();
}

bool conn_send_begin(struct conn *c, int status, struct str fields, uint64_t length, void (*on_room)(void *arg),
                     void *arg)
{
    (void)c, (void)status, (void)fields, (void)length, (void)on_room, (void)arg;
    fail();
    return false;
}

void conn_send_piece(struct conn *c, struct str bytes)
{
    (void)c, (void)bytes;
    fail();
}

void conn_send_abort(struct conn *c)
{
    (void)c;
    fail();
}

/* --- the store: what was asked, and the answer when the test gives it --- */

static struct asked {
    bool waiting, with_credential, optional;
    char credential[65], caller[80], tenant[40];
    int64_t cost, used;
    bool with_key;
    char fingerprint[65];
    struct op op;
    admit_then *admit;
    commit_then *commit;
    void *arg;
} asked;
static enum code store_refuses;
static unsigned trips;

static void copy(char *to, size_t room, struct str from)
{
    snprintf(to, room, STR_FMT, STR_ARG(from));
}

enum code store_admit(struct store *s, struct arena *scratch, const struct admission *in, struct ops *asker,
                      admit_then *then, void *arg)
{
    (void)s, (void)scratch;
    if (store_refuses != OK)
        return store_refuses;
    assert_false(asked.waiting);
    trips++;
    asked = (struct asked){.waiting = true,
                           .with_credential = in->credential.p != NULL,
                           .optional = in->optional,
                           .cost = in->cost,
                           .used = in->credit.used,
                           .with_key = in->idempotency.hash.p != NULL,
                           .admit = then,
                           .arg = arg};
    copy(asked.credential, sizeof asked.credential, in->credential);
    copy(asked.caller, sizeof asked.caller, in->caller);
    copy(asked.tenant, sizeof asked.tenant, in->space.tenant);
    copy(asked.fingerprint, sizeof asked.fingerprint, in->idempotency.fingerprint);
    op_begin(&asked.op, asker);
    return OK;
}

static const struct redis_value *value(struct arena *a, const char *text)
{
    struct redis_value *v = arena_new(a, struct redis_value);
    assert_non_null(v);
    *v = (struct redis_value){.type = REDIS_STRING, .text = str_z(text)};
    return v;
}

static struct arena replies;

static const struct redis_value *hash(const char *const *texts, size_t n)
{
    struct redis_value *v = arena_new(&replies, struct redis_value);
    const struct redis_value **items = arena_array(&replies, n, sizeof *items);
    must(v != NULL && items != NULL);
    for (size_t i = 0; i < n; i++)
        items[i] = value(&replies, texts[i]);
    *v = (struct redis_value){.type = REDIS_ARRAY, .count = n, .items = items};
    return v;
}
#define HASH(...) hash((const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

static void answer(enum code c, struct admitted a)
{
    assert_true(asked.waiting);
    asked.waiting = false;
    if (op_finish(&asked.op))
        asked.admit(asked.arg, c, &a);
}

static struct admitted admitted_as(const char *roles)
{
    return (struct admitted){
        .now_ms = 1000,
        .revoked = 7,
        .credential = HASH("kind", "key", "tenant", TENANT, "id", "k1", "name", "A key", "tier", "1", "roles", roles,
                           "expires", "0"),
        .limit = 5000,
        .remaining = 4999,
        .reset_ms = 61000,
        .burst = 500,
        .burst_remaining = 499,
    };
}

static struct committed {
    bool removed;
    unsigned expected; /* of the record, before */
    char record[256], fields[1024];
} committed;

void commit_begin(struct commit *c, struct arena *a, struct space space, unsigned flags)
{
    (void)space, (void)flags;
    *c = (struct commit){.arena = a};
    committed = (struct committed){0};
}
void commit_expect_field(struct commit *c, enum code refused, const char *label, struct str key, struct str field,
                         struct str wanted)
{
    (void)c, (void)refused, (void)label, (void)key, (void)field, (void)wanted;
    committed.expected++;
}
void commit_hset(struct commit *c, struct str key, struct str field, struct str content)
{
    (void)c, (void)key, (void)field, (void)content;
}

void commit_hset_all(struct commit *c, struct str key, const struct commit_field *fields, size_t n)
{
    for (size_t i = 0; i < n; i++)
        commit_hset(c, key, fields[i].name, fields[i].value);
}
void commit_expire(struct commit *c, struct str key, int64_t ttl_ms)
{
    (void)c, (void)key, (void)ttl_ms;
}
void commit_remove(struct commit *c, struct str key)
{
    (void)c;
    committed.removed = true;
    copy(committed.record, sizeof committed.record, key);
}
void commit_idempotency(struct commit *c, struct str key, struct str owner, int64_t keep_ms, const struct str *fields,
                        size_t n, const struct commit_answer *of)
{
    (void)c, (void)owner, (void)keep_ms, (void)of;
    size_t at = 0;
    copy(committed.record, sizeof committed.record, key);
    for (size_t i = 0; i < n && at < sizeof committed.fields; i++)
        at += (size_t)snprintf(committed.fields + at, sizeof committed.fields - at, "%s" STR_FMT, i == 0 ? "" : "|",
                               STR_ARG(fields[i]));
}
enum code store_commit(struct store *s, struct commit *c, struct ops *asker, commit_then *then, void *arg)
{
    (void)s, (void)c;
    assert_false(asked.waiting);
    trips++;
    asked = (struct asked){.waiting = true, .commit = then, .arg = arg};
    op_begin(&asked.op, asker);
    return OK;
}
static void commit_answer(void)
{
    const struct commit_result ok = {.code = OK};
    assert_true(asked.waiting);
    asked.waiting = false;
    if (op_finish(&asked.op))
        asked.commit(asked.arg, &ok);
}

/* Narrowed permissions are asked about in the store, and tested over HTTP (test/api/scope). */
bool scope_enter(struct request *r)
{
    (void)r;
    return false;
}
enum flow scope_step(struct request *r)
{
    (void)r;
    return NEXT;
}
bool scope_open(const struct request *r)
{
    (void)r;
    return false;
}

/* Tickets are tested over HTTP (test/api/tickets). */
void ticket_take(struct arena *a, unsigned partition, struct str hex, struct store_command out[TICKET_COMMANDS])
{
    (void)a, (void)partition, (void)hex, (void)out;
}
bool ticket_taken(struct arena *a, unsigned partition, const struct redis_value *v, struct caller *out)
{
    (void)a, (void)partition, (void)v, (void)out;
    return false;
}

/* Refusals are audited by a commit of their own, which is not what is looked at here. */
void audit_refused(struct request *r, enum code c, struct str message)
{
    (void)r, (void)c, (void)message;
}

/* --- a request --- */

static struct fixture {
    char ring_path[64];
    struct settings settings;
    struct process process;
    struct worker worker;
    struct http_parser parser;
    struct request *request;
    char key[ID_KEY_MAX];
} * f;

static int setup(void **state)
{
    char error[256];
    (void)state;
    f = calloc(1, sizeof *f);
    sent = (struct sent){0};
    asked = (struct asked){0};
    handles = trips = 0;
    store_refuses = OK;
    arena_init(&replies, 0);
    snprintf(f->ring_path, sizeof f->ring_path, "/tmp/slipway-steps-%ld", (long)getpid());
    f->settings.keyring = keyring_open(f->ring_path, true, error);
    assert_non_null(f->settings.keyring);
    f->settings.public_url = "";
    f->settings.listen = "127.0.0.1:8080";
    f->settings.issuer = f->settings.audience = "slipway";
    f->settings.token_ttl_max = 86400000;
    f->settings.query_token_ttl_max = 3600000;
    f->settings.body_max = 1000;
    f->settings.json_depth = 32;
    f->settings.json_nodes = 1000;
    f->settings.request_memory = 1 << 20;
    f->settings.request_timeout = 10000;
    f->settings.address_rate = (struct tier){60000, 50};
    f->settings.tiers[TIER_STANDARD] = (struct tier){1000, 100};
    f->settings.tiers[TIER_PREMIUM] = (struct tier){5000, 500};
    f->settings.router = router_new(dialects, error);
    assert_non_null(f->settings.router);
    f->worker.settings = &f->settings;
    f->worker.process = &f->process;
    f->worker.limit = limit_new(&f->settings);
    f->worker.principals = principals_new();
    f->process.count = 1;
    f->settings.auth_trust = 500;
    f->worker.credits = credits_new(&f->worker);
    id_key("slp", 11, f->key);
    http_parser_init(&f->parser, HTTP_SERVER, &http_limits_default);
    return 0;
}

static void end(void)
{
    if (f->request == NULL)
        return;
    request_end(f->request);
    arena_fini(&f->request->arena);
    free(f->request);
    f->request = NULL;
    http_parser_fini(&f->parser);
    http_parser_init(&f->parser, HTTP_SERVER, &http_limits_default);
}

static int teardown(void **state)
{
    (void)state;
    end();
    router_free((struct router *)(uintptr_t)f->settings.router);
    credits_free(f->worker.credits);
    limit_free(f->worker.limit);
    principals_free(f->worker.principals);
    keyring_free(f->settings.keyring);
    http_parser_fini(&f->parser);
    unlink(f->ring_path);
    arena_fini(&replies);
    free(f);
    return 0;
}

/* Starts a request; `text` is the head without its last empty line, `body` what follows. */
static void start(const char *text, const char *body)
{
    char head[4096], whole[8192];
    end();
    sent = (struct sent){0};
    body_wanted = false;
    int n = snprintf(head, sizeof head, "%s\r\nHost: x\r\n", text);
    if (body != NULL)
        snprintf(head + n, sizeof head - (size_t)n, "Content-Length: %zu\r\n", strlen(body));
    snprintf(whole, sizeof whole, "%s\r\n", head);
    struct str in = str_z(whole);
    assert_int_equal(http_feed(&f->parser, &in), HTTP_GOT_HEAD);
    f->request = calloc(1, sizeof *f->request);
    assert_non_null(f->request);
    f->request->worker = &f->worker;
    f->request->head = &f->parser.head;
    f->request->address = S("192.0.2.7");
    request_start(f->request);
    if (body_wanted && body != NULL)
        request_body(f->request, str_z(body));
}

static const char *with_key(const char *line)
{
    static char text[1024];
    snprintf(text, sizeof text, "%s HTTP/1.1\r\nAuthorization: Bearer %s", line, f->key);
    return text;
}

/* The same caller as before, looked up already. */
static void know(const char *roles)
{
    start(with_key("GET /api/v1/things"), NULL);
    answer(OK, admitted_as(roles));
    assert_int_equal(sent.status, 200);
}

static void was(int status, const char *code)
{
    assert_int_equal(sent.count, 1);
    assert_int_equal(sent.status, status);
    if (code != NULL)
        assert_non_null(strstr(sent.body, code));
}

static void a_key_is_looked_up_once_and_charged_each_time(void **state)
{
    (void)state;
    start(with_key("GET /api/v1/things"), NULL);
    assert_int_equal(sent.count, 0);
    assert_int_equal(handles, 0); /* nobody known: nothing is done for them yet */
    assert_true(asked.with_credential && !asked.optional);
    assert_int_equal(asked.cost, 1);
    answer(OK, admitted_as("viewer"));
    was(200, "\"success\":true");
    assert_non_null(
        strstr(sent.fields, "X-RateLimit-Limit: 5000\r\nX-RateLimit-Remaining: 4999\r\nX-RateLimit-Reset: 61\r\n"));
    start(with_key("GET /api/v1/things"), NULL);
    assert_false(asked.with_credential);
    assert_string_equal(asked.caller, "key:k1");
    assert_string_equal(asked.tenant, TENANT);
    assert_int_equal(asked.cost, 1);
    assert_int_equal(trips, 2);
    answer(OK, admitted_as("viewer"));
    was(200, NULL);
}

static void a_known_caller_on_credit_needs_no_trip(void **state)
{
    struct loop *loop = &f->worker.loop;
    (void)state;
    assert_int_equal(loop_init(loop), 0);
    know("admin");
    start(with_key("GET /api/v1/things"), NULL);
    struct admitted a = admitted_as("admin");
    a.granted = 2;
    answer(OK, a);
    assert_int_equal(trips, 2);
    start(with_key("GET /api/v1/things"), NULL);
    was(200, "\"ok\":true");
    assert_non_null(strstr(sent.fields, "X-RateLimit-Limit: 5000\r\nX-RateLimit-Remaining: 4998\r\n"));
    start(with_key("POST /api/v1/things/7/act"), NULL); /* a change as well */
    reply_data(f->request, 200, S("1"));
    assert_non_null(strstr(sent.fields, "X-RateLimit-Remaining: 4997\r\n"));
    assert_int_equal(trips, 2);
    start(with_key("GET /api/v1/things"), NULL); /* both are used */
    assert_int_equal(trips, 3);
    assert_int_equal(asked.used, 2);
    assert_int_equal(asked.cost, 1);
    a.revoked++; /* what was granted is good for nothing once the caller must be looked at again */
    answer(OK, a);
    assert_true(asked.with_credential);
    answer(OK, admitted_as("admin"));
    was(200, NULL);
    end();
    credits_free(f->worker.credits);
    f->worker.credits = NULL;
    loop_fini(loop);
}

static void a_reading_handler_runs_beside_its_admission_and_its_answer_is_held(void **state)
{
    (void)state;
    know("viewer");
    start(with_key("GET /api/v1/things"), NULL);
    assert_int_equal(handles, 2); /* it ran */
    assert_int_equal(sent.count, 0);
    answer(OK, admitted_as("viewer"));
    was(200, "\"ok\":true");
    start(with_key("GET /api/v1/things/7"), NULL); /* this one is slower than its admission */
    answer(OK, admitted_as("viewer"));
    assert_int_equal(sent.count, 0);
    reply_data(f->request, 200, S("1"));
    was(200, "\"data\":1");
}

static void a_refused_admission_takes_the_held_answer_back(void **state)
{
    (void)state;
    know("viewer");
    start(with_key("GET /api/v1/things"), NULL);
    struct admitted a = admitted_as("viewer");
    a.verdict = ADMIT_LIMITED;
    a.remaining = 0;
    a.retry_after_ms = 2500;
    answer(OK, a);
    was(429, "RATE_LIMIT_EXCEEDED");
    assert_null(strstr(sent.body, "\"ok\""));
    assert_non_null(strstr(sent.fields, "Retry-After: 3\r\n"));
    assert_non_null(strstr(sent.body, "{\"retryAfterSeconds\":3,\"tier\":\"premium\"}"));
}

static void a_change_waits_for_its_admission(void **state)
{
    (void)state;
    know("admin");
    start(with_key("POST /api/v1/things/7/act"), NULL);
    assert_int_equal(handles, 1);
    answer(OK, admitted_as("admin"));
    assert_int_equal(handles, 2);
    assert_true(str_eq(handled->params[0], S("7")));
}

static void what_was_revoked_meanwhile_is_looked_up_again(void **state)
{
    (void)state;
    know("admin");
    start(with_key("GET /api/v1/things"), NULL);
    struct admitted a = admitted_as("admin");
    a.revoked = 8; /* something in the partition was */
    answer(OK, a);
    assert_true(asked.waiting && asked.with_credential);
    assert_int_equal(asked.cost, 0); /* charged already */
    a.verdict = ADMIT_REVOKED;
    answer(OK, a);
    was(401, "AUTH_TOKEN_REVOKED");
    know("viewer"); /* not remembered */
    start(with_key("GET /api/v1/things"), NULL);
    a = admitted_as("viewer");
    a.revoked = 9;
    answer(OK, a);
    answer(OK, a); /* it was another's: go on */
    was(200, NULL);
}

static void verdicts_have_their_codes(void **state)
{
    (void)state;
    static const struct {
        enum admit_verdict verdict;
        int status;
        const char *code;
    } cases[] = {
        {ADMIT_UNKNOWN, 401, "AUTH_API_KEY_INVALID"}, {ADMIT_EXPIRED, 401, "AUTH_TOKEN_EXPIRED"},
        {ADMIT_REVOKED, 401, "AUTH_TOKEN_REVOKED"},   {ADMIT_LIMITED, 429, "RATE_LIMIT_EXCEEDED"},
        {ADMIT_BUILDS, 429, "RATE_BUILDS_EXCEEDED"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        id_key("slp", 11, f->key);
        start(with_key("GET /api/v1/things"), NULL);
        struct admitted a = admitted_as("viewer");
        a.verdict = cases[i].verdict;
        answer(OK, a);
        was(cases[i].status, cases[i].code);
    }
    start(with_key("GET /api/v1/things"), NULL);
    if (asked.waiting)
        answer(SYS_STORAGE, (struct admitted){0});
    was(503, "SYS_STORAGE");
    assert_non_null(strstr(sent.fields, "Retry-After: 1\r\n"));
    store_refuses = SYS_STORAGE;
    start(with_key("GET /api/v1/things"), NULL);
    was(503, "SYS_STORAGE");
}

static void garbage_never_reaches_the_store(void **state)
{
    (void)state;
    static const char *const tokens[] = {"",
                                         "\r\nAuthorization: Basic x",
                                         "\r\nAuthorization: Bearer",
                                         "\r\nAuthorization: Bearer x",
                                         "\r\nAuthorization: Bearer slp_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                                         "\r\nAuthorization: Bearer aaaa.bbbb.cccc"};
    for (size_t i = 0; i < ARRAY_LEN(tokens); i++) {
        char head[256];
        snprintf(head, sizeof head, "GET /api/v1/things HTTP/1.1%s", tokens[i]);
        start(head, NULL);
        was(401, "AUTH_");
        assert_non_null(strstr(sent.fields, "WWW-Authenticate: Bearer"));
        assert_non_null(strstr(sent.fields, "X-RateLimit-Limit: 60000\r\n")); /* the address's bucket */
    }
    assert_int_equal(trips, 0);
}

static void who_is_asked_before_where(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        int known, unknown;
    } cases[] = {
        {"GET /api/v1/nothing", 404, 401},
        {"PUT /api/v1/things", 405, 401},
        {"OPTIONS /api/v1/things", 204, 401},
        {"GET /nothing", 404, 404},
        {"PUT /nothing", 404, 404},
        {"GET /api/v1/open", 200, 200},
        {"DELETE /api/v1/open", 405, 401},
        {"GET /api/v1/things?a=%zz", 400, 401},
        {"GET /api/v1/things?nope=1", 400, 401},
        {"GET /api/v1x/things", 404, 404},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char head[256];
        snprintf(head, sizeof head, "%s HTTP/1.1", cases[i].line);
        start(head, NULL);
        was(cases[i].unknown, NULL);
        start(with_key(cases[i].line), NULL);
        if (asked.waiting)
            answer(OK, admitted_as("viewer"));
        was(cases[i].known, NULL);
        if (sent.status == 405)
            assert_non_null(strstr(sent.fields, "\r\nAllow: GET, HEAD"));
    }
}

static void permissions_are_asked_after_the_charge(void **state)
{
    (void)state;
    start(with_key("POST /api/v1/things"), "{\"name\":\"a\"}");
    answer(OK, admitted_as("viewer"));
    was(403, "PERM_DENIED");
    assert_non_null(strstr(sent.body, "{\"required\":\"environment:create\"}"));
    assert_non_null(strstr(sent.fields, "X-RateLimit-Remaining: 4999\r\n"));
    assert_false(body_wanted);
    assert_int_equal(handles, 0);
    start(with_key("POST /api/v1/beat"), NULL);
    assert_int_equal(asked.cost, 0);
    answer(OK, admitted_as("viewer"));
    was(403, "agent:connect");
}

static void post(const char *more, const char *body)
{
    char line[2048];
    snprintf(line, sizeof line, "%s%s", with_key("POST /api/v1/things"), more);
    start(line, body);
    answer(OK, admitted_as("admin"));
    if (body_wanted && !f->request->has_whole_body)
        request_body(f->request, str_z(body));
}

static void bodies_are_checked_in_order_and_whole(void **state)
{
    (void)state;
    static const char json[] = "\r\nContent-Type: application/json";
    post(json, "{\"name\":\"a\"}");
    was(201, "\"data\":{\"id\":\"id-1\"}");
    assert_non_null(strstr(sent.fields, "Location: /api/v1/things/id-1\r\nETag: \"1\"\r\n"));
    static const struct {
        const char *more, *body;
        int status;
        const char *want;
    } cases[] = {
        {"", "{}", 415, "RES_UNSUPPORTED_MEDIA_TYPE"},
        {"\r\nContent-Type: text/json", "{}", 415, "RES_UNSUPPORTED_MEDIA_TYPE"},
        {"\r\nContent-Type: application/json; charset=latin1", "{}", 415, "RES_UNSUPPORTED_MEDIA_TYPE"},
        {"\r\nContent-Type: APPLICATION/JSON; charset=UTF-8", "{\"name\":\"b\"}", 201, "id-1"},
        {json, NULL, 400, "VAL_MALFORMED_JSON"},
        {json, "{\"name\":}", 400, "\"offset\":9"},
        {json, "[]", 400, "VAL_INVALID_TYPE"},
        {json, "{\"size\":10,\"x\":1}", 400, "VAL_UNKNOWN_FIELD"},
        {json, "{\"size\":10,\"x\":1}", 400, "VAL_OUT_OF_RANGE"},
        {json, "{\"size\":10,\"x\":1}", 400, "VAL_REQUIRED"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        post(cases[i].more, cases[i].body);
        if (strstr(sent.body, cases[i].want) == NULL)
            print_message("%s\n", sent.body);
        was(cases[i].status, cases[i].want);
    }
}

static void query_parameters_are_typed_and_their_faults_named(void **state)
{
    (void)state;
    know("viewer");
    static const struct {
        const char *query;
        int status;
        const char *want;
    } cases[] = {
        {"depth=3&deep=true", 200, "ok"},           {"depth=9", 400, "\"field\":\"query.depth\""},
        {"depth=x", 400, "VAL_INVALID_TYPE"},       {"deep=1", 400, "\"field\":\"query.deep\""},
        {"depth=1&depth=2", 400, "more than once"}, {"a=1&b=2&a=3", 400, "\"field\":\"query.b\""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char line[128];
        snprintf(line, sizeof line, "GET /api/v1/things?%s", cases[i].query);
        start(with_key(line), NULL);
        answer(OK, admitted_as("viewer"));
        was(cases[i].status, cases[i].want);
        if (cases[i].status == 200) {
            assert_int_equal(json_int(json_get(f->request->parameters, "depth"), 0), 3);
            assert_true(json_bool(json_get(f->request->parameters, "deep"), false));
        }
    }
}

static void an_idempotent_change_claims_first_and_is_kept_after(void **state)
{
    (void)state;
    static const char more[] = "\r\nContent-Type: application/json\r\nIdempotency-Key: k";
    post(more, "{\"name\":\"a\"}");
    assert_int_equal(sent.count, 0);
    assert_true(asked.with_key);
    assert_int_equal(asked.cost, 0);
    answer(OK, (struct admitted){.replay = ADMIT_CLAIMED});
    assert_int_equal(handles, 1);
    assert_int_equal(sent.count, 0); /* kept before it goes out: no commit of its own closed it */
    assert_string_equal(committed.fields, "status|201|revision|1|location|/api/v1/things/id-1|data|{\"id\":\"id-1\"}");
    commit_answer();
    was(201, "id-1");
    post(more, "{\"name\":\"a\"}");
    answer(OK, (struct admitted){
                   .replay = ADMIT_REPLAY,
                   .record = HASH("status", "201", "revision", "1", "location", "/l", "data", "{\"id\":\"id-1\"}")});
    was(201, "\"data\":{\"id\":\"id-1\"}");
    assert_non_null(strstr(sent.fields, "Idempotency-Replayed: true\r\n"));
    assert_non_null(strstr(sent.fields, "ETag: \"1\"\r\n"));
    assert_non_null(strstr(sent.fields, "Location: /l\r\n"));
    assert_int_equal(handles, 1);
}

static void idempotency_conflicts_have_their_codes(void **state)
{
    (void)state;
    static const char more[] = "\r\nContent-Type: application/json\r\nIdempotency-Key: k";
    post(more, "{\"name\":\"a\"}");
    answer(OK, (struct admitted){.replay = ADMIT_OTHER});
    was(409, "RES_IDEMPOTENCY_CONFLICT");
    post(more, "{\"name\":\"a\"}");
    answer(OK, (struct admitted){.replay = ADMIT_IN_PROGRESS});
    was(409, "RES_IDEMPOTENCY_IN_PROGRESS");
    assert_non_null(strstr(sent.fields, "Retry-After: 1\r\n"));
    post(more, "{\"name\":\"a\"}");
    answer(OK,
           (struct admitted){.replay = ADMIT_REPLAY,
                             .record = HASH("code", "RES_ALREADY_EXISTS", "message", "taken", "details", "{\"a\":1}",
                                            "faults", "[{\"field\":\"name\",\"message\":\"m\",\"code\":\"VAL_X\"}]")});
    was(409, "\"code\":\"RES_ALREADY_EXISTS\",\"message\":\"taken\",\"details\":{\"a\":1},\"validationErrors\":[{"
             "\"field\":\"name\"");
    assert_non_null(strstr(sent.fields, "Idempotency-Replayed: true\r\n"));
    assert_int_equal(handles, 0);
}

static void refusals_of_the_state_are_kept_and_faults_give_the_claim_back(void **state)
{
    (void)state;
    static const struct {
        enum code code;
        bool kept;
    } cases[] = {{RES_ALREADY_EXISTS, true}, {WF_INPUT_MISSING, true}, {RES_NOT_FOUND, true},       {VAL_FAILED, false},
                 {PERM_DENIED, false},       {SYS_STORAGE, false},     {RATE_LIMIT_EXCEEDED, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        start("POST /api/v1/things/7/act HTTP/1.1", NULL);
        char line[2048];
        snprintf(line, sizeof line, "%s\r\nIdempotency-Key: k", with_key("POST /api/v1/things/7/act"));
        start(line, NULL);
        answer(OK, admitted_as("admin"));
        answer(OK, (struct admitted){.replay = ADMIT_CLAIMED});
        request_refuse(f->request, cases[i].code, "because");
        reply_error(f->request, cases[i].code);
        assert_int_equal(sent.count, 0);
        assert_int_equal(committed.removed, !cases[i].kept);
        assert_int_equal(committed.expected, cases[i].kept ? 0 : 2); /* that it is a claim, and ours */
        if (cases[i].kept)
            assert_non_null(strstr(committed.fields, "|message|because"));
        commit_answer();
        was(code_status(cases[i].code), code_name(cases[i].code));
    }
}

static void fingerprints_tell_bodies_and_paths_apart(void **state)
{
    (void)state;
    char first[65];
    static const char more[] = "\r\nContent-Type: application/json\r\nIdempotency-Key: k";
    post(more, "{\"name\":\"a\"}");
    memcpy(first, asked.fingerprint, sizeof first);
    assert_int_equal(strlen(first), 64);
    asked.waiting = false;
    op_finish(&asked.op);
    post(more, "{\"name\":\"b\"}");
    assert_string_not_equal(first, asked.fingerprint);
    asked.waiting = false;
    op_finish(&asked.op);
    post(more, "{\"name\":\"a\"}");
    assert_string_equal(first, asked.fingerprint);
    asked.waiting = false;
    op_finish(&asked.op);
}

static void a_client_that_left_is_not_answered(void **state)
{
    (void)state;
    uint64_t orphans = op_orphans;
    start(with_key("GET /api/v1/things"), NULL);
    end();
    answer(OK, admitted_as("viewer"));
    assert_int_equal(sent.count, 0);
    assert_int_equal(op_orphans, orphans + 1);
    know("viewer");
    start(with_key("GET /api/v1/things"), NULL);
    end();
    answer(OK, admitted_as("viewer"));
    assert_int_equal(sent.count, 0);
}

static void a_fault_below_the_steps_is_the_one_answer(void **state)
{
    (void)state;
    start(with_key("POST /api/v1/things/7/act"), NULL);
    request_fault(f->request, SYS_TIMEOUT, "too late");
    was(503, "too late");
    answer(OK, admitted_as("admin"));
    request_fault(f->request, SYS_TIMEOUT, NULL);
    was(503, "SYS_TIMEOUT");
    assert_int_equal(handles, 0);
    end();
    struct request *bare = calloc(1, sizeof *bare);
    bare->worker = &f->worker;
    sent = (struct sent){0};
    request_fault(bare, VAL_MALFORMED_HTTP, "no");
    was(400, "VAL_MALFORMED_HTTP");
    assert_non_null(strstr(sent.fields, "X-Request-ID: "));
    request_end(bare);
    arena_fini(&bare->arena);
    free(bare);
}

static void a_token_is_verified_here_and_looked_up_for_its_revocation(void **state)
{
    (void)state;
    struct buf token = {0};
    char line[4096];
    auth_agent_token(&f->settings, &token, S(TENANT), S("0192f7a0-0000-7000-8000-00000000000a"), S("agent one"),
                     clock_wall_ms(), 60000);
    snprintf(line, sizeof line, "POST /api/v1/beat HTTP/1.1\r\nAuthorization: Bearer " STR_FMT,
             STR_ARG(buf_view(&token)));
    start(line, NULL);
    assert_true(asked.with_credential && asked.optional);
    assert_string_equal(asked.caller, "agent:0192f7a0-0000-7000-8000-00000000000a");
    assert_string_equal(asked.tenant, TENANT);
    struct admitted a = admitted_as("");
    a.credential = NULL;
    answer(OK, a);
    was(200, NULL);
    assert_int_equal(f->request->caller.type, CALLER_AGENT);
    assert_true(str_eq(f->request->caller.name, S("agent one")));
    start(line, NULL);
    assert_false(asked.with_credential);
    a.revoked = 8;
    answer(OK, a);
    a.verdict = ADMIT_REVOKED;
    answer(OK, a);
    was(403, "AGT_REVOKED");
    buf_free(&token);
}

static void one_request(void *arg)
{
    (void)arg;
    static const char more[] = "\r\nContent-Type: application/json\r\nIdempotency-Key: k";
    char line[2048];
    snprintf(line, sizeof line, "%s%s", with_key("POST /api/v1/things"), more);
    sent = (struct sent){0};
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL)
        return;
    r->worker = &f->worker;
    r->head = &f->parser.head;
    r->address = S("192.0.2.7");
    request_start(r);
    if (asked.waiting)
        answer(OK, *(struct admitted *)arg);
    if (r->wants_body)
        request_body(r, S("{\"name\":\"a\"}"));
    if (asked.waiting && asked.with_key)
        answer(OK, (struct admitted){.replay = ADMIT_CLAIMED});
    if (asked.waiting)
        commit_answer();
    assert_int_equal(sent.count, 1); /* whatever failed, there is an answer, and one */
    if (sent.status != 201 && sent.status != 503)
        print_message("%s\n", sent.body);
    assert_true(sent.status == 201 || sent.status == 503);
    if (!fault_fired())
        assert_int_equal(sent.status, 201);
    request_end(r);
    arena_fini(&r->arena);
    free(r);
}

/* A known caller's read: the handler runs beside the admission. */
static void one_read(void *arg)
{
    sent = (struct sent){0};
    struct request *r = calloc(1, sizeof *r);
    if (r == NULL)
        return;
    r->worker = &f->worker;
    r->head = &f->parser.head;
    r->address = S("192.0.2.7");
    request_start(r);
    if (asked.waiting)
        answer(OK, *(struct admitted *)arg);
    assert_int_equal(sent.count, 1);
    if (sent.status != 200 && sent.status != 503)
        print_message("%s\n", sent.body);
    assert_true(sent.status == 200 || sent.status == 503);
    if (!fault_fired())
        assert_int_equal(sent.status, 200);
    request_end(r);
    arena_fini(&r->arena);
    free(r);
}

static void a_read_survives_every_failed_allocation(void **state)
{
    (void)state;
    know("viewer");
    start(with_key("GET /api/v1/things?depth=2"), NULL);
    struct admitted a = admitted_as("viewer");
    answer(OK, a);
    assert_true(fault_each(one_read, &a) > 0);
}

static void a_token_survives_every_failed_allocation(void **state)
{
    (void)state;
    struct buf token = {0};
    char line[4096];
    auth_agent_token(&f->settings, &token, S(TENANT), S("0192f7a0-0000-7000-8000-00000000000a"), S("agent one"),
                     clock_wall_ms(), 60000);
    snprintf(line, sizeof line, "POST /api/v1/beat HTTP/1.1\r\nAuthorization: Bearer " STR_FMT,
             STR_ARG(buf_view(&token)));
    start(line, NULL);
    struct admitted a = admitted_as("");
    a.credential = NULL;
    answer(OK, a);
    was(200, NULL);
    principals_free(f->worker.principals);
    f->worker.principals = principals_new();
    assert_true(fault_each(one_read, &a) > 0);
    buf_free(&token);
}

static void every_failed_allocation_is_answered_once(void **state)
{
    (void)state;
    static const char more[] = "\r\nContent-Type: application/json\r\nIdempotency-Key: k";
    post(more, "{\"name\":\"a\"}");
    answer(OK, (struct admitted){.replay = ADMIT_CLAIMED});
    commit_answer();
    was(201, NULL);
    struct admitted a = admitted_as("admin");
    assert_true(fault_each(one_request, &a) > 0);
}

int main(void)
{
    if (!crypto_init())
        return 1;
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(a_key_is_looked_up_once_and_charged_each_time),
        T(a_known_caller_on_credit_needs_no_trip),
        T(a_reading_handler_runs_beside_its_admission_and_its_answer_is_held),
        T(a_refused_admission_takes_the_held_answer_back),
        T(a_change_waits_for_its_admission),
        T(what_was_revoked_meanwhile_is_looked_up_again),
        T(verdicts_have_their_codes),
        T(garbage_never_reaches_the_store),
        T(who_is_asked_before_where),
        T(permissions_are_asked_after_the_charge),
        T(bodies_are_checked_in_order_and_whole),
        T(query_parameters_are_typed_and_their_faults_named),
        T(an_idempotent_change_claims_first_and_is_kept_after),
        T(idempotency_conflicts_have_their_codes),
        T(refusals_of_the_state_are_kept_and_faults_give_the_claim_back),
        T(fingerprints_tell_bodies_and_paths_apart),
        T(a_client_that_left_is_not_answered),
        T(a_fault_below_the_steps_is_the_one_answer),
        T(a_token_is_verified_here_and_looked_up_for_its_revocation),
        T(every_failed_allocation_is_answered_once),
        T(a_read_survives_every_failed_allocation),
        T(a_token_survives_every_failed_allocation),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
