#include "server/identity/resources.h"

#include "proto/form.h"
#include "proto/query.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/credential.h"
#include "server/dialect.h"
#include "server/identity/guesses.h"
#include "server/identity/page.h"
#include "server/identity/password.h"
#include "server/identity/second_factor.h"
#include "server/identity/signed_in.h"
#include "server/worker.h"

static enum flow login_page(struct request *r);
static enum flow login(struct request *r);
static enum flow logout(struct request *r);

// clang-format off
static const struct field login_query[] = {
    {"return_to", FIELD_STRING, .max = 2048, .doc = "A path of this server, to go to afterwards."},
    {0}};
static const struct field login_form[] = {
    {"tenant",     FIELD_STRING, .doc = "Name or id; `default` when it is left out."},
    {"email",      FIELD_STRING, FIELD_REQUIRED},
    {"password",   FIELD_STRING, FIELD_REQUIRED},
    {"return_to",  FIELD_STRING},
    {"form_token", FIELD_STRING, FIELD_REQUIRED, .doc = "Of the page: forms of other sites are refused."},
    {0}};
static const struct field plain_form[] = {
    {"form_token", FIELD_STRING, FIELD_REQUIRED, .doc = "Of the page: forms of other sites are refused."},
    {0}};

static const struct route routes[] = {
    {GET, "/auth/login", login_page, NULL, "loginPage", "The page to sign in at.", PAGE_ROUTE, .query = login_query, .media = "text/html"},
    {POST, "/auth/login", login, NULL, "login", "Sign in: sets the session's cookie and leads on.", PAGE_FORM_ROUTE, .status = 303,
     .body = login_form, .media = "text/html", .codes = {AUTH_LOGIN_FAILED, RATE_LOGIN_GUESSES, PERM_FORM}},
    {POST, "/auth/logout", logout, NULL, "logout", "Sign out: ends the session.", PAGE_FORM_ROUTE, .status = 303,
     .body = plain_form, .media = "text/html", .codes = {PERM_FORM}},
    ROUTE_END};
// clang-format on

struct attempt {
    struct request *r;
    struct str email, password;
    struct guess guess;
    char tenant[ID_UUID];
    const struct user *user;
    struct commit commit;
};

static enum flow show(struct request *r, struct str tenant, struct str email, struct str back, const char *wrong)
{
    struct html p;
    page_open(&p, r, "Sign in");
    if (wrong != NULL) {
        audit_refused(r, AUTH_LOGIN_FAILED, str_z(wrong));
        page_alert(&p, str_z(wrong));
    }
    page_form(&p, "/auth/login");
    page_hidden(&p, "return_to", back);
    page_input(&p, "tenant", "Organisation", "text", "organization", tenant.n > 0 ? tenant : S(FIRST_TENANT));
    page_input(&p, "email", "Email", "email", "username", email);
    page_input(&p, "password", "Password", "password", "current-password", STR_NONE);
    page_html(&p, "<button>Sign in</button></form>\n");
    return page_send(&p, wrong == NULL ? 200 : code_status(AUTH_LOGIN_FAILED));
}

static enum flow login_page(struct request *r)
{
    struct str back = query_count(r->query, S("return_to")) == 1 ? query_get(r->query, S("return_to")) : STR_NONE;
    return show(r, STR_NONE, STR_NONE, back, NULL);
}

static void logged_in(void *arg, const struct commit_result *result)
{
    struct attempt *t = arg;
    if (result->code != OK)
        page_refuse(t->r, result->code);
    else
        t->user->totp.n > 0 ? second_factor_ask(t->r)
                            : page_redirect(t->r, return_to(t->r, form_get(t->r->form, S("return_to"))));
}

