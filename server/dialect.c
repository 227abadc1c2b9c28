#include "server/dialect.h"

#include "lib/clock.h"
#include "server/oauth/issuer.h"
#include "server/reply.h"

static void write_meta(struct json_out *o, const struct request *r, const struct page *page)
{
    json_key(o, S("meta"));
    json_open(o, '{');
    if (page != NULL) {
        int64_t pages = (page->total + page->size - 1) / page->size;
        json_key(o, S("pagination"));
        json_open(o, '{');
        json_key(o, S("page"));
        json_put_int(o, page->page);
        json_key(o, S("pageSize"));
        json_put_int(o, page->size);
        json_key(o, S("totalItems"));
        json_put_int(o, page->total);
        json_key(o, S("totalPages"));
        json_put_int(o, pages);
        json_key(o, S("hasNext"));
        json_put_bool(o, page->page < pages);
        json_key(o, S("hasPrevious"));
        json_put_bool(o, page->page > 1 && page->total > 0);
        json_close(o, '}');
    }
    json_key(o, S("requestId"));
    json_put_z(o, r->id);
    json_key(o, S("timestamp"));
    json_put_time(o, clock_wall_ms());
    json_close(o, '}');
}

/* {"success":true,"data":…,"meta":{"pagination":{…},"requestId":"…","timestamp":"…"}} */
void dialect_orchestrator_data(struct buf *b, const struct request *r, struct str data, const struct page *page)
{
    struct json_out o;
    json_out_init(&o, b);
    json_open(&o, '{');
    json_key(&o, S("success"));
    json_put_bool(&o, true);
    json_key(&o, S("data"));
    json_put_raw(&o, data);
    write_meta(&o, r, page);
    json_close(&o, '}');
}

/* {"success":false,"error":{"code":"…","message":"…","details":{…},"validationErrors":[…]},"meta":{…}} */
void dialect_orchestrator_error(struct buf *b, const struct request *r, enum code c, struct str message)
{
    struct json_out o;
    json_out_init(&o, b);
    json_open(&o, '{');
    json_key(&o, S("success"));
    json_put_bool(&o, false);
    json_key(&o, S("error"));
    json_open(&o, '{');
    json_key(&o, S("code"));
    json_put_z(&o, code_name(c));
    json_key(&o, S("message"));
    json_put_str(&o, message);
    if (r->details.n > 0) {
        json_key(&o, S("details"));
        json_put_raw(&o, r->details);
    }
    if (r->faults != NULL && r->faults->n > 0) {
        json_key(&o, S("validationErrors"));
        reply_faults(&o, r->faults);
    }
    json_close(&o, '}');
    write_meta(&o, r, NULL);
    json_close(&o, '}');
}

void dialect_bearer(struct request *r, enum code c)
{
    const char *error = c == AUTH_TOKEN_MISSING ? ""
                        : code_status(c) == 403 ? ", error=\"insufficient_scope\""
                                                : ", error=\"invalid_token\"";
    struct str scope = code_status(c) == 403 ? arena_printf(&r->arena, ", scope=\"%s\"", r->lacks) : STR_NONE;
    reply_header(r, "WWW-Authenticate",
                 arena_printf(&r->arena,
                              "Bearer realm=\"slipway\"%s" STR_FMT ", resource_metadata=\"" STR_FMT
                              "/.well-known/oauth-protected-resource\"",
                              error, STR_ARG(scope), STR_ARG(issuer_url(r))));
}

const struct dialect dialect_orchestrator = {
    .name = "orchestrator",
    .base = "/api/v1",
    .resources = resources,
    .page = "page",
    .page_size = "pageSize",
    .sort = "sort",
    .filter = "filter",
    .page_size_preset = 20,
    .page_size_max = DIALECT_PAGE_SIZE_MAX,
    .stale = RES_VERSION_CONFLICT,
    .key_conflict = RES_IDEMPOTENCY_CONFLICT,
    .write_data = dialect_orchestrator_data,
    .write_error = dialect_orchestrator_error,
    .write_challenge = dialect_bearer,
};

const struct dialect *dialect_of(struct str path)
{
    for (size_t i = 0; dialects[i] != NULL; i++) {
        struct str base = str_z(dialects[i]->base);
        if (base.n > 0 && str_starts(path, base) && (path.n == base.n || path.p[base.n] == '/'))
            return dialects[i];
    }
    return &dialect_system;
}
