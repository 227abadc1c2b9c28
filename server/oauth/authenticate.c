#include "server/oauth/authenticate.h"

#include "lib/cidr.h"
#include "lib/crypto.h"
#include "proto/form.h"
#include "proto/http.h"
#include "proto/jwt.h"
#include "server/auth.h"
#include "server/oauth/assertion.h"
#include "server/settings.h"
#include "server/store/admit.h"
#include "server/worker.h"

#include <string.h>

const char *const authenticate_methods[] = {"client_secret_basic", "client_secret_post", "private_key_jwt", "none",
                                            NULL};

struct attempt {
    struct request *r;
    authenticated *then;
    struct str id, secret, assertion; /* as given; one of the latter two */
    char hex[65];
    unsigned partition;
    struct client client;
};

/* --- what was given --- */

static enum code refuse(struct request *r, const char *why)
{
    return request_refuse(r, OAUTH_INVALID_CLIENT, "%s", why);
}

static bool unbase64(struct buf *out, struct arena *a, struct str text)
{
    char *copy = arena_z(a, text);
    size_t n = text.n;
    while (n > 0 && text.n - n < 2 && text.p[n - 1] == '=')
        n--;
    for (size_t i = 0; copy != NULL && i < n; i++) {
        if (copy[i] == '-' || copy[i] == '_')
            return false;
        copy[i] = (char)(copy[i] == '+' ? '-' : copy[i] == '/' ? '_' : copy[i]);
    }
    return copy != NULL && buf_unbase64url(out, (struct str){copy, n});
}

static bool form_decoded(struct arena *a, struct str text, struct str *out)
{
    struct buf b;
    buf_init_arena(&b, a, text.n + 1);
    bool good = query_decode(&b, text, true) && !b.failed;
    *out = buf_view(&b);
    return good && out->n > 0;
}

/* Id and secret are form-encoded each before they are joined (RFC 6749 §2.3.1). */
static bool read_basic(struct arena *a, struct str given, struct str *id, struct str *secret)
{
    struct buf b;
    struct str scheme = str_cut(&given, ' ');
    buf_init_arena(&b, a, given.n);
    if (!str_ieq(scheme, S("basic")) || !unbase64(&b, a, str_trim(given)) || b.failed)
        return false;
    struct str rest = buf_view(&b), name = str_cut(&rest, ':');
    return rest.p != NULL && form_decoded(a, name, id) && form_decoded(a, rest, secret);
}

static enum code read_credentials(struct attempt *t)
{
    struct request *r = t->r;
    struct str given = http_header(r->head, S("authorization")), id = form_get(r->form, S("client_id"));
    struct str secret = form_get(r->form, S("client_secret")), type = form_get(r->form, S("client_assertion_type"));
    t->assertion = form_get(r->form, S("client_assertion"));
    if ((given.p != NULL) + (secret.p != NULL) + (t->assertion.p != NULL) > 1)
        return request_refuse(r, OAUTH_INVALID_REQUEST, "the client authenticates in more than one way (RFC 6749 2.3)");
    if (t->assertion.p != NULL && !str_eq(type, S(ASSERTION_TYPE)))
        return request_refuse(r, OAUTH_INVALID_REQUEST, "client_assertion_type is " ASSERTION_TYPE);
    if (given.p != NULL && !read_basic(&r->arena, given, &t->id, &t->secret))
        return refuse(r, "the Authorization header is not client_id and client_secret by the scheme Basic");
    if (t->assertion.p != NULL)
        t->id = assertion_client(&r->arena, t->assertion);
    if (secret.p != NULL) {
        t->id = id;
        t->secret = secret;
    }
    if (t->secret.p == NULL && t->assertion.p == NULL)
        t->id = id; /* one without credentials, perhaps */
    if (t->id.p == NULL)
        return refuse(r, "the client does not authenticate");
    if (id.p != NULL && !str_eq(id, t->id))
        return request_refuse(r, OAUTH_INVALID_REQUEST, "client_id is another than the one that authenticates");
    return client_credential(r->worker->settings, t->id, &t->partition, t->hex)
               ? OK
               : refuse(r, "there is no such client, or not with this secret");
}

/* --- whether it is true --- */

