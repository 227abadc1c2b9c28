/* deploy and rollback. The happy path, and what a cut between two of its steps leaves:
 *
 *   fetch     artifacts in files without names; nothing on disk
 *   unpack    releases/.new-<name>, removed by the next task here; then the release's own name, complete
 *   preDeploy the old release, untouched
 *   switch    what is under way is noted, then the link, then the sticker: the next task here knows the release that was
 *             last good
 *   postDeploy  the same; when it fails, everything is switched back
 *   settle    the note goes: the new release is good; old ones are removed */
#include "server/agent/deploy.h"
#include "lib/clock.h"
#include "server/agent/command.h"
#include "server/agent/download.h"
#include "server/agent/hook.h"
#include "server/agent/sticker.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { COMPONENTS = 64, KEEP = 3, HOOK_S = 300, ENTRIES = 100000, UNDO_TRIES = 50, UNDO_MS = 100 };

struct deploy {
    struct work *w;
    const struct json *payload, *components;
    const char *root;
    unsigned keep;
    char name[RELEASE_NAME], current[RELEASE_NAME]; /* "": none */
    struct str id;
    struct release_part parts[COMPONENTS];
    int artifacts[COMPONENTS]; /* -1: none */
    size_t n;
    struct hook pre, post;
    struct release_place place;
    struct release_switching switching;
    bool under_way; /* switching is on disk */
    bool unpacked;
    struct str sticker;
    struct archive_fault fault;
};

/* --- the payload --- */

static bool read_component(struct deploy *d, const struct json *j)
{
    struct release_part *part = &d->parts[d->n++];
    *part = (struct release_part){json_str(json_get(j, "name")), json_str(json_get(j, "digest"))};
    if (!release_name_safe(part->name))
        return work_fail(d->w, PROTOCOL_PAYLOAD, "a component's name cannot be that of a folder");
    if (!download_digest_valid(part->digest))
        return work_fail(d->w, PROTOCOL_PAYLOAD, STR_FMT " has no digest of the form sha256:<64 hex digits>",
                         STR_ARG(part->name));
    for (size_t i = 0; i + 1 < d->n; i++)
        if (str_eq(d->parts[i].name, part->name))
            return work_fail(d->w, PROTOCOL_PAYLOAD, STR_FMT " is there twice", STR_ARG(part->name));
    return true;
}

static bool read_release(struct deploy *d)
{
    const struct json *release = json_get(d->payload, "release");
    struct str name = json_str(json_get(release, "name"));
    d->components = json_get(release, "components");
    if (!json_is(release, JSON_OBJECT))
        return (json_is(release, JSON_NULL) && str_eqz(d->w->task->type, "rollback")) ||
               work_fail(d->w, PROTOCOL_PAYLOAD, "payload.release is missing");
    if (!release_name_safe(name))
        return work_fail(d->w, PROTOCOL_PAYLOAD, "the release's name cannot be that of a folder");
    if (!json_is(d->components, JSON_ARRAY) || json_count(d->components) > COMPONENTS)
        return work_fail(d->w, PROTOCOL_PAYLOAD, "payload.release.components is no array of at most %d", COMPONENTS);
    memcpy(d->name, name.p, name.n);
    d->name[name.n] = '\0';
    d->id = json_str(json_get(release, "id"));
    for (size_t i = 0; i < json_count(d->components); i++)
        if (!read_component(d, json_at(d->components, i)))
            return false;
    return true;
}

/* What a release brings along itself is not there when there is none. */
static bool is_of_the_release(const char *program)
{
    return program[0] != '/' && strchr(program, '/') != NULL;
}

