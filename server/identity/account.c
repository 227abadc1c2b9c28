#include "server/identity/resources.h"

#include "proto/form.h"
#include "server/audit.h"
#include "server/identity/guesses.h"
#include "server/identity/page.h"
#include "server/identity/password.h"
#include "server/identity/second_factor.h"
#include "server/identity/signed_in.h"
#include "server/oauth/grant_page.h"
#include "server/worker.h"

static enum flow account(struct request *r);
static enum flow change_password(struct request *r);

// clang-format off
static const struct field password_form[] = {
    {"password",     FIELD_STRING, FIELD_REQUIRED, .doc = "As it is."},
    {"new_password", FIELD_STRING, FIELD_REQUIRED, .doc = "At least 12 characters."},
    {"form_token",   FIELD_STRING, FIELD_REQUIRED, .doc = "Of the page: forms of other sites are refused."},
    {0}};

static const struct route routes[] = {
    {GET, "/auth/account", account, NULL, "accountPage", "Who is signed in here.", PAGE_ROUTE, .media = "text/html", .other_status = 303},
    {POST, "/auth/account/password", change_password, NULL, "changePassword",
     "Change one's password: every other session is over.", PAGE_FORM_ROUTE, .status = 303, .body = password_form, .media = "text/html",
     .codes = {AUTH_LOGIN_FAILED, RATE_LOGIN_GUESSES, PERM_FORM, VAL_FAILED}},
    ROUTE_END};
// clang-format on

static void show(struct request *r, const struct signed_in *s, const struct grants_shown *grants)
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
    grants_show(&p, grants);
    page_send(&p, 200);
}

static enum flow show_account(struct request *r, const struct signed_in *s)
{
    return grants_read(r, s, show);
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

const struct resource account_resource = {
    .kind = "account",
    .plural = "accounts",
    .tag = "IDENTITY",
    .doc = "What people see and change of themselves at a browser.",
    .routes = routes,
};
