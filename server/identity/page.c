#include "server/identity/page.h"

#include "lib/crypto.h"
#include "lib/id.h"
#include "proto/form.h"
#include "proto/http.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/dialect.h"
#include "server/oauth/issuer.h"
#include "server/settings.h"
#include "server/worker.h"

#define STYLE                                                                                                          \
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:26rem;margin:4rem auto;padding:0 1rem;color:#1b1f24;"           \
    "background:#fff}label{display:block;margin:1rem 0 .25rem}input{font:inherit;width:100%;box-sizing:border-box;"    \
    "padding:.5rem}button{font:inherit;margin:1.5rem .5rem 0 0;padding:.5rem 1.25rem}[role=alert]{border-left:.25rem " \
    "solid #b42318;padding-left:.75rem}code{font-size:1.1em}@media(prefers-color-scheme:dark){body{color:#e6e8ea;"     \
    "background:#14171a}a{color:#8ab4f8}}"

static const char browser_cookie[] = "slipway-browser"; /* what a form's token is bound to */
static const char token_field[] = "form_token";
enum { BROWSER_LIFE_S = 365 * 86400, BROWSER_TEXT = 32 };

/* --- cookies --- */

static bool is_secure(struct request *r)
{
    struct str name = issuer_url(r);
    return str_starts(name, S("https:"));
}

static struct str cookie_name(struct request *r, const char *name)
{
    struct arena *a = &r->arena;
    return is_secure(r) ? arena_printf(a, "__Host-%s", name) : str_z(name);
}

struct str page_cookie(struct request *r, const char *name)
{
    struct str rest = http_header(r->head, S("cookie")), wanted = cookie_name(r, name);
    while (rest.n > 0) {
        struct str value = str_trim(str_cut(&rest, ';')), found = str_cut(&value, '=');
        if (str_eq(found, wanted) && value.n > 0)
            return value;
    }
    return STR_NONE;
}

void page_set_cookie(struct request *r, const char *name, struct str value, int64_t life_s)
{
    struct str line =
        arena_printf(&r->arena, STR_FMT "=" STR_FMT "; Path=/; HttpOnly; SameSite=Lax; Max-Age=%lld%s",
                     STR_ARG(cookie_name(r, name)), STR_ARG(value), (long long)life_s, is_secure(r) ? "; Secure" : "");
    if (line.p != NULL)
        reply_header(r, "Set-Cookie", line);
}

/* --- forms --- */

/* Of the browser's cookie, which is set when it is missing. */
static void form_token(struct request *r, struct str browser, char hex[65])
{
    auth_subject(r->worker->settings, "form", browser, hex);
}

static struct str browser_of(struct request *r)
{
    struct buf b;
    uint8_t bytes[BROWSER_TEXT / 2];
    struct str browser = page_cookie(r, browser_cookie);
    if (browser.n == BROWSER_TEXT)
        return browser;
    buf_init_arena(&b, &r->arena, BROWSER_TEXT + 1);
    random_bytes(bytes, sizeof bytes);
    buf_hex(&b, bytes, sizeof bytes);
    if (b.failed)
        return STR_NONE;
    page_set_cookie(r, browser_cookie, buf_view(&b), BROWSER_LIFE_S);
    return buf_view(&b);
}

static const char *form_fault(struct request *r)
{
    char wanted[65];
    struct str origin = http_header(r->head, S("origin")), browser = page_cookie(r, browser_cookie);
    struct str site = http_header(r->head, S("sec-fetch-site"));
    struct str given = form_get(r->form, str_z(token_field));
    if (origin.p != NULL && !str_eq(origin, issuer_url(r)))
        return "the form comes from another site";
    if (site.p != NULL && !str_eqz(site, "same-origin") && !str_eqz(site, "none"))
        return "the form comes from another site";
    if (browser.n != BROWSER_TEXT || given.p == NULL)
        return "the form was not filled in here, or this browser refuses cookies";
    form_token(r, browser, wanted);
    return crypto_equal_str(str_z(wanted), given) ? NULL : "the form is too old; go back and load it again";
}

/* --- pages --- */

