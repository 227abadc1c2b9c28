#include "server/engine/rollback_plan.h"

struct planning {
    struct arena *a;
    const struct json *plan, *from;
    struct rollback_plan *out;
    struct json_out steps, affected, warnings;
    size_t n_warnings, kept, nothing;
    bool subset;
};

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

static void put(struct json_out *o, const char *name, const struct json *value)
{
    json_key(o, str_z(name));
    json_put(o, value);
}

/* {id, name} of a RELEASE; null of none. */
static void put_release(struct json_out *o, const char *name, const struct json *release)
{
    json_key(o, str_z(name));
    if (!json_is(release, JSON_OBJECT)) {
        json_put_null(o);
        return;
    }
    json_open(o, '{');
    put(o, "id", json_get(release, "id"));
    put(o, "name", json_get(release, "name"));
    json_close(o, '}');
}

static void warn(struct planning *p, struct str text)
{
    if (p->n_warnings++ < ROLLBACK_WARNINGS)
        json_put_str(&p->warnings, text);
}

static const struct json *destination(const struct planning *p, const struct json *target)
{
    const struct json *release = json_get(p->plan, "release");

    return release != NULL ? release : json_get(target, "release");
}

static void note_release(struct rollback_plan *out, const struct json *release)
{
    for (size_t i = 0; i < out->n_releases; i++)
        if (str_eq(member(out->releases[i], "id"), member(release, "id")))
            return;
    out->releases[out->n_releases++] = release;
}

static void left_out(struct planning *p, const struct json *target)
{
    bool keeps = p->from != NULL && str_eq(member(json_get(target, "previous"), "id"), member(p->from, "id"));

    p->kept += keeps;
    warn(p, arena_printf(p->a, STR_FMT " is left out: " STR_FMT, STR_ARG(member(target, "name")),
                         STR_ARG(member(target, "skip"))));
}

static void goes_back(struct planning *p, const struct json *target)
{
    const struct json *to = destination(p, target), *now = json_get(target, "previous");
    struct rollback_plan *out = p->out;

    json_open(&p->affected, '{');
    put(&p->affected, "id", json_get(target, "id"));
    put(&p->affected, "name", json_get(target, "name"));
    json_close(&p->affected, '}');
    json_open(&p->steps, '{');
    put_release(&p->steps, "fromRelease", now);
    json_key(&p->steps, S("order"));
    json_put_int(&p->steps, (int64_t)++out->affected);
    put(&p->steps, "targetId", json_get(target, "id"));
    put(&p->steps, "targetName", json_get(target, "name"));
    put_release(&p->steps, "toRelease", to);
    json_close(&p->steps, '}');
    if (json_is(to, JSON_OBJECT)) {
        note_release(out, to);
        return;
    }
    p->nothing++;
    warn(p,
         arena_printf(p->a, STR_FMT " had nothing before: its release is taken away", STR_ARG(member(target, "name"))));
}

static void judge(struct planning *p)
{
    struct rollback_plan *out = p->out;
    bool one = out->n_releases == 1 && p->nothing == 0;

    out->to = one ? out->releases[0] : NULL;
    out->partial = !one || p->kept > 0 || p->subset;
    if (out->n_releases > 1)
        warn(p, arena_printf(p->a, "the targets go back to %zu different releases", out->n_releases));
    if (out->partial)
        warn(p, S("what the environment says of its release stays as it is: not all of it comes to one release"));
}

static void write(struct planning *p, struct buf *b, struct str steps, struct str affected, struct str warnings)
{
    struct json_out o;

    json_out_init(&o, b);
    json_open(&o, '{');
    json_key(&o, S("affectedTargets"));
    json_put_raw(&o, affected);
    put(&o, "fromReleaseId", json_get(p->from, "id"));
    put(&o, "fromReleaseName", json_get(p->from, "name"));
    json_key(&o, S("partial"));
    json_put_bool(&o, p->out->partial);
    json_key(&o, S("steps"));
    json_put_raw(&o, steps);
    put(&o, "toReleaseId", json_get(p->out->to, "id"));
    put(&o, "toReleaseName", json_get(p->out->to, "name"));
    json_key(&o, S("warnings"));
    json_put_raw(&o, warnings);
    json_close(&o, '}');
}

static void list_begin(struct arena *a, struct buf *b, struct json_out *o)
{
    buf_init_arena(b, a, 256);
    json_out_init(o, b);
    json_open(o, '[');
}

bool rollback_plan(struct arena *a, const struct json *job_plan, const struct json *from, bool subset,
                   struct rollback_plan *out)
{
    const struct json *targets = json_get(job_plan, "targets");
    struct planning p = {.a = a, .plan = job_plan, .from = from, .subset = subset, .out = out};
    struct buf steps, affected, warnings, text;

    *out = (struct rollback_plan){.releases = arena_array(a, json_count(targets) + 1, sizeof(const struct json *))};
    if (out->releases == NULL)
        return false;
    list_begin(a, &steps, &p.steps);
    list_begin(a, &affected, &p.affected);
    list_begin(a, &warnings, &p.warnings);
    for (size_t i = 0; i < json_count(targets); i++)
        if (json_get(json_at(targets, i), "skip") != NULL)
            left_out(&p, json_at(targets, i));
        else
            goes_back(&p, json_at(targets, i));
    judge(&p);
    if (p.n_warnings > ROLLBACK_WARNINGS)
        json_put_str(&p.warnings, arena_printf(a, "and %zu more", p.n_warnings - ROLLBACK_WARNINGS));
    json_close(&p.steps, ']');
    json_close(&p.affected, ']');
    json_close(&p.warnings, ']');
    buf_init_arena(&text, a, 1024);
    write(&p, &text, buf_view(&steps), buf_view(&affected), buf_view(&warnings));
    out->text = buf_view(&text);
    return !steps.failed && !affected.failed && !warnings.failed && !text.failed;
}
