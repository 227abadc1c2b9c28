#include "server/oauth/authorize.h"

#include "proto/form.h"
#include "proto/query.h"
#include "server/audit.h"
#include "server/identity/page.h"
#include "server/identity/signed_in.h"
#include "server/oauth/client.h"
#include "server/oauth/grant.h"
#include "server/oauth/issuer.h"
#include "server/oauth/redirect.h"
#include "server/oauth/scopes.h"
#include "server/settings.h"
#include "server/store/admit.h"
#include "server/worker.h"

// clang-format off
#define PARAMETERS                                                                                              \
    {"client_id",             FIELD_STRING, .doc = "Of the client that asks."},                                     \
    {"redirect_uri",          FIELD_STRING, .doc = "One of the client's; may be left out when it has one only."},   \
    {"response_type",         FIELD_STRING, .doc = "code"},                                                         \
    {"scope",                 FIELD_STRING, .doc = "Scopes between spaces; all of the client's when it is left out."}, \
    {"state",                 FIELD_STRING, .doc = "Comes back as it is."},                                         \
    {"code_challenge",        FIELD_STRING, .doc = "RFC 7636: BASE64URL(SHA256(verifier))."},                       \
    {"code_challenge_method", FIELD_STRING, .doc = "S256"},                                                         \
    {"resource",              FIELD_STRING, .doc = "What the token is for (RFC 8707): this service."},              \
    {"prompt",                FIELD_STRING, .doc = "none: come back with an error where a page would be shown."}

const struct field authorize_rows[] = {PARAMETERS, {0}};
const struct field authorize_form_rows[] = {
    PARAMETERS,
    {"decision",   FIELD_STRING, FIELD_REQUIRED, .doc = "allow or deny"},
    {"form_token", FIELD_STRING, FIELD_REQUIRED, .doc = "Of the page: forms of other sites are refused."},
    {0}};
// clang-format on

struct wish { /* what is asked, and by whom */
    struct request *r;
    struct client client;
    struct str redirect, state, scope, challenge;
    unsigned partition;
    struct code_terms terms;
    struct grant grant;
    struct commit commit;
    char grant_id[ID_UUID], code[ID_KEY_MAX];
};

static struct str parameter(const struct request *r, const char *name)
{
    if (r->method == POST)
        return form_get(r->form, str_z(name));
    struct str value = query_count(r->query, str_z(name)) == 1 ? query_get(r->query, str_z(name)) : STR_NONE;
    return value.n > 0 ? value : STR_NONE;
}

/* --- back to the client --- */

static void put(struct buf *b, bool *first, const char *name, struct str value)
{
    if (value.n == 0)
        return;
    buf_printf(b, "%c%s=", *first ? '?' : '&', name);
    query_encode(b, value);
    *first = false;
}

static enum flow send_back(struct wish *w, const char *name, struct str value, const char *description)
{
    struct buf b;
    struct request *r = w->r;
    bool first = str_index(w->redirect, '?') < 0;
    buf_init_arena(&b, &r->arena, 512);
    buf_str(&b, w->redirect);
    put(&b, &first, name, value);
    put(&b, &first, "error_description", description == NULL ? STR_NONE : str_z(description));
    put(&b, &first, "state", w->state);
    put(&b, &first, "iss", issuer_url(r));
    return b.failed ? page_refuse(r, SYS_OVERLOADED) : page_redirect(r, buf_view(&b));
}

static enum flow fail(struct wish *w, const char *error, const char *description)
{
    return send_back(w, "error", str_z(error), description);
}

/* --- what is asked --- */

static const char *fault_of(struct wish *w, const char **error)
{
    struct request *r = w->r;
    struct str resource = parameter(r, "resource"), name;
    *error = "invalid_request";
    if (parameter(r, "response_type").p == NULL)
        return "response_type is missing";
    if (!str_eqz(parameter(r, "response_type"), "code") || !client_has_grant(&w->client, "authorization_code")) {
        *error = "unsupported_response_type";
        return "response_type is code";
    }
    if (w->challenge.n != GRANT_CHALLENGE || !str_eqz(parameter(r, "code_challenge_method"), "S256"))
        return "code_challenge is missing, or code_challenge_method is not S256";
    if (resource.p != NULL && !str_eq(resource, issuer_url(r))) {
        *error = "invalid_target";
        return "the resource is not this service";
    }
    *error = "invalid_scope";
    for (struct str rest = w->scope; scopes_next(&rest, &name);)
        if (!scopes_cover(w->client.scopes, name))
            return "the client may not ask for all of this";
    return NULL;
}

/* --- consent --- */

void authorize_show_scopes(struct html *p, struct str scopes)
{
    struct str scope;
    page_html(p, "<ul>");
    while (scopes_next(&scopes, &scope)) {
        const char *name, *grants, *doc, *found = str_eqz(scope, "*") ? "Everything that you may do." : NULL;
        for (size_t i = 0; scopes_row(i, &name, &grants, &doc); i++)
            if (str_eqz(scope, name))
                found = doc;
        page_html(p, "<li>");
        if (found != NULL) {
            page_text(p, str_z(found));
            page_html(p, " ");
        }
        page_html(p, "<code>");
        page_text(p, scope);
        page_html(p, "</code></li>\n");
    }
    page_html(p, "</ul>\n");
}

