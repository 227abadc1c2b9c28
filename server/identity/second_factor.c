#include "server/identity/second_factor.h"

#include "lib/crypto.h"
#include "lib/id.h"
#include "lib/keyring.h"
#include "proto/form.h"
#include "proto/query.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/dialect.h"
#include "server/identity/guesses.h"
#include "server/identity/resources.h"
#include "server/identity/totp.h"
#include "server/settings.h"
#include "server/worker.h"

#include <stdio.h>
#include <string.h>

static enum flow code_page(struct request *r);
static enum flow code_answer(struct request *r);
static enum flow turn_on(struct request *r);
static enum flow confirm(struct request *r);
static enum flow turn_off(struct request *r);

// clang-format off
static const struct field code_query[] = {
    {"return_to", FIELD_STRING, .max = 2048, .doc = "A path of this server, to go to afterwards."},
    {0}};
static const struct field code_form[] = {
    {"code",       FIELD_STRING, .doc = "Of the authenticator, or a recovery code."},
    {"return_to",  FIELD_STRING},
    {"form_token", FIELD_STRING, FIELD_REQUIRED, .doc = "Of the page: forms of other sites are refused."},
    {0}};

static const struct route routes[] = {
    {GET, "/auth/login/code", code_page, NULL, "codePage", "The page that asks for the second factor.", PAGE_ROUTE, .query = code_query,
     .media = "text/html", .other_status = 303},
    {POST, "/auth/login/code", code_answer, NULL, "codeAnswer", "Give the code: leads on.", PAGE_FORM_ROUTE, .status = 303, .body = code_form,
     .media = "text/html", .codes = {AUTH_LOGIN_FAILED, RATE_LOGIN_GUESSES, PERM_FORM}},
    {POST, "/auth/account/totp", turn_on, NULL, "totpBegin", "Make the secret of an authenticator, and show it.", PAGE_FORM_ROUTE, .body = code_form,
     .media = "text/html", .other_status = 303, .codes = {PERM_FORM}},
    {POST, "/auth/account/totp/confirm", confirm, NULL, "totpConfirm", "Turn the second factor on, with a first code; shows the recovery codes.",
     PAGE_FORM_ROUTE, .body = code_form, .media = "text/html", .other_status = 303, .codes = {AUTH_LOGIN_FAILED, PERM_FORM}},
    {POST, "/auth/account/totp/off", turn_off, NULL, "totpEnd", "Turn the second factor off, with a code.", PAGE_FORM_ROUTE, .status = 303, .body = code_form,
     .media = "text/html", .codes = {AUTH_LOGIN_FAILED, PERM_FORM}},
    ROUTE_END};
// clang-format on

struct attempt {
    struct request *r;
    const struct signed_in *s;
    struct commit commit;
    int64_t now_ms;
    struct guess guess;
    char recovery[RECOVERY_CODES][12]; /* shown once */
};

static struct attempt *attempt_new(struct request *r, const struct signed_in *s, unsigned flags)
{
    struct attempt *t = arena_new(&r->arena, struct attempt);
    if (t == NULL)
        return NULL;
    *t = (struct attempt){.r = r, .s = s, .now_ms = store_now_ms(r->worker->store)};
    commit_begin(&t->commit, &r->arena, (struct space){s->user.partition, s->user.tenant}, flags);
    return t;
}

static enum flow finish(struct attempt *t, const char *action, commit_then *then)
{
    struct request *r = t->r;
    audit_add(&t->commit, r,
              &(struct audit_entry){.action = action, .resource = USER_KIND, .resource_id = t->s->user.id});
    enum code c = store_commit(r->worker->store, &t->commit, &r->ops, then, t);
    return c == OK ? WAIT : page_refuse(r, c);
}

/* --- secrets and codes --- */

static struct str context_of(struct request *r, const struct user *u)
{
    return arena_printf(&r->arena, "totp:" STR_FMT, STR_ARG(u->id));
}

static bool open_secret(struct request *r, const struct user *u, struct str sealed, uint8_t secret[TOTP_BYTES])
{
    struct buf b;
    unsigned number;
    buf_init_arena(&b, &r->arena, 64);
    bool good = sealed.n > 0 && keyring_unseal(r->worker->settings->keyring, context_of(r, u), sealed, &b, &number) &&
                b.n == TOTP_BYTES;
    if (good)
        memcpy(secret, b.p, TOTP_BYTES);
    return good;
}

