#include "proto/jwt.h"

#include <stdio.h>

enum { LIFE_YEARS_S = 10 * 366 * 86400 };

static const char *const header_members[] = {"alg", "kid", "typ"};

/* Three parts between dots; `head` and `body` together with their dot are what is signed. */
struct parts {
    struct str head, body, signature, signed_text;
};

static bool is_base64url(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return s.n > 0;
}

static bool split(struct str token, struct parts *out)
{
    struct str rest = token;
    if (token.n > JWT_MAX)
        return false;
    out->head = str_cut(&rest, '.');
    out->body = str_cut(&rest, '.');
    out->signature = rest;
    out->signed_text = str_slice(token, 0, out->head.n + 1 + out->body.n);
    return is_base64url(out->head) && is_base64url(out->body) && is_base64url(out->signature);
}

bool jwt_looks(struct str token)
{
    struct parts parts;
    return split(token, &parts);
}

/* NULL: not a JSON object, or memory ran out, and then *exhausted. */
static struct json *decode(struct arena *a, struct str part, bool *exhausted)
{
    struct buf b;
    const struct json_limits limits = {.depth = 4, .nodes = 600};
    struct json_fault fault;
    buf_init_arena(&b, a, part.n);
    bool ok = buf_unbase64url(&b, part);
    struct json *j = ok && !b.failed ? json_parse(a, buf_view(&b), &limits, &fault) : NULL;
    *exhausted = b.failed || (ok && j == NULL && fault.exhausted);
    return json_is(j, JSON_OBJECT) ? j : NULL;
}

/* Exactly the three members, each with the one value it may have. */
static bool is_our_header(const struct json *head, uint64_t *kid)
{
    if (json_count(head) != ARRAY_LEN(header_members))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(header_members); i++)
        if (!json_is(json_get(head, header_members[i]), JSON_STRING))
            return false;
    struct str number = json_str(json_get(head, "kid"));
    return str_eq(json_str(json_get(head, "alg")), S("EdDSA")) &&
           str_eq(json_str(json_get(head, "typ")), S("at+jwt")) && str_u64(number, kid) && number.p[0] != '0' &&
           *kid <= KEYRING_NUMBERS;
}

/* A string claim; `needed`: must be there. */
static bool long_claim(const struct json *body, const char *name, bool needed, struct str *out)
{
    const struct json *j = json_get(body, name);
    *out = json_str(j);
    return j == NULL ? !needed : json_is(j, JSON_STRING) && out->n > 0;
}

static bool text_claim(const struct json *body, const char *name, bool needed, struct str *out)
{
    return long_claim(body, name, needed, out) && out->n <= JWT_CLAIM_MAX;
}

static bool time_claim(const struct json *body, const char *name, bool needed, int64_t *out)
{
    const struct json *j = json_get(body, name);
    *out = json_int(j, 0);
    return j == NULL ? !needed : json_is(j, JSON_INT) && *out > 0;
}