static bool read_hook(struct deploy *d, const char *name, const char *folder, struct hook *out)
{
    const struct json *hooks = json_get(d->payload, "hooks"), *argv = json_get(hooks, name);
    if (argv == NULL || json_is(argv, JSON_NULL) || (json_is(argv, JSON_ARRAY) && json_count(argv) == 0))
        return true;
    const struct str more[][2] = {
        {S("SLIPWAY_ENVIRONMENT"), json_str(json_path(d->payload, S("environment.name")))},
        {S("SLIPWAY_RELEASE"), str_z(d->name)},
        {S("SLIPWAY_ROOT"), str_z(d->root)},
        {S("SLIPWAY_TARGET"), json_str(json_path(d->payload, S("target.name")))},
    };
    out->argv = command_arguments(d->w->arena, argv);
    out->env = command_environment(d->w->arena, d->w->task, json_get(d->payload, "variables"), more, ARRAY_LEN(more));
    out->folder = folder;
    out->timeout_s = json_real(json_get(hooks, "timeoutSeconds"), HOOK_S);
    out->grace_s = json_real(json_get(d->payload, "graceSeconds"), PROTOCOL_GRACE_S);
    if (out->argv == NULL)
        return work_fail(d->w, PROTOCOL_PAYLOAD, "payload.hooks.%s is no array of texts", name);
    if (!(out->timeout_s > 0 && out->timeout_s <= 604800))
        return work_fail(d->w, PROTOCOL_PAYLOAD, "payload.hooks.timeoutSeconds is not within 0 and 604800");
    if (out->env == NULL)
        return work_fail(d->w, PROTOCOL_TARGET, "out of memory");
    if (d->name[0] == '\0' && is_of_the_release(out->argv[0])) {
        work_say(d->w, "the %s hook (%s) is the release's own and left out: there is none", name, out->argv[0]);
        *out = (struct hook){0};
    }
    return true;
}

static bool read_payload(struct deploy *d)
{
    struct arena *a = d->w->arena;
    int64_t keep = json_int(json_get(d->payload, "keep"), KEEP);
    if (!sticker_root(d->w, &d->root) || !read_release(d))
        return false;
    if (keep < 0 || keep > 1000)
        return work_fail(d->w, PROTOCOL_PAYLOAD, "payload.keep is not within 0 and 1000");
    d->keep = (unsigned)keep;
    bool none = d->name[0] == '\0';
    const char *fresh = arena_printf(a, "%s%s%s", d->root, none ? "" : "/releases/", d->name).p;
    const char *current = arena_printf(a, "%s%s", d->root, none ? "" : "/current").p;
    if (fresh == NULL || current == NULL)
        return work_fail(d->w, PROTOCOL_TARGET, "out of memory");
    return read_hook(d, "preDeploy", fresh, &d->pre) && read_hook(d, "postDeploy", current, &d->post);
}

/* --- what is there --- */

static bool unusable(struct deploy *d)
{
    return work_fail(d->w, PROTOCOL_TARGET, "%s", d->fault.text);
}

static const char *called(const char *name)
{
    return name[0] != '\0' ? name : "nothing";
}

static bool look(struct deploy *d)
{
    struct buf sticker;
    if (!release_current(&d->place, d->current, &d->fault))
        return unusable(d);
    d->under_way = release_get_switching(&d->place, d->w->arena, &d->switching, &d->fault);
    if (!d->under_way && d->fault.text[0] != '\0')
        return unusable(d);
    if (d->under_way) {
        work_say(d->w, "an earlier switch from %s to %s was cut off; %s counts as the present release",
                 called(d->switching.from), called(d->switching.to), called(d->switching.from));
    } else {
        buf_init_arena(&sticker, d->w->arena, 1024);
        if (!release_read_sticker(d->root, &sticker, &d->fault))
            return unusable(d);
        memcpy(d->switching.from, d->current, sizeof d->current);
        d->switching.sticker = sticker.n > 0 ? buf_view(&sticker) : STR_NONE;
    }
    memcpy(d->switching.to, d->name, sizeof d->name);
    return true;
}

/* --- making it be there --- */

static struct archive_limits limits_of(struct deploy *d)
{
    static const int64_t most = 1024LL * 1024 * 1024;
    const struct json *settings;
    work_settings_read(d->w, &settings);
    return (struct archive_limits){.bytes = (uint64_t)json_int(json_get(settings, "unpackMax"), most),
                                   .entries = ENTRIES};
}

static bool stop_asked(void *arg)
{
    return work_stopped(arg);
}

