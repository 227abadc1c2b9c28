/* Random plans of deployment jobs. */
#include "test/sim/job_sim.h"

static const char *const behaviours[] = {"rollback", "continue", "pause"};
static const char *const unavailables[] = {"wait", "skip", "fail"};

static unsigned some_targets(struct dice *d)
{
    unsigned roll = dice_below(d, 100);

    return 1 + (roll < 75 ? dice_below(d, 5) : roll < 96 ? dice_below(d, 16) : dice_below(d, 60));
}

static void roll_batches(struct dice *d, struct job_spec *spec)
{
    int taking_part = 0, size, place = 0;

    spec->rolling = dice_percent(d, 60);
    if (spec->rolling && dice_percent(d, 50))
        spec->batch_size = 1 + dice_below(d, (unsigned)spec->n + 2);
    else if (spec->rolling)
        spec->batch_percent = 1 + dice_below(d, 100);
    for (int i = 0; i < spec->n; i++)
        taking_part += !spec->target[i].skip;
    size = taking_part;
    if (spec->batch_size > 0)
        size = (int)spec->batch_size;
    else if (spec->rolling)
        size = (taking_part * (int)spec->batch_percent + 99) / 100;
    for (int i = 0; i < spec->n; i++)
        if (!spec->target[i].skip)
            spec->n_batches = spec->target[i].batch = 1 + place++ / size;
}

static void roll(struct dice *d, unsigned targets, struct job_spec *spec)
{
    *spec = (struct job_spec){.n = (int)(targets > 0 ? targets : some_targets(d))};
    for (int i = 0; i < spec->n; i++) {
        spec->target[i].skip = dice_percent(d, spec->n == 1 ? 5 : 6);
        spec->target[i].previous = dice_percent(d, 60);
        spec->target[i].agent = dice_percent(d, 70) ? (int)dice_below(d, JOB_SIM_AGENTS) : -1;
    }
    roll_batches(d, spec);
    spec->checks = dice_percent(d, 50);
    spec->parent = dice_percent(d, 85);
    spec->pause_s = spec->rolling && dice_percent(d, 40) ? dice_below(d, 120) : 0;
    spec->max_failures = dice_percent(d, 60) ? 0 : dice_below(d, 4);
    spec->max_concurrent = dice_percent(d, 50) ? 0 : 1 + dice_below(d, 8);
    spec->behaviour = dice_below(d, 3);
    spec->unavailable = dice_below(d, 3);
    spec->timeout_s = dice_percent(d, 25) ? 30 + dice_below(d, 600) : 600 + dice_below(d, 7200);
}

static void put(struct json_out *o, const char *name, const char *text)
{
    json_key(o, str_z(name));
    json_put_z(o, text);
}

static void put_number(struct json_out *o, const char *name, unsigned v)
{
    json_key(o, str_z(name));
    json_put_int(o, v);
}

static void put_release(struct json_out *o, const char *name, bool there, const char *id)
{
    json_key(o, str_z(name));
    json_put_raw(o, there ? (str_eqz(str_z(id), "new") ? S("{\"components\":[],\"id\":\"new\",\"name\":\"r2\"}")
                                                       : S("{\"components\":[],\"id\":\"old\",\"name\":\"r1\"}"))
                          : S("null"));
}

static void put_config(struct json_out *o, const struct job_spec *spec)
{
    json_key(o, S("config"));
    json_open(o, '{');
    put(o, "failureBehavior", behaviours[spec->behaviour]);
    put(o, "onUnavailableTarget", unavailables[spec->unavailable]);
    put_number(o, "maxConcurrent", spec->max_concurrent);
    put_number(o, "maxFailures", spec->max_failures);
    put_number(o, "pauseBetweenBatchesSeconds", spec->pause_s);
    if (spec->batch_size > 0)
        put_number(o, "batchSize", spec->batch_size);
    if (spec->batch_percent > 0)
        put_number(o, "batchPercent", spec->batch_percent);
    if (spec->checks) {
        json_key(o, S("healthCheck"));
        json_put_raw(o, S("{\"type\":\"tcp\",\"port\":80,\"timeout\":30,\"retries\":3,\"interval\":10}"));
    }
    json_close(o, '}');
}

static void put_targets(struct json_out *o, const struct job_spec *spec)
{
    json_key(o, S("targets"));
    json_open(o, '[');
    for (int i = 0; i < spec->n; i++) {
        char id[8] = {'t', (char)('0' + i / 100), (char)('0' + i / 10 % 10), (char)('0' + i % 10)};

        json_open(o, '{');
        put(o, "id", id);
        put(o, "name", id);
        put(o, "path", "/srv/app");
        if (spec->target[i].agent >= 0) {
            json_key(o, S("agentId"));
            json_put_str(o, job_agent_id(spec->target[i].agent));
        }
        put_release(o, "previous", spec->target[i].previous, "old");
        if (spec->target[i].skip)
            put(o, "skip", "in maintenance");
        json_close(o, '}');
    }
    json_close(o, ']');
}

struct str job_sim_plan(struct arena *a, uint64_t seed, unsigned targets, struct job_spec *spec)
{
    struct dice dice = {seed * 2654435761u};
    struct json_out o;
    struct buf b;

    roll(&dice, targets, spec);
    buf_init_arena(&b, a, 4096);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put_config(&o, spec);
    put(&o, "createdBy", "someone");
    put(&o, "strategy", spec->rolling ? "rolling" : "all-at-once");
    put_number(&o, "timeoutSeconds", spec->timeout_s);
    put_release(&o, "release", true, "new");
    json_key(&o, S("environment"));
    json_put_raw(&o, S("{\"id\":\"env\",\"name\":\"prod\",\"variables\":{\"MODE\":\"x\"}}"));
    if (spec->parent) {
        json_key(&o, S("parent"));
        json_put_raw(&o, S("{\"run\":\"0190a0b0-0000-7000-8000-0000000000aa\",\"node\":\"deploy\",\"attempt\":1}"));
    }
    put_targets(&o, spec);
    json_close(&o, '}');
    return buf_view(&b);
}