void page_open(struct html *p, struct request *r, const char *title)
{
    *p = (struct html){.request = r};
    buf_init_arena(&p->b, &r->arena, 4096);
    page_html(p, "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    page_text(p, str_z(title));
    page_html(p, " – Slipway</title><meta name=\"viewport\" content=\"width=device-width\"><style>" STYLE
                 "</style></head><body><main><h1>");
    page_text(p, str_z(title));
    page_html(p, "</h1>\n");
}

void page_html(struct html *p, const char *html)
{
    buf_z(&p->b, html);
}

void page_text(struct html *p, struct str text)
{
    for (size_t i = 0; i < text.n; i++)
        switch (text.p[i]) {
        case '<':
            buf_z(&p->b, "&lt;");
            break;
        case '>':
            buf_z(&p->b, "&gt;");
            break;
        case '&':
            buf_z(&p->b, "&amp;");
            break;
        case '"':
            buf_z(&p->b, "&quot;");
            break;
        default:
            buf_char(&p->b, text.p[i]);
        }
}

void page_form(struct html *p, const char *action)
{
    char hex[65];
    form_token(p->request, browser_of(p->request), hex);
    buf_printf(&p->b, "<form method=\"post\" action=\"%s%s\">", p->request->dialect->base, action);
    page_hidden(p, token_field, str_z(hex));
}

void page_hidden(struct html *p, const char *name, struct str value)
{
    if (value.n == 0)
        return;
    buf_printf(&p->b, "<input type=\"hidden\" name=\"%s\" value=\"", name);
    page_text(p, value);
    page_html(p, "\">\n");
}

void page_input(struct html *p, const char *name, const char *label, const char *type, const char *autocomplete,
                struct str value)
{
    buf_printf(&p->b,
               "<label for=\"%s\">%s</label><input id=\"%s\" name=\"%s\" type=\"%s\" autocomplete=\"%s\" value=\"",
               name, label, name, name, type, autocomplete);
    page_text(p, value.p == NULL ? S("") : value);
    page_html(p, "\" required>\n");
}

void page_alert(struct html *p, struct str text)
{
    page_html(p, "<p role=\"alert\">");
    page_text(p, text);
    page_html(p, "</p>\n");
}

/* Where forms lead to counts for redirects after them, too (CSP 3 §4.2.6). */
static void put_headers(const struct html *p)
{
    struct request *r = p->request;
    uint8_t hash[CRYPTO_HASH];
    struct buf policy;
    buf_init_arena(&policy, &r->arena, 512);
    crypto_sha256(S(STYLE), hash);
    buf_z(&policy, "default-src 'none'; style-src 'sha256-");
    buf_base64(&policy, hash, sizeof hash);
    buf_z(&policy, "'; form-action 'self'");
    if (p->leads_to.n > 0) {
        buf_char(&policy, ' ');
        buf_str(&policy, p->leads_to);
    }
    buf_z(&policy, "; frame-ancestors 'none'; base-uri 'none'");
    reply_header(r, "Content-Security-Policy", buf_view(&policy));
    reply_header(r, "Referrer-Policy", S("same-origin")); /* with no-referrer a form's Origin would be null */
    reply_header(r, "X-Frame-Options", S("DENY"));
}

enum flow page_send(struct html *p, int status)
{
    page_html(p, "</main></body></html>\n");
    if (p->b.failed)
        return reply_error(p->request, SYS_OVERLOADED);
    put_headers(p);
    return reply_raw(p->request, status, "text/html; charset=utf-8", buf_view(&p->b));
}

enum flow page_refuse(struct request *r, enum code c)
{
    struct html p;
    struct str why = r->why.p != NULL ? r->why : str_z(code_text(c));
    audit_refused(r, c, why);
    page_open(&p, r, "This did not work");
    page_alert(&p, why);
    if (code_status(c) == 429 || code_status(c) == 503)
        page_html(&p, "<p>Try again in a moment.</p>\n");
    page_html(&p, "<p><small>");
    page_text(&p, str_z(code_name(c)));
    page_html(&p, ", request ");
    page_text(&p, str_z(r->id));
    page_html(&p, "</small></p>\n");
    return page_send(&p, code_status(c));
}

enum flow page_redirect(struct request *r, struct str where)
{
    reply_header(r, "Location", where);
    return reply_empty(r, 303);
}

enum flow form_admit(struct request *r)
{
    const char *fault = form_fault(r);
    if (fault == NULL)
        return NEXT;
    request_refuse(r, PERM_FORM, "%s", fault);
    return page_refuse(r, PERM_FORM);
}