static bool fetch_all(struct deploy *d)
{
    for (size_t i = 0; i < d->n; i++) {
        char what[RELEASE_NAME];
        snprintf(what, sizeof what, STR_FMT, STR_ARG(d->parts[i].name));
        struct download get = {.url = json_str(json_get(json_at(d->components, i), "artifactUrl")),
                               .digest = d->parts[i].digest,
                               .from = 5 + (int)(50 * i / d->n),
                               .to = 5 + (int)(50 * (i + 1) / d->n),
                               .what = what};
        if (work_stopped_fail(d->w))
            return false;
        if (get.url.n == 0)
            return work_fail(d->w, PROTOCOL_PAYLOAD, "%s has no artifact", what);
        work_progress(d->w, get.from, "%s: downloading", what);
        d->artifacts[i] = download(d->w, &get);
        if (d->artifacts[i] < 0)
            return false;
        work_say(d->w, "%s: %llu bytes, " STR_FMT, what, (unsigned long long)get.bytes, STR_ARG(get.digest));
    }
    return true;
}

static bool unpack_all(struct deploy *d)
{
    struct archive_limits limits = limits_of(d);
    limits.stop = stop_asked;
    limits.arg = d->w;
    if (!release_begin(&d->place, d->name, &d->fault))
        return unusable(d);
    for (size_t i = 0; i < d->n; i++) {
        work_progress(d->w, 55 + (int)(25 * i / d->n), STR_FMT ": unpacking", STR_ARG(d->parts[i].name));
        if (release_add(&d->place, d->name, d->parts[i].name, d->artifacts[i], &limits, &d->fault))
            continue;
        if (!work_stopped_fail(d->w))
            work_fail(d->w, PROTOCOL_UNPACK, STR_FMT ": %s", STR_ARG(d->parts[i].name), d->fault.text);
        release_drop(&d->place, d->name);
        return false;
    }
    if (!release_finish(&d->place, d->name, d->id, d->parts, d->n, &d->fault))
        return unusable(d);
    d->unpacked = true;
    work_say(d->w, "unpacked to %s/releases/%s", d->root, d->name);
    return true;
}

static bool provide(struct deploy *d)
{
    if (d->name[0] == '\0')
        return true;
    enum release_state state = release_compare(&d->place, d->name, d->parts, d->n);
    bool in_use = strcmp(d->name, d->current) == 0 || strcmp(d->name, d->switching.from) == 0;
    if (state == RELEASE_SAME) {
        work_say(d->w, "%s/releases/%s is there already", d->root, d->name);
        return true;
    }
    if (state == RELEASE_OTHER && in_use)
        return work_fail(d->w, PROTOCOL_DIGEST, "%s/releases/%s is in use and holds other digests", d->root, d->name);
    return fetch_all(d) && unpack_all(d);
}

/* --- the switch --- */

/* To the release that was last good. */
static void back(struct deploy *d)
{
    if (!d->under_way)
        return;
    if (!release_undo_switching(&d->place, &d->switching, &d->fault)) {
        work_say(d->w, "it cannot be switched back: %s", d->fault.text);
        return;
    }
    d->under_way = false;
    work_say(d->w, "switched back to %s", called(d->switching.from));
}

static bool run_hook(struct deploy *d, const struct hook *h, const char *name)
{
    char why[200];
    if (h->argv == NULL)
        return true;
    work_say(d->w, "running the %s hook: %s", name, h->argv[0]);
    if (hook_run(d->w, h, why, sizeof why)) {
        work_say(d->w, "the %s hook has ended well", name);
        return true;
    }
    return work_stopped_fail(d->w)
               ? false
               : work_fail(d->w, PROTOCOL_HOOK, "the %s hook (%s) failed: %s", name, h->argv[0], why);
}

static bool put_sticker(struct deploy *d)
{
    d->sticker = STR_NONE;
    if (d->name[0] != '\0') {
        d->sticker = sticker_text(d->w->arena, d->payload, clock_wall_ms());
        if (d->sticker.p == NULL || d->sticker.n > RELEASE_STICKER)
            return work_fail(d->w, PROTOCOL_PAYLOAD, "the sticker is larger than %d bytes", RELEASE_STICKER);
    }
    return release_write_sticker(&d->place, d->sticker, &d->fault) || unusable(d);
}

