#include "server/identity/resources.h"

#include "proto/form.h"
#include "proto/query.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/credential.h"
#include "server/dialect.h"
#include "server/identity/invitation.h"
#include "server/identity/guesses.h"
#include "server/identity/page.h"
#include "server/identity/password.h"
#include "server/identity/second_factor.h"
#include "server/identity/signed_in.h"
#include "server/worker.h"

static enum flow login_page(struct request *r);
static enum flow login(struct request *r);
static enum flow logout(struct request *r);
static enum flow account(struct request *r);
static enum flow change_password(struct request *r);
static enum flow invitation_page(struct request *r);
static enum flow invitation_answer(struct request *r);

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

static const struct field password_form[] = {
    {"password",     FIELD_STRING, FIELD_REQUIRED, .doc = "As it is."},
    {"new_password", FIELD_STRING, FIELD_REQUIRED, .doc = "At least 12 characters."},
    {"form_token",   FIELD_STRING, FIELD_REQUIRED, .doc = "Of the page: forms of other sites are refused."},
    {0}};
static const struct field invitation_form[] = {
    {"token",      FIELD_STRING, FIELD_REQUIRED, .doc = "Of the invitation."},
    {"name",       FIELD_STRING, FIELD_REQUIRED},
    {"password",   FIELD_STRING, FIELD_REQUIRED, .doc = "At least 12 characters."},
    {"form_token", FIELD_STRING, FIELD_REQUIRED, .doc = "Of the page: forms of other sites are refused."},
    {0}};

enum { PAGE = ROUTE_PUBLIC | ROUTE_ENVELOPE_NONE };