static enum code begin(struct attempt *t)
{
    if (t->user->totp.n > 0) /* the browser is known once the code is right, too */
        t->guess.user = STR_NONE;
    guess_right(&t->guess);
    struct request *r = t->r;
    const struct user *u = t->user;
    int64_t now_ms = store_now_ms(r->worker->store);
    r->caller = (struct caller){
        .type = CALLER_USER, .id = u->id, .name = u->name, .tenant = u->tenant, .partition = u->partition};
    commit_begin(&t->commit, &r->arena, (struct space){u->partition, u->tenant}, 0);
    bool half = u->totp.n > 0;
    session_begin(&t->commit, r, u, half, now_ms);
    if (!half)
        user_touch(&t->commit, r->worker->settings, u->id, now_ms);
    audit_add(&t->commit, r,
              &(struct audit_entry){
                  .action = half ? "user.password-given" : "user.login", .resource = USER_KIND, .resource_id = u->id});
    return store_commit(r->worker->store, &t->commit, &r->ops, logged_in, t);
}

static void checked(void *arg, bool same)
{
    struct attempt *t = arg;
    struct request *r = t->r;
    if (!same || t->user == NULL || t->user->suspended) {
        show(r, form_get(r->form, S("tenant")), t->email, form_get(r->form, S("return_to")),
             "No such person in this organisation, or not with this password.");
        return;
    }
    enum code c = begin(t);
    if (c != OK)
        page_refuse(r, c);
}

static void charged(void *arg)
{
    struct attempt *t = arg;
    struct str hashed = t->user == NULL ? S("") : t->user->password;
    enum code c = password_check(t->r->worker, t->password, hashed, &t->r->ops, checked, t);
    if (c != OK)
        page_refuse(t->r, c);
}

static void user_found(void *arg, enum code c, const struct user *u)
{
    struct attempt *t = arg;
    struct request *r = t->r;
    if (c != OK) {
        page_refuse(r, c);
        return;
    }
    t->user = u;
    t->guess = (struct guess){
        .request = r,
        .space = {partition_of(str_z(t->tenant)), str_z(t->tenant)},
        .who = arena_printf(&r->arena, "login:" STR_FMT, STR_ARG(arena_lower(&r->arena, t->email))),
        .user = u == NULL ? STR_NONE : u->id,
    };
    guess_charge(&t->guess, charged, t);
}

static enum flow login(struct request *r)
{
    struct attempt *t = arena_new(&r->arena, struct attempt);
    struct str tenant = form_get(r->form, S("tenant"));
    enum flow flow = form_admit(r);
    if (flow != NEXT)
        return flow;
    if (t == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    *t = (struct attempt){.r = r, .email = form_get(r->form, S("email")), .password = form_get(r->form, S("password"))};
    tenant_id(tenant.p == NULL ? S(FIRST_TENANT) : tenant, t->tenant);
    struct space space = {partition_of(str_z(t->tenant)), str_z(t->tenant)};
    struct str email = t->email.p == NULL ? S("") : t->email;
    enum code c = user_by_email(r->worker, &r->arena, space, email, &r->ops, user_found, t);
    return c == OK ? WAIT : page_refuse(r, c);
}

static void logged_out(void *arg, const struct commit_result *result)
{
    struct attempt *t = arg;
    if (result->code != OK)
        page_refuse(t->r, result->code);
    else
        page_redirect(t->r, arena_printf(&t->r->arena, "%s/auth/login", t->r->dialect->base));
}

static enum flow end_session(struct request *r, const struct signed_in *s)
{
    struct attempt *t = arena_new(&r->arena, struct attempt);
    if (t == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    *t = (struct attempt){.r = r};
    commit_begin(&t->commit, &r->arena, (struct space){s->user.partition, s->user.tenant}, COMMIT_ESSENTIAL);
    session_end(&t->commit, s);
    session_forget(r, false);
    audit_add(&t->commit, r,
              &(struct audit_entry){.action = "user.logout", .resource = USER_KIND, .resource_id = s->user.id});
    enum code c = store_commit(r->worker->store, &t->commit, &r->ops, logged_out, t);
    return c == OK ? WAIT : page_refuse(r, c);
}

static enum flow logout(struct request *r)
{
    enum flow flow = form_admit(r);
    return flow == NEXT ? signed_in(r, end_session) : flow;
}

const struct resource login_resource = {
    .kind = "login",
    .plural = "logins",
    .tag = "IDENTITY",
    .doc = "Signing in and out at a browser.",
    .routes = routes,
};