static enum flow show_consent(struct wish *w, const struct signed_in *s)
{
    struct html p;
    page_open(&p, w->r, "Allow access?");
    p.leads_to = redirect_origin(w->redirect);
    page_html(&p, "<p><strong>");
    page_text(&p, w->client.name);
    page_html(&p, "</strong> asks to act in your name, ");
    page_text(&p, s->user.email);
    page_html(&p, ", and never to do more than you may yourself:</p>\n");
    authorize_show_scopes(&p, w->scope);
    page_html(&p, "<p>You will be sent to <code>");
    page_text(&p, p.leads_to);
    page_html(&p, "</code>.</p>\n");
    page_form(&p, "/auth/authorize");
    for (const struct field *row = authorize_rows; row->name != NULL; row++)
        page_hidden(&p, row->name, parameter(w->r, row->name));
    page_html(&p, "<button name=\"decision\" value=\"allow\">Allow</button>"
                  "<button name=\"decision\" value=\"deny\">Deny</button></form>\n");
    return page_send(&p, 200);
}

/* --- the code --- */

static void coded(void *arg, const struct commit_result *result)
{
    struct wish *w = arg;
    if (result->code != OK)
        page_refuse(w->r, result->code);
    else
        send_back(w, "code", str_z(w->code), NULL);
}

static enum flow give_code(struct wish *w, const struct signed_in *s)
{
    struct request *r = w->r;
    int64_t now_ms = store_now_ms(r->worker->store);
    id_uuid(now_ms, w->grant_id);
    w->grant = (struct grant){.id = str_z(w->grant_id),
                              .user = s->user.id,
                              .user_name = s->user.name,
                              .client = w->client.id,
                              .scope = w->scope,
                              .partition = w->partition,
                              .tenant = w->client.tenant,
                              .since_ms = s->since_ms};
    w->terms = (struct code_terms){&w->grant, w->redirect, w->challenge};
    commit_begin(&w->commit, &r->arena, (struct space){w->partition, w->client.tenant}, COMMIT_GROWS);
    grant_put_code(&w->commit, r->worker->settings, &w->terms, now_ms, w->code);
    audit_add(&w->commit, r,
              &(struct audit_entry){
                  .action = "grant.allowed",
                  .resource = "grant",
                  .resource_id = w->grant.id,
                  .metadata = arena_printf(&r->arena, "{\"clientId\":\"" STR_FMT "\"}", STR_ARG(w->client.id))});
    enum code c = store_commit(r->worker->store, &w->commit, &r->ops, coded, w);
    return c == OK ? WAIT : page_refuse(r, c);
}

static enum flow person_known(struct request *r, const struct signed_in *s)
{
    struct wish *w = r->state;
    if (!str_eq(s->user.tenant, w->client.tenant)) {
        request_refuse(r, PERM_DENIED, "The client belongs to another organisation than the one you are signed in to.");
        return page_refuse(r, PERM_DENIED);
    }
    if (r->method != POST)
        return str_eqz(parameter(r, "prompt"), "none") ? fail(w, "consent_required", NULL) : show_consent(w, s);
    if (!str_eqz(form_get(r->form, S("decision")), "allow"))
        return fail(w, "access_denied", "the person refused");
    return give_code(w, s);
}

static enum flow nobody(struct request *r)
{
    return fail(r->state, "login_required", NULL);
}

/* --- the client --- */

static bool take_client(struct wish *w, const struct admitted *a)
{
    struct request *r = w->r;
    struct str wanted = parameter(r, "redirect_uri");
    if (!client_read(&w->client, &r->arena, w->partition, a->credential))
        return false;
    bool one = w->client.redirects.n > 0 && str_index(w->client.redirects, ' ') < 0;
    w->redirect = wanted.p == NULL && one ? w->client.redirects : wanted;
    w->scope = parameter(r, "scope");
    if (w->scope.p == NULL)
        w->scope = w->client.scopes;
    return true;
}

static void client_known(void *arg, enum code c, const struct admitted *a)
{
    struct wish *w = arg;
    struct request *r = w->r;
    const char *error, *fault;
    if (c == OK && (a->verdict != ADMIT_OK || !str_eqz(redis_text(redis_field(a->credential, S("kind"))), CLIENT_KIND)))
        c = request_refuse(r, OAUTH_INVALID_REQUEST, "There is no such client (client_id).");
    if (c == OK && !take_client(w, a))
        c = SYS_OVERLOADED;
    if (c == OK && !redirect_matches(w->client.redirects, w->redirect))
        c = request_refuse(r, OAUTH_INVALID_REQUEST,
                           "The address to go back to (redirect_uri) is not one of the client's.");
    if (c != OK)
        page_refuse(r, c);
    else if ((fault = fault_of(w, &error)) != NULL)
        fail(w, error, fault);
    else if (str_eqz(parameter(r, "prompt"), "none"))
        signed_in_or(r, person_known, nobody);
    else
        signed_in(r, person_known);
}

static enum flow look_at_client(struct request *r)
{
    char hex[65];
    struct wish *w = arena_new(&r->arena, struct wish);
    if (w == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    *w = (struct wish){.r = r, .state = parameter(r, "state"), .challenge = parameter(r, "code_challenge")};
    r->state = w;
    if (!client_credential(r->worker->settings, parameter(r, "client_id"), &w->partition, hex) ||
        w->state.n > AUTHORIZE_STATE_MAX) {
        request_refuse(r, OAUTH_INVALID_REQUEST, "There is no such client (client_id), or its state is too long.");
        return page_refuse(r, OAUTH_INVALID_REQUEST);
    }
    const struct admission in = {
        .partition = w->partition, .credential = str_z(hex), .space = {w->partition, STR_NONE}};
    enum code c = store_admit(r->worker->store, &r->arena, &in, &r->ops, client_known, w);
    return c == OK ? WAIT : page_refuse(r, c);
}

enum flow authorize_ask(struct request *r)
{
    return look_at_client(r);
}

enum flow authorize_answer(struct request *r)
{
    enum flow flow = form_admit(r);
    return flow == NEXT ? look_at_client(r) : flow;
}
