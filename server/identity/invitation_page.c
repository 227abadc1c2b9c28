#include "server/identity/resources.h"

#include "proto/form.h"
#include "server/dialect.h"
#include "server/identity/invitation.h"
#include "server/identity/page.h"
#include "server/worker.h"

static enum flow invitation_page(struct request *r);
static enum flow invitation_answer(struct request *r);

// clang-format off
static const struct field invitation_form[] = {
    {"token",      FIELD_STRING, FIELD_REQUIRED, .doc = "Of the invitation."},
    {"name",       FIELD_STRING, FIELD_REQUIRED},
    {"password",   FIELD_STRING, FIELD_REQUIRED, .doc = "At least 12 characters."},
    {"form_token", FIELD_STRING, FIELD_REQUIRED, .doc = "Of the page: forms of other sites are refused."},
    {0}};

static const struct route routes[] = {
    {GET, "/auth/invitation", invitation_page, NULL, "invitationPage", "The page to take an invitation at.", PAGE_ROUTE, .media = "text/html"},
    {POST, "/auth/invitation", invitation_answer, NULL, "invitationAnswer", "Take an invitation: leads to the login.", PAGE_FORM_ROUTE,
     .status = 303, .body = invitation_form, .media = "text/html",
     .codes = {INVITATION_CODES, PERM_FORM, VAL_FAILED}},
    ROUTE_END};
// clang-format on

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

const struct resource invitation_page_resource = {
    .kind = "invitation-page",
    .plural = "invitation-pages",
    .tag = "IDENTITY",
    .doc = "Taking an invitation at a browser.",
    .routes = routes,
};