static bool list_claim(struct arena *a, const struct json *body, const char *name, size_t max, const struct str **out,
                       size_t *count)
{
    const struct json *j = json_get(body, name);
    size_t n = json_count(j);
    if (j == NULL)
        return true;
    struct str *list = json_is(j, JSON_ARRAY) && n <= max ? arena_array(a, n + 1, sizeof *list) : NULL;
    if (list == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((list[i] = json_str(json_at(j, i))).n == 0 || list[i].n > JWT_CLAIM_MAX)
            return false;
    *out = list;
    *count = n;
    return true;
}

/* Of the one whose token it is: an agent's, a person's, else the client's own (RFC 9068 §2.2). */
static bool is_subject(const struct jwt *t)
{
    if (t->user_id.n > 0 && t->agent_id.n > 0)
        return false;
    return str_eq(t->subject, t->agent_id.n > 0 ? t->agent_id : t->user_id.n > 0 ? t->user_id : t->client_id);
}

static bool read_claims(struct arena *a, const struct json *body, struct jwt *out)
{
    return text_claim(body, "iss", true, &out->issuer) && text_claim(body, "aud", true, &out->audience) &&
           text_claim(body, "jti", true, &out->id) && text_claim(body, "sub", true, &out->subject) &&
           text_claim(body, "user_id", false, &out->user_id) && text_claim(body, "agent_id", false, &out->agent_id) &&
           text_claim(body, "tenant_id", true, &out->tenant_id) && text_claim(body, "name", false, &out->name) &&
           text_claim(body, "client_id", false, &out->client_id) && text_claim(body, "sid", false, &out->session_id) &&
           long_claim(body, "scope", false, &out->scope) && time_claim(body, "iat", true, &out->issued_s) &&
           time_claim(body, "exp", true, &out->expires_s) && time_claim(body, "nbf", false, &out->not_before_s) &&
           list_claim(a, body, "roles", JWT_ROLES, &out->roles, &out->role_count) &&
           list_claim(a, body, "permissions", JWT_PERMISSIONS, &out->permissions, &out->permission_count) &&
           is_subject(out) && out->expires_s > out->issued_s && out->expires_s - out->issued_s < LIFE_YEARS_S;
}

static enum jwt_fault check_times(const struct jwt *t, int64_t now_s)
{
    if (now_s >= t->expires_s + JWT_LEEWAY_S)
        return JWT_EXPIRED;
    if (t->issued_s > now_s + JWT_LEEWAY_S || t->not_before_s > now_s + JWT_LEEWAY_S)
        return JWT_EARLY;
    return JWT_OK;
}

/* The signature is checked before a byte of the claims is read. */
enum jwt_fault jwt_verify(struct arena *a, struct str token, const struct keyring *ring, struct str issuer,
                          struct str audience, int64_t now_s, struct jwt *out)
{
    struct parts parts;
    struct buf signature = {0};
    uint64_t kid = 0;
    bool exhausted = false;
    if (!split(token, &parts))
        return JWT_MALFORMED;
    const struct json *head = decode(a, parts.head, &exhausted);
    if (head == NULL)
        return exhausted ? JWT_MEMORY : JWT_MALFORMED;
    if (!is_our_header(head, &kid))
        return JWT_FOREIGN;
    buf_init_arena(&signature, a, CRYPTO_SIGNATURE + 3);
    if (!buf_unbase64url(&signature, parts.signature) || signature.n != CRYPTO_SIGNATURE)
        return signature.failed ? JWT_MEMORY : JWT_MALFORMED;
    if (!keyring_verify(ring, KEYRING_SIGN, (unsigned)kid, parts.signed_text, (const uint8_t *)signature.p))
        return JWT_SIGNATURE;
    const struct json *body = decode(a, parts.body, &exhausted);
    struct jwt t = {0};
    if (exhausted)
        return JWT_MEMORY;
    if (body == NULL || !read_claims(a, body, &t) || (issuer.p != NULL && !str_eq(t.issuer, issuer)) ||
        !str_eq(t.audience, audience))
        return JWT_CLAIMS;
    *out = t;
    return check_times(&t, now_s);
}

static void put_text(struct json_out *o, struct str name, struct str value)
{
    if (value.n == 0)
        return;
    json_key(o, name);
    json_put_str(o, value);
}

static void put_list(struct json_out *o, struct str name, const struct str *list, size_t n)
{
    json_key(o, name);
    json_open(o, '[');
    for (size_t i = 0; i < n; i++)
        json_put_str(o, list[i]);
    json_close(o, ']');
}

static void write_claims(struct buf *b, const struct jwt *t)
{
    struct json_out o;
    json_out_init(&o, b);
    json_open(&o, '{');
    put_text(&o, S("iss"), t->issuer);
    put_text(&o, S("aud"), t->audience);
    put_text(&o, S("jti"), t->id);
    put_text(&o, S("sub"), t->subject);
    put_text(&o, S("user_id"), t->user_id);
    put_text(&o, S("agent_id"), t->agent_id);
    put_text(&o, S("client_id"), t->client_id);
    put_text(&o, S("sid"), t->session_id);
    put_text(&o, S("tenant_id"), t->tenant_id);
    put_text(&o, S("name"), t->name);
    put_list(&o, S("roles"), t->roles, t->role_count);
    put_list(&o, S("permissions"), t->permissions, t->permission_count);
    put_text(&o, S("scope"), t->scope);
    json_key(&o, S("iat"));
    json_put_int(&o, t->issued_s);
    if (t->not_before_s != 0) {
        json_key(&o, S("nbf"));
        json_put_int(&o, t->not_before_s);
    }
    json_key(&o, S("exp"));
    json_put_int(&o, t->expires_s);
    json_close(&o, '}');
}

void jwt_write(struct buf *out, const struct keyring *ring, const struct jwt *claims)
{
    char head[64];
    struct buf body = {0};
    uint8_t signature[CRYPTO_SIGNATURE];
    size_t from = out->n;
    int n = snprintf(head, sizeof head, "{\"alg\":\"EdDSA\",\"kid\":\"%u\",\"typ\":\"at+jwt\"}",
                     keyring_newest(ring, KEYRING_SIGN));
    write_claims(&body, claims);
    buf_base64url(out, head, (size_t)n);
    buf_char(out, '.');
    buf_base64url(out, body.p, body.n);
    out->failed = out->failed || body.failed;
    buf_free(&body);
    if (out->failed)
        return;
    keyring_sign(ring, KEYRING_SIGN, str_slice(buf_view(out), from, out->n), signature);
    buf_char(out, '.');
    buf_base64url(out, signature, sizeof signature);
}
