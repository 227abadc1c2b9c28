#include "server/agent/sticker.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "server/commands.h"

enum { WAIT_MS = 60000, LOOK_MS = 100 };

/* --- the text --- */

/* Copies members that are there and not null. */
static void put_members(struct json_out *o, const struct json *from, const char *const *names)
{
    for (; *names != NULL; names++) {
        const struct json *v = json_get(from, *names);
        if (v == NULL || json_is(v, JSON_NULL))
            continue;
        json_key(o, str_z(*names));
        json_put(o, v);
    }
}

static void put_object(struct json_out *o, const struct json *payload, const char *name, const char *const *names)
{
    json_key(o, str_z(name));
    json_open(o, '{');
    put_members(o, json_get(payload, name), names);
    json_close(o, '}');
}

struct str sticker_text(struct arena *a, const struct json *payload, int64_t now_ms)
{
    static const char *const of_component[] = {"digest", "name", "semver", "tag", NULL};
    static const char *const of_release[] = {"createdAt", "id", "name", NULL};
    static const char *const of_deployment[] = {"id", "startedAt", NULL};
    static const char *const of_environment[] = {"id", "name", NULL};
    const struct json *release = json_get(payload, "release"), *components = json_get(release, "components");
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, a, 1024);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put_object(&o, payload, "deployment", of_deployment);
    put_object(&o, payload, "environment", of_environment);
    json_key(&o, S("generatedAt"));
    json_put_time(&o, now_ms);
    json_key(&o, S("generator"));
    json_put_z(&o, "slipway-agent/" SLIPWAY_VERSION);
    json_key(&o, S("release"));
    json_open(&o, '{');
    json_key(&o, S("components"));
    json_open(&o, '[');
    for (size_t i = 0; i < json_count(components); i++) {
        json_open(&o, '{');
        put_members(&o, json_at(components, i), of_component);
        json_close(&o, '}');
    }
    json_close(&o, ']');
    put_members(&o, release, of_release);
    json_close(&o, '}');
    json_key(&o, S("version"));
    json_put_z(&o, "1.0");
    json_close(&o, '}');
    return b.failed ? STR_NONE : buf_view(&b);
}

struct str sticker_hash(struct arena *a, struct str text)
{
    uint8_t sum[CRYPTO_HASH];
    struct buf b;
    crypto_sha256(text, sum);
    buf_init_arena(&b, a, 80);
    buf_z(&b, "sha256:");
    buf_hex(&b, sum, sizeof sum);
    return b.failed ? STR_NONE : buf_view(&b);
}

/* --- the folder --- */

bool sticker_root(struct work *w, const char **root)
{
    struct str path = json_str(json_get(w->task->payload, "root"));
    if (path.n == 0 || path.p[0] != '/')
        return work_fail(w, PROTOCOL_PAYLOAD, "payload.root is no absolute path");
    *root = arena_z(w->arena, path);
    return *root != NULL || work_fail(w, PROTOCOL_TARGET, "out of memory");
}

bool sticker_place(struct work *w, const char **root, struct release_place *place)
{
    struct archive_fault fault;
    int64_t until = clock_mono_ms() + WAIT_MS;
    if (!sticker_root(w, root))
        return false;
    bool open = release_open(place, *root, &fault);
    if (!open && place->busy)
        work_say(w, "%s; waiting for it to end", fault.text);
    while (!open && place->busy && clock_mono_ms() < until) {
        work_sleep(w, LOOK_MS);
        if (work_stopped_fail(w))
            return false;
        open = release_open(place, *root, &fault);
    }
    return open || work_fail(w, place->busy ? PROTOCOL_TARGET_BUSY : PROTOCOL_TARGET, "%s", fault.text);
}

/* --- the tasks --- */

static void put_hashed(struct work *w, struct json_out *o, struct str text, const struct json *sticker)
{
    json_key(o, S("contentHash"));
    json_put_str(o, sticker_hash(w->arena, text));
    json_key(o, S("sticker"));
    json_put(o, sticker);
}

bool sticker_write(struct work *w)
{
    const struct json *sticker = json_get(w->task->payload, "sticker");
    const char *root;
    struct release_place place;
    struct archive_fault fault;
    struct buf text;
    struct json_out o;
    if (!json_is(sticker, JSON_OBJECT))
        return work_fail(w, PROTOCOL_PAYLOAD, "payload.sticker is no object");
    buf_init_arena(&text, w->arena, 1024);
    json_write(&text, sticker);
    if (text.failed || text.n > RELEASE_STICKER)
        return work_fail(w, PROTOCOL_PAYLOAD, "payload.sticker is larger than %d bytes", RELEASE_STICKER);
    if (!sticker_place(w, &root, &place))
        return false;
    bool fine =
        release_write_sticker(&place, buf_view(&text), &fault) || work_fail(w, PROTOCOL_TARGET, "%s", fault.text);
    release_close(&place);
    if (!fine)
        return false;
    work_say(w, "sticker written to %s/version.json", root);
    json_out_init(&o, &w->outputs);
    json_open(&o, '{');
    put_hashed(w, &o, buf_view(&text), sticker);
    json_close(&o, '}');
    return true;
}

static void put_read(struct work *w, struct json_out *o, struct str text)
{
    const struct json *sticker = text.n > 0 ? json_parse(w->arena, text, NULL, NULL) : NULL;
    if (text.n > 0)
        put_hashed(w, o, text, sticker);
    else
        json_key(o, S("sticker")), json_put_null(o);
}

bool sticker_read(struct work *w)
{
    const char *root;
    struct archive_fault fault;
    struct buf text;
    struct json_out o;
    if (!sticker_root(w, &root))
        return false;
    buf_init_arena(&text, w->arena, 1024);
    json_out_init(&o, &w->outputs);
    json_open(&o, '{');
    if (!release_observe(root, &o, &fault) || !release_read_sticker(root, &text, &fault))
        return work_fail(w, PROTOCOL_TARGET, "%s", fault.text);
    put_read(w, &o, buf_view(&text));
    json_close(&o, '}');
    work_say(w, text.n > 0 ? "sticker read from %s/version.json" : "there is no sticker in %s", root);
    return true;
}
