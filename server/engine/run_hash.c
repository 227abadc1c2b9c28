#include "server/engine/drain.h"

#include "lib/log.h"
#include "proto/redis.h"

/* Written by us, from bodies that were bounded when they came. */
static const struct json_limits limits = {.depth = 64, .nodes = 400000};

static bool read_steps(struct run *r, const struct redis_value *hash)
{
    for (size_t i = 0; i + 1 < hash->count; i += 2) {
        struct str name = redis_text(redis_at(hash, i));
        int step;

        if (!str_starts(name, S("s:")))
            continue;
        step = template_find(r->template, str_slice(name, 2, name.n));
        if (step >= 0 && !run_step_read(r, step, redis_text(redis_at(hash, i + 1))))
            return false;
    }
    return true;
}

const struct template *run_template_of(struct arena *a, const struct run_kind *kind, struct str definition)
{
    const struct json *json = json_parse(a, definition, &limits, NULL);

    return json == NULL ? NULL : kind->parse(a, json);
}

struct run *run_of_hash(struct arena *a, const struct run_kind *kind, const struct redis_value *hash)
{
    return run_of_template(a, run_template_of(a, kind, redis_text(redis_field(hash, S("def")))), hash);
}

/* What lacks something for want of memory is not damaged. */
static struct run *damaged(const struct arena *a, struct str id, bool definition)
{
    if (!a->failed)
        log_error("run.damaged", "run=" STR_FMT " definition=%d", STR_ARG(id), definition);
    return NULL;
}

struct run *run_of_template(struct arena *a, const struct template *t, const struct redis_value *hash)
{
    struct str header = redis_text(redis_field(hash, S("h")));
    struct json *origin_json = json_parse(a, redis_text(redis_field(hash, S("origin"))), &limits, NULL);
    struct run_origin origin = {0};
    struct run *r;

    if (redis_is_nil(hash) || hash->count == 0)
        return NULL;
    if (t == NULL || !run_origin_read(origin_json, &origin))
        return damaged(a, origin.id, t != NULL);
    r = run_new(a, t, &origin);
    if (r == NULL || !run_header_read(r, header) || !read_steps(r, hash))
        return damaged(a, origin.id, true);
    return r;
}
