#include "server/oauth/provider.h"

#include "lib/loop.h"
#include "proto/fetch.h"
#include "server/engine/drain.h"
#include "server/settings.h"
#include "server/worker.h"

#include <stdlib.h>
#include <string.h>

struct provider {
    const char *issuer;
    char *keys; /* JSON text; NULL: none yet */
    size_t length;
    int64_t fetched_ms, asked_ms; /* of the loop; 0: never */
};

struct providers {
    size_t n;
    struct provider list[];
};

struct providers *providers_new(const struct settings *s)
{
    size_t n = s->token_issuers.n;
    struct providers *p = calloc(1, sizeof *p + n * sizeof p->list[0]);
    for (size_t i = 0; p != NULL && i < n; i++)
        p->list[p->n++].issuer = s->token_issuers.items[i];
    return p;
}

void providers_free(struct providers *p)
{
    for (size_t i = 0; p != NULL && i < p->n; i++)
        free(p->list[i].keys);
    free(p);
}

static struct provider *provider_find(struct providers *p, struct str issuer)
{
    for (size_t i = 0; i < p->n; i++)
        if (str_eqz(issuer, p->list[i].issuer))
            return &p->list[i];
    return NULL;
}

bool provider_listed(const struct settings *s, struct str issuer)
{
    for (size_t i = 0; i < s->token_issuers.n; i++)
        if (str_eqz(issuer, s->token_issuers.items[i]))
            return true;
    return false;
}

/* One way to a set of keys: the provider's configuration, then what it names. In the request's arena. */
struct errand {
    struct request *r;
    struct provider *provider;
    provider_then *then;
    void *arg;
};

static enum flow give_up(struct errand *e, const char *what, const char *why)
{
    request_refuse(e->r, SYS_TIMEOUT, "the %s of %s cannot be had: %s", what, e->provider->issuer, why);
    return e->then(e->r, e->arg, NULL);
}

/* The answer's JSON object, or NULL after giving up. */
static const struct json *read_answer(struct errand *e, const struct fetch_answer *answer, const char *what)
{
    const struct json *j = NULL;
    if (answer->fault == FETCH_NONE && answer->status == 200)
        j = json_parse(&e->r->arena, answer->body, &(struct json_limits){8, 5000}, NULL);
    if (json_is(j, JSON_OBJECT))
        return j;
    give_up(e, what, answer->fault != FETCH_NONE ? answer->message : "the answer is not 200 with a JSON object");
    return NULL;
}

static void keys_fetched(void *arg, const struct fetch_answer *answer)
{
    struct errand *e = arg;
    struct provider *p = e->provider;
    const struct json *keys = read_answer(e, answer, "keys");
    if (keys == NULL)
        return;
    char *text = malloc(answer->body.n);
    if (text != NULL) {
        memcpy(text, answer->body.p, answer->body.n);
        free(p->keys);
        p->keys = text;
        p->length = answer->body.n;
        p->fetched_ms = loop_now_ms(&e->r->worker->loop);
    }
    e->then(e->r, e->arg, keys);
}

static bool fetch(struct errand *e, struct str url, fetch_then *then)
{
    const struct fetch_request request = {
        .method = S("GET"), .url = url, .timeout_ms = PROVIDER_FETCH_MS, .max_bytes = PROVIDER_BYTES_MAX};
    return url.p != NULL && fetch_start(drains_fetcher(e->r->worker->drains), &request, &e->r->ops, then, e);
}

/* OpenID Connect Discovery §4.3: the configuration names the very issuer. Keys come by https where the issuer does. */
static void configuration_fetched(void *arg, const struct fetch_answer *answer)
{
    struct errand *e = arg;
    const struct json *configuration = read_answer(e, answer, "configuration");
    struct str at = json_str(json_get(configuration, "jwks_uri"));
    if (configuration == NULL)
        return;
    if (!str_eqz(json_str(json_get(configuration, "issuer")), e->provider->issuer))
        give_up(e, "configuration", "it names another issuer");
    else if (str_starts(str_z(e->provider->issuer), S("https://")) && !str_starts(at, S("https://")))
        give_up(e, "configuration", "jwks_uri is not https");
    else if (!fetch(e, at, keys_fetched))
        give_up(e, "keys", "out of memory");
}

enum flow provider_keys(struct request *r, struct str issuer, const struct jws *token, provider_then *then, void *arg)
{
    struct provider *p = provider_find(r->worker->providers, issuer);
    struct errand *e = arena_new(&r->arena, struct errand);
    int64_t now_ms = loop_now_ms(&r->worker->loop);
    if (p == NULL || e == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *e = (struct errand){r, p, then, arg};
    const struct json *kept =
        p->keys == NULL ? NULL
                        : json_parse(&r->arena, (struct str){p->keys, p->length}, &(struct json_limits){8, 5000}, NULL);
    bool fresh = kept != NULL && now_ms - p->fetched_ms < PROVIDER_FRESH_MS;
    bool asked = p->asked_ms != 0 && now_ms - p->asked_ms < PROVIDER_AGAIN_MS;
    if ((fresh && jws_key(kept, token) != NULL) || (asked && fresh))
        return then(r, arg, kept);
    p->asked_ms = now_ms;
    return fetch(e, arena_printf(&r->arena, STR_FMT "/.well-known/openid-configuration", STR_ARG(issuer)),
                 configuration_fetched)
               ? WAIT
               : give_up(e, "configuration", "out of memory");
}