static const struct route routes[] = {
    {GET, "/auth/login", login_page, NULL, "loginPage", "The page to sign in at.", PAGE, .query = login_query, .media = "text/html"},
    {POST, "/auth/login", login, NULL, "login", "Sign in: sets the session's cookie and leads on.", PAGE | ROUTE_FORM, .status = 303,
     .body = login_form, .media = "text/html", .codes = {AUTH_LOGIN_FAILED, RATE_LOGIN_GUESSES, PERM_FORM}},
    {POST, "/auth/logout", logout, NULL, "logout", "Sign out: ends the session.", PAGE | ROUTE_FORM, .status = 303,
     .body = plain_form, .media = "text/html", .codes = {PERM_FORM}},
    {GET, "/auth/account", account, NULL, "accountPage", "Who is signed in here.", PAGE, .media = "text/html", .other_status = 303},
    {POST, "/auth/account/password", change_password, NULL, "changePassword",
     "Change one's password: every other session is over.", PAGE | ROUTE_FORM, .status = 303, .body = password_form, .media = "text/html",
     .codes = {AUTH_LOGIN_FAILED, RATE_LOGIN_GUESSES, PERM_FORM, VAL_FAILED}},
    {GET, "/auth/invitation", invitation_page, NULL, "invitationPage", "The page to take an invitation at.", PAGE, .media = "text/html"},
    {POST, "/auth/invitation", invitation_answer, NULL, "invitationAnswer", "Take an invitation: leads to the login.", PAGE | ROUTE_FORM,
     .status = 303, .body = invitation_form, .media = "text/html",
     .codes = {INVITATION_CODES, PERM_FORM, VAL_FAILED}},
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

static enum flow show_account(struct request *r, const struct signed_in *s)
{
    struct html p;
    page_open(&p, r, "Your account");
    page_html(&p, "<p>Signed in as <strong>");
    page_text(&p, s->user.name);
    page_html(&p, "</strong>, ");
    page_text(&p, s->user.email);
    page_html(&p, ".</p>\n");
    page_form(&p, "/auth/logout");
    page_html(&p, "<button>Sign out</button></form>\n");
    page_html(&p, "<h2>Password</h2>\n");
    page_form(&p, "/auth/account/password");
    page_input(&p, "password", "As it is", "password", "current-password", STR_NONE);
    page_input(&p, "new_password", "Another, 12 characters or more", "password", "new-password", STR_NONE);
    page_html(&p, "<button>Change</button></form>\n");
    second_factor_show(&p, &s->user);
    return page_send(&p, 200);
}

static enum flow account(struct request *r)
{
    return signed_in(r, show_account);
}

/* --- another password --- */

struct changing {
    struct request *r;
    const struct signed_in *s;
    struct guess guess;
    struct commit commit;
};

static void changed(void *arg, const struct commit_result *result)
{
    struct changing *t = arg;
    if (result->code != OK)
        page_refuse(t->r, result->code);
    else
        page_redirect(t->r, return_to(t->r, STR_NONE));
}

static void new_hashed(void *arg, struct str hashed)
{
    struct changing *t = arg;
    struct request *r = t->r;
    const struct user *u = &t->s->user;
    int64_t now_ms = store_now_ms(r->worker->store);
    commit_begin(&t->commit, &r->arena, (struct space){u->partition, u->tenant}, 0);
    user_set_password(&t->commit, r->worker->settings, u->id, hashed, now_ms);
    session_end(&t->commit, t->s);
    session_begin(&t->commit, r, u, false, now_ms);
    audit_add(&t->commit, r,
              &(struct audit_entry){.action = "user.password-changed", .resource = USER_KIND, .resource_id = u->id});
    enum code c = hashed.p == NULL ? SYS_OVERLOADED : store_commit(r->worker->store, &t->commit, &r->ops, changed, t);
    if (c != OK)
        page_refuse(r, c);
}

static void old_checked(void *arg, bool same)
{
    struct changing *t = arg;
    struct request *r = t->r;
    enum code c = AUTH_LOGIN_FAILED;
    if (!same) {
        request_refuse(r, c, "This is not your password as it is.");
    } else {
        guess_right(&t->guess);
        c = password_hash(r->worker, form_get(r->form, S("new_password")), &r->ops, new_hashed, t);
    }
    if (c != OK)
        page_refuse(r, c);
}

static void change_charged(void *arg)
{
    struct changing *t = arg;
    struct str given = form_get(t->r->form, S("password"));
    enum code c = password_check(t->r->worker, given, t->s->user.password, &t->r->ops, old_checked, t);
    if (c != OK)
        page_refuse(t->r, c);
}

static enum flow check_change(struct request *r, const struct signed_in *s)
{
    struct changing *t = arena_new(&r->arena, struct changing);
    struct str wanted = form_get(r->form, S("new_password"));
    const char *fault = password_fault(wanted.p == NULL ? S("") : wanted);
    if (t == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    if (fault != NULL) {
        request_refuse(r, VAL_FAILED, "The new password %s.", fault);
        return page_refuse(r, VAL_FAILED);
    }
    *t = (struct changing){.r = r, .s = s};
    t->guess = (struct guess){.request = r,
                              .space = {s->user.partition, s->user.tenant},
                              .who = arena_printf(&r->arena, "change:" STR_FMT, STR_ARG(s->user.id)),
                              .user = s->user.id};
    guess_charge(&t->guess, change_charged, t);
    return WAIT;
}

static enum flow change_password(struct request *r)
{
    enum flow flow = form_admit(r);
    return flow == NEXT ? signed_in(r, check_change) : flow;
}

/* --- invitations --- */

static enum flow show_invitation(struct request *r, struct str wrong, int status)
{
    struct html p;
    page_open(&p, r, "You are invited");
    if (wrong.n > 0)
        page_alert(&p, wrong);
    page_form(&p, "/auth/invitation");
    page_input(&p, "token", "Invitation", "text", "off", form_get(r->form, S("token")));
    page_input(&p, "name", "Your name", "text", "name", form_get(r->form, S("name")));
    page_input(&p, "password", "A password, 12 characters or more", "password", "new-password", STR_NONE);
    page_html(&p, "<button>Accept</button></form>\n");
    return page_send(&p, status);
}

static enum flow invitation_page(struct request *r)
{
    return show_invitation(r, STR_NONE, 200);
}

static void invited(struct request *r, enum code c, struct str user)
{
    (void)user;
    if (c == OK)
        page_redirect(r, arena_printf(&r->arena, "%s/auth/login", r->dialect->base));
    else if (code_status(c) >= 500)
        page_refuse(r, c);
    else
        show_invitation(r, r->why.p != NULL ? r->why : str_z(code_text(c)), code_status(c));
}

static enum flow invitation_answer(struct request *r)
{
    enum flow flow = form_admit(r);
    if (flow != NEXT)
        return flow;
    struct str token = form_get(r->form, S("token")), name = form_get(r->form, S("name"));
    struct str password = form_get(r->form, S("password"));
    if (token.n == 0 || name.n == 0 || name.n > 100 || password.n == 0)
        return show_invitation(r, S("Invitation, name and password are needed."), 400);
    enum code c = invitation_accept(r, token, name, password, invited);
    if (c != OK)
        invited(r, c, STR_NONE);
    return c == OK ? WAIT : DONE;
}

const struct resource login_resource = {
    .kind = "login",
    .plural = "logins",
    .tag = "IDENTITY",
    .doc = "Pages for people at a browser.",
    .routes = routes,
};
