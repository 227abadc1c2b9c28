#include "server/oauth/grant_page.h"

#include "lib/clock.h"
#include "proto/form.h"
#include "server/audit.h"
#include "server/auth.h"
#include "server/oauth/grant.h"
#include "server/oauth/resources.h"
#include "server/worker.h"

#include <string.h>

static enum flow grant_take_back(struct request *r);

// clang-format off
static const struct field end_form[] = {
    {"grant",      FIELD_STRING, FIELD_REQUIRED, .doc = "Its id, as the page has it."},
    {"form_token", FIELD_STRING, FIELD_REQUIRED, .doc = "Of the page: forms of other sites are refused."},
    {0}};

static const struct route routes[] = {
    {POST, "/auth/account/grants/end", grant_take_back, NULL, "grantEnd",
     "Take back what a program was allowed to do: its tokens are refused from now on.", PAGE_FORM_ROUTE, .status = 303, .body = end_form,
     .media = "text/html", .codes = {PERM_FORM, RES_NOT_FOUND}},
    ROUTE_END};
// clang-format on

/* --- reading --- */

struct reading {
    struct request *r;
    const struct signed_in *s;
    grants_then *then;
    struct grants_shown shown;
};

static struct space space_of(const struct signed_in *s)
{
    return (struct space){s->user.partition, s->user.tenant};
}

static void records_read(void *arg, enum code c, const struct redis_value *v)
{
    struct reading *t = arg;
    struct arena *a = &t->r->arena;
    size_t n = t->shown.n;
    t->shown.n = 0;
    for (size_t i = 0; c == OK && i < n; i++) {
        const struct redis_value *record = redis_at(v, i);
        struct grant_shown *shown = &t->shown.list[t->shown.n];
        struct str name = redis_text(redis_at(record, 1));
        if (redis_is_nil(redis_at(record, 0)) || redis_text(redis_at(record, 2)).n > 0)
            continue; /* over, or taken back */
        *shown = (struct grant_shown){
            .id = t->shown.list[i].id,
            .client = arena_str(a, name.n > 0 ? name : redis_text(redis_at(record, 0))),
            .scope = arena_str(a, redis_text(redis_at(record, 3))),
            .created_ms = redis_int(redis_at(record, 4), 0),
        };
        t->shown.n++;
    }
    if (c != OK)
        page_refuse(t->r, c);
    else
        t->then(t->r, t->s, &t->shown);
}

static enum code read_records(struct reading *t)
{
    struct arena *a = &t->r->arena;
    struct store_command reads[GRANTS_SHOWN + 1];
    for (size_t i = 0; i <= t->shown.n; i++) { /* the first once more at the end: so the answer is an array */
        struct str *words = arena_array(a, 7, sizeof *words);
        if (words == NULL)
            return SYS_OVERLOADED;
        const struct str id = t->shown.list[i % t->shown.n].id;
        memcpy(words,
               (const struct str[]){S("HMGET"), grant_key(a, t->r->worker->settings, t->s->user.partition, id),
                                    S("client"), S("client_name"), S("revoked"), S("scope"), S("created")},
               7 * sizeof *words);
        reads[i] = (struct store_command){7, words};
    }
    return store_read(t->r->worker->store, reads, t->shown.n + 1, &t->r->ops, records_read, t);
}

static void ids_read(void *arg, enum code c, const struct redis_value *v)
{
    struct reading *t = arg;
    size_t n = c == OK ? v->count : 0;
    for (size_t i = 0; i < n && i < GRANTS_SHOWN; i++)
        t->shown.list[t->shown.n++].id = arena_str(&t->r->arena, redis_text(redis_at(v, i)));
    if (c == OK && t->shown.n == 0)
        t->then(t->r, t->s, &t->shown);
    else if (c == OK)
        c = read_records(t);
    if (c != OK)
        page_refuse(t->r, c);
}

enum flow grants_read(struct request *r, const struct signed_in *s, grants_then *then)
{
    struct reading *t = arena_new(&r->arena, struct reading);
    if (t == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    *t = (struct reading){.r = r, .s = s, .then = then};
    const struct store_command read =
        STORE_COMMAND(S("ZRANGE"), key_user_grants(&r->arena, space_of(s), s->user.id), S("+inf"),
                      arena_int(&r->arena, store_now_ms(r->worker->store)), S("BYSCORE"), S("REV"), S("LIMIT"), S("0"),
                      arena_int(&r->arena, GRANTS_SHOWN));
    enum code c = store_read(r->worker->store, &read, 1, &r->ops, ids_read, t);
    return c == OK ? WAIT : page_refuse(r, c);
}

/* --- showing --- */

void grants_show(struct html *p, const struct grants_shown *grants)
{
    char since[CLOCK_TEXT];
    if (grants->n > 0)
        page_html(p, "<h2>Programs that act for you</h2>\n");
    for (size_t i = 0; i < grants->n; i++) {
        const struct grant_shown *g = &grants->list[i];
        clock_text(g->created_ms, since);
        page_html(p, "<p><strong>");
        page_text(p, g->client);
        page_html(p, "</strong>, since ");
        page_text(p, str_slice(str_z(since), 0, 10)); /* the day */
        page_html(p, ": ");
        page_text(p, g->scope);
        page_html(p, "</p>\n");
        page_form(p, "/auth/account/grants/end");
        page_hidden(p, "grant", g->id);
        page_html(p, "<button>Take back</button></form>\n");
    }
}

/* --- taking one back --- */

struct ending {
    struct request *r;
    struct commit commit;
};

static void ended(void *arg, const struct commit_result *result)
{
    struct ending *t = arg;
    if (result->code != OK)
        page_refuse(t->r, result->code);
    else
        page_redirect(t->r, return_to(t->r, STR_NONE));
}

static enum flow end_grant(struct request *r, const struct signed_in *s)
{
    struct ending *t = arena_new(&r->arena, struct ending);
    struct str id = form_get(r->form, S("grant"));
    if (t == NULL)
        return page_refuse(r, SYS_OVERLOADED);
    if (!id_is_uuid(id, NULL))
        return page_refuse(r, RES_NOT_FOUND);
    t->r = r;
    const struct settings *settings = r->worker->settings;
    commit_begin(&t->commit, &r->arena, space_of(s), COMMIT_ESSENTIAL);
    commit_expect_field(&t->commit, RES_NOT_FOUND, "grant", grant_key(&r->arena, settings, s->user.partition, id),
                        S("user"), s->user.id);
    grant_end(&t->commit, settings, id, store_now_ms(r->worker->store));
    commit_zrem(&t->commit, key_user_grants(&r->arena, space_of(s), s->user.id), id);
    audit_add(&t->commit, r,
              &(struct audit_entry){.action = "grant.ended",
                                    .resource = "grant",
                                    .resource_id = id,
                                    .metadata = S("{\"reason\":\"taken back by the person\"}")});
    enum code c = store_commit(r->worker->store, &t->commit, &r->ops, ended, t);
    return c == OK ? WAIT : page_refuse(r, c);
}

static enum flow grant_take_back(struct request *r)
{
    enum flow flow = form_admit(r);
    return flow == NEXT ? signed_in(r, end_grant) : flow;
}

const struct resource grant_page_resource = {
    .kind = "grant-page",
    .plural = "grant-pages",
    .tag = "IDENTITY",
    .doc = "What people let programs do, taken back at a browser.",
    .routes = routes,
};
