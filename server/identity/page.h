/* The few pages that people see in a browser: plain HTML without scripts and without anything from elsewhere.
 *
 *     struct html p;
 *     page_open(&p, r, "Sign in");
 *     page_html(&p, "<p>As ");
 *     page_text(&p, name);            // escaped
 *     page_html(&p, "</p>");
 *     return page_send(&p, 200);
 *
 * Every page forbids scripts, frames and caching, and sends no referrer elsewhere. Forms carry a token bound to a
 * cookie of this browser: a form that another site sends, or had filled in, is refused (form_admit). */
#ifndef SERVER_IDENTITY_PAGE_H
#define SERVER_IDENTITY_PAGE_H

#include "server/request.h"
#include "server/resource.h"

/* Flags of the routes of pages, and of those that their forms go to. */
enum { PAGE_ROUTE = ROUTE_PUBLIC | ROUTE_ENVELOPE_NONE, PAGE_FORM_ROUTE = PAGE_ROUTE | ROUTE_FORM };

struct html {
    struct request *request;
    struct buf b;
    struct str leads_to; /* where an answer to a form of the page may redirect (an origin); STR_NONE: nowhere else */
};

void page_open(struct html *p, struct request *r, const char *title);
void page_html(struct html *p, const char *html); /* as it is */
void page_text(struct html *p, struct str text);  /* escaped, for content and attributes in double quotes */
/* <form method="post" action=…> with the hidden token. Closed by page_html(p, "</form>"). */
void page_form(struct html *p, const char *action);
void page_hidden(struct html *p, const char *name, struct str value);
/* A labelled input. `type` and `autocomplete` as in HTML; value may be STR_NONE. */
void page_input(struct html *p, const char *name, const char *label, const char *type, const char *autocomplete,
                struct str value);
/* A sentence that assistive technology reads out at once. */
void page_alert(struct html *p, struct str text);
enum flow page_send(struct html *p, int status);

/* A whole page that says what is wrong, in the code's status; `why` as request_refuse formats it, or the table's text. */
enum flow page_refuse(struct request *r, enum code c);
/* 303 to `where`, which is a path of ours or a checked URL of a client. */
enum flow page_redirect(struct request *r, struct str where);

/* One value of the Cookie header; STR_NONE: there is none. `name` as page_cookie_name spells it. */
struct str page_cookie(struct request *r, const char *name);
/* Sets a cookie: HttpOnly, SameSite=Lax, and by https Secure and bound to this host (__Host-). life_s 0: takes it away. */
void page_set_cookie(struct request *r, const char *name, struct str value, int64_t life_s);

/* NEXT: the form came from one of our pages, in this browser. Else a page that says what is wrong with it. */
enum flow form_admit(struct request *r);

#endif