static void recovery_hash(struct request *r, const struct user *u, struct str code, char hex[65])
{
    struct str text = arena_printf(&r->arena, STR_FMT ":" STR_FMT, STR_ARG(u->id), STR_ARG(code));
    auth_subject(r->worker->settings, "recovery", text, hex);
}

/* Takes a code of the authenticator: in the commit its step counts, and none before it any more. */
static bool take_code(struct attempt *t, struct str sealed, struct str code)
{
    int64_t step;
    uint8_t secret[TOTP_BYTES];
    const struct user *u = &t->s->user;
    struct str key = user_key(&t->r->arena, t->r->worker->settings, t->commit.space, u->id);
    if (!open_secret(t->r, u, sealed, secret) || !totp_check(secret, code, t->now_ms / 1000, &step) ||
        step <= u->totp_step)
        return false;
    commit_expect_field(&t->commit, AUTH_LOGIN_FAILED, "code", key, S("totp_step"),
                        u->totp_step == 0 ? STR_NONE : arena_int(&t->r->arena, u->totp_step));
    user_set(&t->commit, t->r->worker->settings, u->id, "totp_step", arena_int(&t->r->arena, step));
    return true;
}

/* Takes a recovery code: in the commit it is gone. */
static bool take_recovery(struct attempt *t, struct str code)
{
    char hex[65];
    struct buf left;
    bool found = false;
    struct arena *a = &t->r->arena;
    const struct user *u = &t->s->user;
    recovery_hash(t->r, u, arena_lower(a, code), hex);
    buf_init_arena(&left, a, u->recovery.n + 1);
    for (struct str rest = u->recovery; rest.n > 0;) {
        struct str one = str_cut(&rest, ' ');
        if (crypto_equal_str(one, str_z(hex))) {
            found = true;
            continue;
        }
        buf_z(&left, left.n == 0 ? "" : " ");
        buf_str(&left, one);
    }
    if (!found || left.failed)
        return false;
    commit_expect_field(&t->commit, AUTH_LOGIN_FAILED, "code",
                        user_key(a, t->r->worker->settings, t->commit.space, u->id), S("recovery"), u->recovery);
    user_set(&t->commit, t->r->worker->settings, u->id, "recovery", left.n == 0 ? S("") : buf_view(&left));
    return true;
}

static bool take_either(struct attempt *t)
{
    struct str code = str_trim(form_get(t->r->form, S("code")));
    return code.n > 0 && (take_code(t, t->s->user.totp, code) || take_recovery(t, code));
}

/* --- at the login --- */

static enum flow show_code(struct request *r, struct str back, const char *wrong)
{
    struct html p;
    page_open(&p, r, "One more step");
    if (wrong != NULL)
        page_alert(&p, str_z(wrong));
    page_form(&p, "/auth/login/code");
    page_hidden(&p, "return_to", back);
    page_input(&p, "code", "Code of your authenticator, or a recovery code", "text", "one-time-code", STR_NONE);
    page_html(&p, "<button>Sign in</button></form>\n");
    return page_send(&p, wrong == NULL ? 200 : code_status(AUTH_LOGIN_FAILED));
}

enum flow second_factor_ask(struct request *r)
{
    struct buf b;
    struct str back = form_get(r->form, S("return_to"));
    buf_init_arena(&b, &r->arena, 256);
    buf_printf(&b, "%s/auth/login/code", r->dialect->base);
    if (back.n > 0) {
        buf_z(&b, "?return_to=");
        query_encode(&b, back);
    }
    return b.failed ? page_refuse(r, SYS_OVERLOADED) : page_redirect(r, buf_view(&b));
}

static enum flow ask_half(struct request *r, const struct signed_in *s)
{
    (void)s;
    struct str back = query_count(r->query, S("return_to")) == 1 ? query_get(r->query, S("return_to")) : STR_NONE;
    return show_code(r, back, NULL);
}

static enum flow code_page(struct request *r)
{
    return signed_in_half(r, ask_half);
}

static void counted(void *arg, const struct commit_result *result)
{
    struct attempt *t = arg;
    if (result->code != OK && result->code != AUTH_LOGIN_FAILED)
        page_refuse(t->r, result->code);
    else
        show_code(t->r, form_get(t->r->form, S("return_to")), "This is not the code, or it was used before.");
}