static enum flow succeed(struct attempt *t)
{
    struct request *r = t->r;
    const struct client *c = &t->client;
    r->caller = (struct caller){.type = CALLER_CLIENT,
                                .id = c->id,
                                .name = c->name,
                                .tenant = c->tenant,
                                .partition = c->partition,
                                .tier = c->tier};
    return t->then(r, c);
}

static void remembered(void *arg, enum code c, const struct redis_value *v)
{
    struct attempt *t = arg;
    if (c == OK && redis_is_nil(v))
        c = refuse(t->r, "the assertion was used before");
    if (c != OK)
        reply_error(t->r, c);
    else
        succeed(t);
}

/* Until it is over: `jti` counts once (RFC 7523 §3, number 7). */
static enum code remember(struct attempt *t, struct str id, int64_t left_s)
{
    char hex[65];
    struct arena *a = &t->r->arena;
    struct str name = arena_printf(a, STR_FMT ":" STR_FMT, STR_ARG(t->client.id), STR_ARG(id));
    if (name.p == NULL)
        return SYS_OVERLOADED;
    auth_subject(t->r->worker->settings, "assertion", name, hex);
    struct str key = key_assertion(a, t->partition, str_z(hex));
    const struct store_command set = STORE_COMMAND(S("SET"), key, S("1"), S("NX"), S("EX"), arena_int(a, left_s));
    return store_read(t->r->worker->store, &set, 1, &t->r->ops, remembered, t);
}

static enum code check_assertion(struct attempt *t, int64_t now_s)
{
    struct str id;
    int64_t expires_s;
    if (t->client.jwks.n == 0)
        return refuse(t->r, "the client has no keys: it authenticates with its secret");
    const char *why = assertion_check(t->r, &t->client, t->assertion, now_s, &id, &expires_s);
    if (why != NULL)
        return request_refuse(t->r, OAUTH_INVALID_CLIENT, "the assertion: %s", why);
    return remember(t, id, expires_s + JWT_LEEWAY_S - now_s + 1);
}

static bool is_secret(const struct attempt *t)
{
    char hex[65];
    if (t->secret.p == NULL)
        return str_eqz(t->client.method, "none");
    auth_credential(t->r->worker->settings, t->secret, hex);
    return t->client.secret.n > 0 && crypto_equal_str(str_z(hex), t->client.secret);
}

static void looked_up(void *arg, enum code c, const struct admitted *a)
{
    struct attempt *t = arg;
    struct request *r = t->r;
    if (c == OK && a->limit > 0)
        r->rate = auth_rate(a, TIER_STANDARD);
    if (c == OK && a->verdict == ADMIT_LIMITED)
        c = request_refuse(r, RATE_LIMIT_EXCEEDED, "this client asks too often from this address");
    else if (c == OK &&
             (a->verdict != ADMIT_OK || !str_eqz(redis_text(redis_field(a->credential, S("kind"))), CLIENT_KIND)))
        c = refuse(r, "there is no such client, or not with this secret");
    if (c == OK && !client_read(&t->client, &r->arena, t->partition, a->credential))
        c = SYS_OVERLOADED;
    if (c == OK && t->assertion.p != NULL && (c = check_assertion(t, a->now_ms / 1000)) == OK)
        return;
    if (c == OK && !is_secret(t))
        c = refuse(r, "there is no such client, or not with this secret");
    if (c != OK)
        reply_error(r, c);
    else
        succeed(t);
}

static enum code look_up(struct attempt *t)
{
    struct request *r = t->r;
    char site[CIDR_SITE];
    cidr_site(r->address, site);
    const struct admission in = {
        .partition = t->partition,
        .credential = str_z(t->hex),
        .space = {t->partition, STR_NONE},
        .caller = arena_printf(&r->arena, "client-login:" STR_FMT "@%s", STR_ARG(t->id), site),
        .tier = TIER_STANDARD,
        .rates = r->worker->settings->tiers,
        .rate_count = TIERS,
        .cost = 1,
    };
    return in.caller.p == NULL ? SYS_OVERLOADED : store_admit(r->worker->store, &r->arena, &in, &r->ops, looked_up, t);
}

enum flow authenticate(struct request *r, authenticated *then)
{
    struct attempt *t = arena_new(&r->arena, struct attempt);
    if (t == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *t = (struct attempt){.r = r, .then = then};
    enum code c = read_credentials(t);
    if (c == OK)
        c = look_up(t);
    return c == OK ? WAIT : reply_error(r, c);
}
