#include "server/oauth/client.h"

#include "proto/jws.h"
#include "server/auth.h"
#include "server/document.h"
#include "server/oauth/exchange.h"
#include "server/oauth/redirect.h"
#include "server/oauth/resources.h"
#include "server/oauth/scopes.h"
#include "server/settings.h"

#include <stdio.h>

static const char secret_prefix[] = "slcs";

/* --- what rows cannot say --- */

static bool is_by(const struct json *members, const char *method)
{
    return str_eqz(json_str(json_get(members, "token_endpoint_auth_method")), method);
}

static bool signs(const struct json *members)
{
    return is_by(members, "private_key_jwt");
}

static bool has_grant(const struct json *members, const char *grant)
{
    const struct json *grants = json_get(members, "grant_types");
    for (size_t i = 0; i < json_count(grants); i++)
        if (str_eqz(json_str(json_at(grants, i)), grant))
            return true;
    return false;
}

/* Who has no credentials of its own has those of the provider that it trusts, and nothing else. */
static void check_trust(const struct json *members, struct faults *faults)
{
    bool exchanges = has_grant(members, EXCHANGE_GRANT);
    if (exchanges != json_is(json_get(members, "trust"), JSON_OBJECT))
        fault_add(faults, S("trust"), exchanges ? "VAL_REQUIRED" : "VAL_INVALID_FORMAT",
                  "goes with the grant of token exchange, and with nothing else");
    if (is_by(members, "none") && has_grant(members, "client_credentials"))
        fault_add(faults, S("token_endpoint_auth_method"), "VAL_INVALID_FORMAT",
                  "is not none with client_credentials: whoever had the id would have the token");
}

/* A person is sent back somewhere, and nowhere else. */
static void check_redirects(const struct json *members, struct faults *faults)
{
    const struct json *uris = json_get(members, "redirect_uris");
    bool codes = has_grant(members, "authorization_code");
    if (codes != (json_count(uris) > 0))
        fault_add(faults, S("redirect_uris"), codes ? "VAL_REQUIRED" : "VAL_INVALID_FORMAT",
                  "goes with the grant authorization_code, and with nothing else");
    for (size_t i = 0; i < json_count(uris); i++) {
        char field[48];
        const char *fault = redirect_fault(json_str(json_at(uris, i)));
        snprintf(field, sizeof field, "redirect_uris[%zu]", i);
        if (fault != NULL)
            fault_add(faults, str_z(field), "VAL_INVALID_FORMAT", "%s", fault);
    }
}

void client_check(const struct json *members, struct faults *faults)
{
    const struct json *scopes = json_get(members, "scopes"), *jwks = json_get(members, "jwks");
    for (size_t i = 0; i < json_count(scopes); i++) {
        char field[32];
        snprintf(field, sizeof field, "scopes[%zu]", i);
        if (!scopes_known(json_str(json_at(scopes, i))))
            fault_add(faults, str_z(field), "VAL_INVALID_CHOICE",
                      "is no scope; the metadata lists them, and permissions are scopes too");
    }
    check_trust(members, faults);
    check_redirects(members, faults);
    if (signs(members) != json_is(jwks, JSON_OBJECT))
        fault_add(faults, S("jwks"), signs(members) ? "VAL_REQUIRED" : "VAL_INVALID_FORMAT",
                  "goes with private_key_jwt, and with nothing else");
    const char *why = NULL;
    if (json_is(jwks, JSON_OBJECT))
        why = json_count(json_get(jwks, "keys")) > CLIENT_KEYS_MAX ? "has too many keys"
                                                                   : jws_keys_fault(faults->arena, jwks);
    if (why != NULL)
        fault_add(faults, S("jwks"), "VAL_INVALID_FORMAT", "%s", why);
}

struct str client_scopes(struct arena *a, const struct json *members)
{
    return json_join(a, json_get(members, "scopes"), ' ');
}

/* --- writing --- */

static void make_documents(struct client_new *n, struct arena *a)
{
    struct overlays set = {.arena = a};
    overlay_str(&set, "client_id", str_z(n->id));
    overlay_str(&set, "tenant_id", n->space.tenant);
    overlay_time(&set, "created_at", n->now_ms);
    overlay_str(&set, "created_by", n->created_by);
    overlay_int(&set, "revision", 1);
    n->document = document_render(a, client_resource.fields, n->members, NULL, &set);
    struct document d = {.json = n->document};
    if (n->secret[0] != '\0')
        d.live = arena_printf(a, "\"client_secret\":\"%s\"", n->secret);
    n->shown = n->document.p == NULL || set.failed ? STR_NONE : document_answer(a, &d);
}

static struct str text_of(struct arena *a, const struct json *j)
{
    struct buf b;
    if (j == NULL)
        return S("");
    buf_init_arena(&b, a, 256);
    json_write(&b, j);
    return b.failed ? STR_NONE : buf_view(&b);
}

static void put_record(const struct client_new *n, const struct settings *s, struct commit *c)
{
    char hex[65], hash[65];
    unsigned partition;
    struct arena *a = c->arena;
    const struct json *m = n->members;
    auth_credential(s, str_z(n->secret), hash);
    client_credential(s, str_z(n->id), &partition, hex);
    struct str key = key_credential(a, n->space.partition, str_z(hex));
    const struct commit_field fields[] = {
        {S("kind"), S(CLIENT_KIND)},
        {S("tenant"), n->space.tenant},
        {S("id"), str_z(n->id)},
        {S("name"), json_str(json_get(m, "name"))},
        {S("scopes"), client_scopes(a, m)},
        {S("grants"), json_join(a, json_get(m, "grant_types"), ' ')},
        {S("method"), json_str(json_get(m, "token_endpoint_auth_method"))},
        {S("secret"), n->secret[0] != '\0' ? str_z(hash) : S("")},
        {S("jwks"), text_of(a, json_get(m, "jwks"))},
        {S("trust"), text_of(a, json_get(m, "trust"))},
        {S("redirects"), json_join(a, json_get(m, "redirect_uris"), ' ')},
    };
    commit_hset_all(c, key, fields, ARRAY_LEN(fields));
}

void client_put(struct client_new *n, const struct settings *s, struct commit *c)
{
    struct commit_index index;
    struct arena *a = c->arena;
    id_uuid(n->now_ms, n->id);
    snprintf(&n->id[ID_UUID - 3], 3, "%02x", n->space.partition);
    if (!signs(n->members) && !is_by(n->members, "none"))
        id_key(secret_prefix, n->space.partition, n->secret);
    make_documents(n, a);
    const struct json *stored = n->document.p == NULL ? NULL : document_json(a, n->document, NULL);
    document_index(&index, a, &client_resource, stored);
    commit_put(
        c,
        &(struct commit_document){
            .kind = CLIENT_KIND, .id = str_z(n->id), .revision = 1, .schema = 1, .json = n->document, .index = &index});
    put_record(n, s, c);
    c->failed = c->failed || n->shown.p == NULL || stored == NULL;
}

void client_end(const struct settings *s, struct commit *c, struct str id, int64_t now_ms)
{
    char hex[65] = "";
    unsigned partition;
    client_credential(s, id, &partition, hex);
    struct str record = key_credential(c->arena, c->space.partition, str_z(hex));
    commit_delete(c, CLIENT_KIND, id, 0);
    commit_hset(c, record, S("tenant"), c->space.tenant);
    commit_hset(c, record, S("revoked"), arena_int(c->arena, now_ms));
    commit_hset(c, record, S("secret"), STR_NONE);
    commit_expire(c, record, s->token_ttl_max);
    commit_revoked(c);
}