static enum flow count_wrong(struct request *r, const struct signed_in *s)
{
    struct attempt *t = attempt_new(r, s, COMMIT_ESSENTIAL);
    if (t == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    struct str key = key_credential(&r->arena, s->user.partition, str_z(s->credential));
    commit_expect_field(&t->commit, AUTH_LOGIN_FAILED, "tries", key, S("tries"),
                        s->tries == 0 ? STR_NONE : arena_int(&r->arena, s->tries));
    if (s->tries + 1 >= SECOND_FACTOR_TRIES_MAX)
        session_end(&t->commit, s);
    else
        commit_hset(&t->commit, key, S("tries"), arena_int(&r->arena, s->tries + 1));
    return finish(t, "user.code-refused", counted);
}

static void let_in(void *arg, const struct commit_result *result)
{
    struct attempt *t = arg;
    if (result->code == OK)
        page_redirect(t->r, return_to(t->r, form_get(t->r->form, S("return_to"))));
    else if (result->code == AUTH_LOGIN_FAILED)
        counted(arg, result);
    else
        page_refuse(t->r, result->code);
}

static void check_half(void *arg)
{
    struct attempt *t = arg;
    struct request *r = t->r;
    const struct signed_in *s = t->s;
    if (!take_either(t)) {
        count_wrong(r, s);
        return;
    }
    guess_right(&t->guess);
    session_end(&t->commit, s);
    session_forget(r, true);
    session_begin(&t->commit, r, &s->user, false, t->now_ms);
    user_touch(&t->commit, r->worker->settings, s->user.id, t->now_ms);
    finish(t, "user.login", let_in);
}

/* Five codes for each password, and no more of them than wrong passwords in all. */
static enum flow charge_half(struct request *r, const struct signed_in *s)
{
    struct attempt *t = attempt_new(r, s, 0);
    if (t == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    t->guess = (struct guess){.request = r,
                              .space = t->commit.space,
                              .who = arena_printf(&r->arena, "code:" STR_FMT, STR_ARG(s->user.id)),
                              .user = s->user.id};
    guess_charge(&t->guess, check_half, t);
    return WAIT;
}

static enum flow code_answer(struct request *r)
{
    enum flow flow = form_admit(r);
    return flow == NEXT ? signed_in_half(r, charge_half) : flow;
}

/* --- on the account page --- */

void second_factor_show(struct html *p, const struct user *u)
{
    page_html(p, "<h2>Second factor</h2>\n");
    if (u->totp.n == 0) {
        page_html(p, "<p>A code of an authenticator app, beside the password.</p>\n");
        page_form(p, "/auth/account/totp");
        page_html(p, "<button>Turn on</button></form>\n");
        return;
    }
    page_html(p, "<p>It is on.</p>\n");
    page_form(p, "/auth/account/totp/off");
    page_input(p, "code", "Code of your authenticator, or a recovery code", "text", "one-time-code", STR_NONE);
    page_html(p, "<button>Turn off</button></form>\n");
}

static enum flow show_secret(struct attempt *t, struct str sealed, const char *wrong)
{
    struct html p;
    char text[TOTP_TEXT];
    uint8_t secret[TOTP_BYTES];
    struct request *r = t->r;
    if (!open_secret(r, &t->s->user, sealed, secret))
        return page_refuse(r, SYS_INTERNAL);
    totp_text(secret, text);
    page_open(&p, r, "Second factor");
    if (wrong != NULL)
        page_alert(&p, str_z(wrong));
    page_html(&p, "<p>Give this secret to your authenticator, or open <a href=\"otpauth://totp/Slipway:");
    page_text(&p, t->s->user.email);
    buf_printf(&p.b, "?secret=%s&amp;issuer=Slipway\">this link</a> with it:</p>\n<p><code>%s</code></p>\n", text,
               text);
    page_form(&p, "/auth/account/totp/confirm");
    page_input(&p, "code", "The code that it shows", "text", "one-time-code", STR_NONE);
    page_html(&p, "<button>Turn on</button></form>\n");
    crypto_wipe(secret, sizeof secret);
    return page_send(&p, wrong == NULL ? 200 : code_status(AUTH_LOGIN_FAILED));
}

static void made(void *arg, const struct commit_result *result)
{
    struct attempt *t = arg;
    if (result->code != OK)
        page_refuse(t->r, result->code);
    else
        show_secret(t, t->s->pending, NULL);
}

/* The secret waits in the session until a first code shows that the authenticator has it. */
static enum flow make_secret(struct request *r, const struct signed_in *s)
{
    struct buf sealed;
    uint8_t secret[TOTP_BYTES];
    struct signed_in *with = arena_new(&r->arena, struct signed_in);
    if (with == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    *with = *s;
    struct attempt *t = attempt_new(r, with, 0);
    buf_init_arena(&sealed, &r->arena, 128);
    totp_make(secret);
    keyring_seal(r->worker->settings->keyring, context_of(r, &s->user),
                 (struct str){(const char *)secret, sizeof secret}, &sealed);
    crypto_wipe(secret, sizeof secret);
    if (t == NULL || sealed.failed)
        return page_refuse(r, SYS_OVERLOADED);
    with->pending = buf_view(&sealed);
    commit_hset(&t->commit, key_credential(&r->arena, s->user.partition, str_z(s->credential)), S("pending"),
                with->pending);
    return finish(t, "user.second-factor-begun", made);
}

static enum flow turn_on(struct request *r)
{
    enum flow flow = form_admit(r);
    return flow == NEXT ? signed_in(r, make_secret) : flow;
}

static void confirmed(void *arg, const struct commit_result *result)
{
    struct html p;
    struct attempt *t = arg;
    if (result->code != OK) {
        page_refuse(t->r, result->code);
        return;
    }
    page_open(&p, t->r, "The second factor is on");
    page_html(&p, "<p>Each of these signs you in once, without the authenticator. Keep them; they are not shown "
                  "again.</p>\n<ul>");
    for (size_t i = 0; i < RECOVERY_CODES; i++)
        buf_printf(&p.b, "<li><code>%s</code></li>\n", t->recovery[i]);
    buf_printf(&p.b, "</ul>\n<p><a href=\"%s/auth/account\">Your account</a></p>\n", t->r->dialect->base);
    page_send(&p, 200);
}

static struct str make_recovery(struct attempt *t)
{
    static const char letters[] = "abcdefghijkmnpqrstuvwxyz23456789";
    struct buf hashes;
    buf_init_arena(&hashes, &t->r->arena, RECOVERY_CODES * 65);
    for (size_t i = 0; i < RECOVERY_CODES; i++) {
        char hex[65];
        for (size_t j = 0; j < 11; j++)
            t->recovery[i][j] = j == 5 ? '-' : letters[random_below(sizeof letters - 1)];
        recovery_hash(t->r, &t->s->user, str_z(t->recovery[i]), hex);
        buf_printf(&hashes, "%s%s", i == 0 ? "" : " ", hex);
    }
    return hashes.failed ? STR_NONE : buf_view(&hashes);
}

static enum flow check_first(struct request *r, const struct signed_in *s)
{
    const struct settings *settings = r->worker->settings;
    struct attempt *t = attempt_new(r, s, 0);
    if (t == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    if (s->pending.n == 0)
        return page_redirect(r, return_to(r, STR_NONE));
    if (!take_code(t, s->pending, str_trim(form_get(r->form, S("code")))))
        return show_secret(t, s->pending, "This is not the code of this secret.");
    user_set(&t->commit, settings, s->user.id, "totp", s->pending);
    user_set(&t->commit, settings, s->user.id, "recovery", make_recovery(t));
    commit_hset(&t->commit, key_credential(&r->arena, s->user.partition, str_z(s->credential)), S("pending"), STR_NONE);
    return finish(t, "user.second-factor-on", confirmed);
}

static enum flow confirm(struct request *r)
{
    enum flow flow = form_admit(r);
    return flow == NEXT ? signed_in(r, check_first) : flow;
}

static void off(void *arg, const struct commit_result *result)
{
    struct attempt *t = arg;
    if (result->code != OK)
        page_refuse(t->r, result->code);
    else
        page_redirect(t->r, return_to(t->r, STR_NONE));
}

static enum flow check_last(struct request *r, const struct signed_in *s)
{
    static const char *const fields[] = {"totp", "recovery"};
    struct attempt *t = attempt_new(r, s, 0);
    if (t == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    if (!take_either(t)) {
        request_refuse(r, AUTH_LOGIN_FAILED, "This is not the code, or it was used before.");
        return page_refuse(r, AUTH_LOGIN_FAILED);
    }
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        user_set(&t->commit, r->worker->settings, s->user.id, fields[i], STR_NONE);
    return finish(t, "user.second-factor-off", off);
}

static enum flow turn_off(struct request *r)
{
    enum flow flow = form_admit(r);
    return flow == NEXT ? signed_in(r, check_last) : flow;
}

const struct resource second_factor_resource = {
    .kind = "second-factor",
    .plural = "second-factors",
    .tag = "IDENTITY",
    .doc = "Codes of an authenticator, beside the password.",
    .routes = routes,
};
