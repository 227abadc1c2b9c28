#include "server/engine/freeze.h"

#include "lib/clock.h"
#include "server/bitmap.h"

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

/* A time that cannot be read blocks: it is in force from ever, and for ever. */
static int64_t time_of(const struct json *window, const char *name, int64_t otherwise)
{
    int64_t at;

    return clock_parse(member(window, name), &at) ? at : otherwise;
}

int64_t freeze_end(const struct json *window)
{
    return time_of(window, "end", INT64_MAX);
}

bool freeze_active(const struct json *window, int64_t now_ms)
{
    return time_of(window, "start", INT64_MIN) <= now_ms && now_ms < freeze_end(window);
}

static bool listed(const struct json *list, struct str text)
{
    for (size_t i = 0; i < json_count(list); i++)
        if (text.n > 0 && str_eq(json_str(json_at(list, i)), text))
            return true;
    return false;
}

bool freeze_overridden(const struct json *window, const struct json *override)
{
    return listed(json_get(override, "windowIds"), member(window, "id"));
}

bool freeze_may_override(const struct json *window, struct str user, bool permitted)
{
    return permitted || listed(json_get(window, "exceptions"), user);
}

static bool blocks(const struct json *window, const struct json *override, int64_t now_ms)
{
    return freeze_active(window, now_ms) && !freeze_overridden(window, override);
}

struct freeze_outlook freeze_judge(const struct json *const *windows, size_t n, const struct json *override,
                                   int64_t now_ms)
{
    struct freeze_outlook out = {0, 0};

    for (size_t i = 0; i < n; i++) {
        int64_t end = freeze_end(windows[i]);

        if (!blocks(windows[i], override, now_ms))
            continue;
        out.until_ms = out.blocking == 0 || end < out.until_ms ? end : out.until_ms;
        out.blocking++;
    }
    return out;
}

void freeze_blocker(struct json_out *o, const struct json *window, const char *message)
{
    json_open(o, '{');
    json_key(o, S("gate"));
    json_put_z(o, FREEZE_GATE);
    json_key(o, S("message"));
    json_put_z(o, message);
    json_key(o, S("reason"));
    json_put(o, json_get(window, "reason"));
    json_key(o, S("until"));
    json_put(o, json_get(window, "end"));
    json_key(o, S("windowId"));
    json_put(o, json_get(window, "id"));
    json_close(o, '}');
}

void freeze_blockers(struct json_out *o, const struct json *const *windows, size_t n, const struct json *override,
                     int64_t now_ms)
{
    for (size_t i = 0; i < n; i++)
        if (blocks(windows[i], override, now_ms))
            freeze_blocker(o, windows[i], "the environment is frozen; it goes on when the window has ended");
}

struct str freeze_facet(struct arena *a, struct space s, struct str environment)
{
    return key_facet(a, s, "freeze-window", arena_printf(a, "environmentId=" STR_FMT, STR_ARG(environment)));
}

bool freeze_set_open(struct arena *a, struct str key, const struct redis_value *chunks, struct freeze_set *out)
{
    struct bitmap bits;
    size_t n = chunks == NULL ? 0 : chunks->count;

    *out = (struct freeze_set){.key = key, .chunk = arena_array(a, n + 1, sizeof(*out->chunk)), .chunks = n / 2};
    out->ordinals = arena_array(a, FREEZE_WINDOWS, sizeof(*out->ordinals));
    if (out->chunk == NULL || out->ordinals == NULL)
        return false;
    for (size_t i = 0; i < n; i++)
        if ((out->chunk[i] = arena_str(a, redis_text(redis_at(chunks, i)))).p == NULL)
            return false;
    if (n == 0)
        return true;
    if (!bitmap_join(a, chunks, &bits))
        return false;
    out->n = bitmap_pick(&bits, true, 0, FREEZE_WINDOWS, out->ordinals);
    return true;
}

struct page_query freeze_set_query(const struct freeze_set *f, struct space s)
{
    return (struct page_query){
        .space = s, .kind = "freeze-window", .source = PAGE_ORDINALS, .ordinals = f->ordinals, .n = f->n};
}

bool freeze_set_fill(struct arena *a, struct freeze_set *f, const struct page_result *result)
{
    struct page_item item;

    f->windows = arena_array(a, f->n + 1, sizeof(*f->windows));
    if (f->windows == NULL)
        return false;
    for (size_t i = 0; page_item(result, i, &item); i++) {
        struct str text = item.json.p == NULL ? STR_NONE : arena_str(a, item.json);

        if (item.json.p == NULL)
            continue;
        f->windows[f->count] = text.p == NULL ? NULL : json_parse(a, text, NULL, NULL);
        if (f->windows[f->count++] == NULL)
            return false;
    }
    return true;
}

void freeze_set_pin(struct commit *c, const struct freeze_set *f)
{
    if (f->chunks == 0)
        commit_expect_absent(c, RES_VERSION_CONFLICT, "pin", f->key);
    else
        commit_expect_at_most(c, RES_VERSION_CONFLICT, "pin", f->key, (int64_t)f->chunks);
    for (size_t i = 0; i < f->chunks; i++)
        commit_expect_field(c, RES_VERSION_CONFLICT, "pin", f->key, f->chunk[2 * i], f->chunk[2 * i + 1]);
}