static bool change_over(struct deploy *d)
{
    if (!release_put_switching(&d->place, &d->switching, &d->fault))
        return unusable(d);
    d->under_way = true;
    bool fine =
        d->name[0] != '\0' ? release_switch(&d->place, d->name, &d->fault) : release_clear(&d->place, &d->fault);
    if (!fine)
        return unusable(d);
    work_progress(d->w, 90, "switched from %s to %s", called(d->current), called(d->name));
    return put_sticker(d);
}

static bool settle(struct deploy *d)
{
    if (!release_end_switching(&d->place, &d->fault))
        return unusable(d);
    d->under_way = false;
    if (!release_prune(&d->place, d->keep, d->switching.from, &d->fault))
        work_say(d->w, "old releases stay: %s", d->fault.text); /* the next deployment tries again */
    return true;
}

/* --- the whole --- */

static void put_text(struct json_out *o, const char *name, struct str text)
{
    json_key(o, str_z(name));
    if (text.n > 0)
        json_put_str(o, text);
    else
        json_put_null(o);
}

static void put_outputs(struct deploy *d)
{
    struct json_out o;
    json_out_init(&o, &d->w->outputs);
    json_open(&o, '{');
    put_text(&o, "contentHash", d->sticker.n > 0 ? sticker_hash(d->w->arena, d->sticker) : STR_NONE);
    json_key(&o, S("digests"));
    json_open(&o, '[');
    for (size_t i = 0; i < d->n; i++)
        json_put_str(&o, d->parts[i].digest);
    json_close(&o, ']');
    put_text(&o, "previous", str_z(d->switching.from));
    put_text(&o, "releaseId", d->id);
    json_key(&o, S("sticker"));
    json_put_raw(&o, d->sticker.n > 0 ? d->sticker : S("null"));
    json_key(&o, S("unpacked"));
    json_put_bool(&o, d->unpacked);
    json_close(&o, '}');
}

static bool carry_out(struct deploy *d)
{
    if (!look(d) || !provide(d) || work_stopped_fail(d->w))
        return false;
    work_progress(d->w, 80, "everything is there for the switch to %s", called(d->name));
    if (!run_hook(d, &d->pre, "preDeploy") || work_stopped_fail(d->w))
        return false;
    return change_over(d) && run_hook(d, &d->post, "postDeploy") && settle(d);
}

bool deploy_run(struct work *w)
{
    struct deploy d = {.w = w, .payload = w->task->payload};
    for (size_t i = 0; i < COMPONENTS; i++)
        d.artifacts[i] = -1;
    bool fine = read_payload(&d) && sticker_place(w, &d.root, &d.place);
    if (fine) {
        fine = carry_out(&d);
        if (!fine)
            back(&d);
        release_close(&d.place);
    }
    for (size_t i = 0; i < COMPONENTS; i++)
        if (d.artifacts[i] >= 0)
            close(d.artifacts[i]);
    if (fine) {
        put_outputs(&d);
        work_progress(w, 100, "%s is deployed", called(d.name));
    }
    return fine;
}

bool deploy_undo(const struct task *task, struct arena *a, char text[WORK_MESSAGE])
{
    struct work w = {.task = task, .arena = a, .dir = -1, .system = -1};
    struct release_place place;
    struct release_switching switching;
    struct archive_fault fault;
    const char *root;
    bool open = false;
    if (!sticker_root(&w, &root))
        return false;
    for (int i = 0; i < UNDO_TRIES && !open; i++) { /* the one that was killed may not be gone yet */
        open = release_open(&place, root, &fault);
        if (!open && place.busy)
            work_sleep(&w, UNDO_MS);
        else if (!open)
            break;
    }
    bool done = open && release_get_switching(&place, a, &switching, &fault);
    if (done)
        done = release_undo_switching(&place, &switching, &fault);
    if (done)
        snprintf(text, WORK_MESSAGE, "switched back to %s", called(switching.from));
    else if (!open || fault.text[0] != '\0')
        snprintf(text, WORK_MESSAGE, "it cannot be looked after: %s", fault.text);
    if (open)
        release_close(&place);
    return done;
}
