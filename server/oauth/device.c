#include "server/oauth/device.h"

#include "lib/id.h"
#include "proto/form.h"
#include "proto/query.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/identity/page.h"
#include "server/identity/signed_in.h"
#include "server/oauth/authenticate.h"
#include "server/oauth/authorize.h"
#include "server/oauth/grant.h"
#include "server/oauth/issuer.h"
#include "server/oauth/token.h"
#include "server/settings.h"
#include "server/worker.h"

enum { LETTERS = 8 };

// clang-format off
const struct field device_form[] = {
    {"client_id",             FIELD_STRING, .max = 64, .doc = "Where the client does not authenticate by the header."},
    {"client_secret",         FIELD_STRING, .max = 64},
    {"client_assertion_type", FIELD_STRING, .doc = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
    {"client_assertion",      FIELD_STRING, .doc = "A JWT by a key of the client (RFC 7523)."},
    {"scope",                 FIELD_STRING, .doc = "Scopes between spaces; all of the client's when it is left out."},
    {"resource",              FIELD_STRING, .doc = "What the token is for (RFC 8707): this service."},
    {0}};
const struct field device_data[] = {
    {"device_code",               FIELD_STRING, FIELD_REQUIRED, .max = ID_KEY_MAX, .doc = "For the token endpoint."},
    {"user_code",                 FIELD_STRING, FIELD_REQUIRED, .max = LETTERS + 1, .doc = "For the person."},
    {"verification_uri",          FIELD_STRING, FIELD_REQUIRED, .pattern = "^https?://"},
    {"verification_uri_complete", FIELD_STRING, FIELD_REQUIRED, .pattern = "^https?://"},
    {"expires_in",                FIELD_INT,    FIELD_REQUIRED},
    {"interval",                  FIELD_INT,    FIELD_REQUIRED, .doc = "Seconds between two questions at the token endpoint."},
    {0}};
const struct field device_query[] = {
    {"user_code",  FIELD_STRING, .doc = "What the device shows."},
    {0}};
const struct field device_page_form[] = {
    {"user_code",  FIELD_STRING, FIELD_REQUIRED, .doc = "What the device shows."},
    {"decision",   FIELD_STRING, .doc = "allow or deny, once the person has seen who asks"},
    {"form_token", FIELD_STRING, FIELD_REQUIRED, .doc = "Of the page: forms of other sites are refused."},
    {0}};
// clang-format on

/* The key under which the entered code leads to the device's record: the tenant's, so that codes of others mean nothing. */
static struct str place_of(struct request *r, struct space space, const char letters[LETTERS])
{
    char hex[65];
    struct str name = arena_printf(&r->arena, STR_FMT ":%.*s", STR_ARG(space.tenant), LETTERS, letters);
    auth_subject(r->worker->settings, "user-code", name, hex);
    return key_credential(&r->arena, space.partition, str_z(hex));
}

/* --- the device begins --- */

struct beginning {
    struct request *r;
    struct commit commit;
    char device[ID_KEY_MAX], letters[LETTERS];
};

static void begun(void *arg, const struct commit_result *result)
{
    struct buf b;
    struct json_out o;
    struct beginning *t = arg;
    struct request *r = t->r;
    struct str page = arena_printf(&r->arena, STR_FMT "/v1/auth/device", STR_ARG(issuer_url(r)));
    struct str code = arena_printf(&r->arena, "%.4s-%.4s", t->letters, t->letters + 4);
    if (result->code != OK) {
        reply_error(r, result->code);
        return;
    }
    buf_init_arena(&b, &r->arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("device_code"));
    json_put_z(&o, t->device);
    json_key(&o, S("expires_in"));
    json_put_int(&o, DEVICE_LIFE_S);
    json_key(&o, S("interval"));
    json_put_int(&o, DEVICE_INTERVAL_S);
    json_key(&o, S("user_code"));
    json_put_str(&o, code);
    json_key(&o, S("verification_uri"));
    json_put_str(&o, page);
    json_key(&o, S("verification_uri_complete"));
    json_put_str(&o, arena_printf(&r->arena, STR_FMT "?user_code=" STR_FMT, STR_ARG(page), STR_ARG(code)));
    json_close(&o, '}');
    if (b.failed)
        reply_error(r, SYS_OVERLOADED);
    else
        reply_raw(r, 200, "application/json", buf_view(&b));
}

/* RFC 8628 §6.1: without vowels, so that it spells nothing. */
static void choose_letters(char out[LETTERS])
{
    static const char letters[] = "BCDFGHJKLMNPQRSTVWXZ";
    for (size_t i = 0; i < LETTERS; i++)
        out[i] = letters[random_below(sizeof letters - 1)];
}

static enum flow begin(struct request *r, const struct client *client)
{
    char hex[65], id[ID_UUID];
    struct str scope;
    struct space space = {client->partition, client->tenant};
    struct beginning *t = arena_new(&r->arena, struct beginning);
    enum code code = !client_has_grant(client, DEVICE_GRANT) ? OAUTH_UNAUTHORIZED_CLIENT
                     : t == NULL                             ? SYS_OVERLOADED
                                                             : token_scope(r, client->scopes, &scope);
    if (code != OK)
        return reply_error(r, code);
    int64_t now_ms = store_now_ms(r->worker->store), until_ms = now_ms + DEVICE_LIFE_S * INT64_C(1000);
    t->r = r;
    id_uuid(now_ms, id);
    id_key(GRANT_DEVICE_PREFIX, space.partition, t->device);
    choose_letters(t->letters);
    auth_credential(r->worker->settings, str_z(t->device), hex);
    struct str key = key_credential(&r->arena, space.partition, str_z(hex)), place = place_of(r, space, t->letters);
    const struct commit_field fields[] = {{S("kind"), S("device")},
                                          {S("tenant"), space.tenant},
                                          {S("id"), str_z(id)},
                                          {S("client"), client->id},
                                          {S("scope"), scope},
                                          {S("client_name"), client->name},
                                          {S("expires"), arena_int(&r->arena, until_ms)}};
    commit_begin(&t->commit, &r->arena, space, COMMIT_GROWS);
    commit_hset_all(&t->commit, key, fields, ARRAY_LEN(fields));
    commit_hset(&t->commit, place, S("device"), key);
    commit_expire(&t->commit, key, 2 * DEVICE_LIFE_S * INT64_C(1000));
    commit_expire(&t->commit, place, DEVICE_LIFE_S * INT64_C(1000));
    code = store_commit(r->worker->store, &t->commit, &r->ops, begun, t);
    return code == OK ? WAIT : reply_error(r, code);
}

enum flow device_begin(struct request *r)
{
    return authenticate(r, begin);
}

/* --- the person --- */

struct answer {
    struct request *r;
    const struct signed_in *s;
    struct str place, key, client_name, scope, id;
    struct commit commit;
    bool allow;
};

static enum flow ask_code(struct request *r, const char *wrong)
{
    struct html p;
    struct str given = r->method == POST                            ? form_get(r->form, S("user_code"))
                       : query_count(r->query, S("user_code")) == 1 ? query_get(r->query, S("user_code"))
                                                                    : STR_NONE;
    page_open(&p, r, "Connect a device");
    if (wrong != NULL)
        page_alert(&p, str_z(wrong));
    page_html(&p, "<p>Go on only with a code that a program of yours shows you right now.</p>\n");
    page_form(&p, "/auth/device");
    page_input(&p, "user_code", "Code", "text", "off", given);
    page_html(&p, "<button>Go on</button></form>\n");
    return page_send(&p, wrong == NULL ? 200 : code_status(OAUTH_INVALID_GRANT));
}

static enum flow show_page(struct request *r, const struct signed_in *s)
{
    (void)s;
    return ask_code(r, NULL);
}

enum flow device_page(struct request *r)
{
    return signed_in(r, show_page);
}

static enum flow show_consent(struct answer *t)
{
    struct html p;
    page_open(&p, t->r, "Allow access?");
    page_html(&p, "<p><strong>");
    page_text(&p, t->client_name);
    page_html(&p, "</strong>, on the device that shows <code>");
    page_text(&p, form_get(t->r->form, S("user_code")));
    page_html(&p, "</code>, asks to act in your name, ");
    page_text(&p, t->s->user.email);
    page_html(&p, ", and never to do more than you may yourself:</p>\n");
    authorize_show_scopes(&p, t->scope);
    page_form(&p, "/auth/device");
    page_hidden(&p, "user_code", form_get(t->r->form, S("user_code")));
    page_html(&p, "<button name=\"decision\" value=\"allow\">Allow</button>"
                  "<button name=\"decision\" value=\"deny\">Deny</button></form>\n");
    return page_send(&p, 200);
}

static void answered(void *arg, const struct commit_result *result)
{
    struct html p;
    struct answer *t = arg;
    if (result->code == OAUTH_INVALID_GRANT) {
        ask_code(t->r, "This code was answered before.");
        return;
    }
    if (result->code != OK) {
        page_refuse(t->r, result->code);
        return;
    }
    page_open(&p, t->r, t->allow ? "Connected" : "Refused");
    page_html(&p, t->allow ? "<p>Go back to your device: it goes on by itself.</p>\n"
                           : "<p>The device gets nothing.</p>\n");
    page_send(&p, 200);
}

static enum code decide(struct answer *t)
{
    struct request *r = t->r;
    const struct user *u = &t->s->user;
    struct commit *c = &t->commit;
    t->allow = str_eqz(form_get(r->form, S("decision")), "allow");
    commit_begin(c, &r->arena, (struct space){u->partition, u->tenant}, 0);
    commit_expect_field(c, OAUTH_INVALID_GRANT, "state", t->key, S("state"), STR_NONE);
    commit_hset(c, t->key, S("state"), t->allow ? S("allowed") : S("denied"));
    commit_hset(c, t->key, S("user"), u->id);
    commit_hset(c, t->key, S("name"), u->name);
    commit_hset(c, t->key, S("since"), arena_int(&r->arena, t->s->since_ms));
    commit_remove(c, t->place);
    audit_add(c, r,
              &(struct audit_entry){
                  .action = t->allow ? "grant.allowed" : "grant.refused", .resource = "grant", .resource_id = t->id});
    return store_commit(r->worker->store, c, &r->ops, answered, t);
}

static void device_read(void *arg, enum code c, const struct redis_value *record)
{
    struct answer *t = arg;
    struct request *r = t->r;
    bool good = c == OK && redis_int(redis_field(record, S("expires")), 0) > store_now_ms(r->worker->store);
    if (c == OK && !good) {
        ask_code(r, "There is no such code, or its time is over.");
        return;
    }
    t->client_name = arena_str(&r->arena, redis_text(redis_field(record, S("client_name"))));
    t->scope = arena_str(&r->arena, redis_text(redis_field(record, S("scope"))));
    t->id = arena_str(&r->arena, redis_text(redis_field(record, S("id"))));
    bool decided = form_get(r->form, S("decision")).p != NULL;
    if (c == OK && decided)
        c = decide(t);
    if (c != OK)
        page_refuse(r, c);
    else if (!decided)
        show_consent(t);
}

static void place_read(void *arg, enum code c, const struct redis_value *v)
{
    struct answer *t = arg;
    struct request *r = t->r;
    t->key = arena_str(&r->arena, redis_text(v));
    if (c == OK && redis_text(v).n == 0) {
        ask_code(r, "There is no such code, or its time is over.");
        return;
    }
    const struct store_command read = STORE_COMMAND(S("HGETALL"), t->key);
    if (c == OK)
        c = store_read(r->worker->store, &read, 1, &r->ops, device_read, t);
    if (c != OK)
        page_refuse(r, c);
}

/* As people enter it: in any case, with or without the dash. */
static bool letters_of(struct str text, char out[LETTERS])
{
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (c == '-' || c == ' ')
            continue;
        if (n == LETTERS)
            return false;
        out[n++] = (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    return n == LETTERS;
}

static enum flow look_up(struct request *r, const struct signed_in *s)
{
    char letters[LETTERS];
    struct answer *t = arena_new(&r->arena, struct answer);
    if (t == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    if (!letters_of(form_get(r->form, S("user_code")), letters))
        return ask_code(r, "A code has eight letters.");
    *t = (struct answer){.r = r, .s = s};
    t->place = place_of(r, (struct space){s->user.partition, s->user.tenant}, letters);
    const struct store_command read = STORE_COMMAND(S("HGET"), t->place, S("device"));
    enum code c = store_read(r->worker->store, &read, 1, &r->ops, place_read, t);
    return c == OK ? WAIT : page_refuse(r, c);
}

enum flow device_answer(struct request *r)
{
    enum flow flow = form_admit(r);
    return flow == NEXT ? signed_in(r, look_up) : flow;
}
