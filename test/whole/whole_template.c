/* A random workflow: a few scripts, with edges, attempts and policies of every kind. Or the plan of a job: a few targets,
 * with strategies and policies of every kind. */
#include "server/engine/job.h"
#include "server/engine/template.h"
#include "test/whole/whole.h"

static void put_node(struct json_out *o, unsigned i)
{
    char id[] = {(char)('a' + i), '\0'};

    json_open(o, '{');
    json_key(o, S("config"));
    json_put_raw(o, S("{\"command\":[\"work\"]}"));
    json_key(o, S("id"));
    json_put_z(o, id);
    json_key(o, S("onFailure"));
    json_put_z(o, dice_percent(&world->dice, 70) ? "continue" : "fail");
    json_key(o, S("retry"));
    json_open(o, '{');
    json_key(o, S("initialDelaySeconds"));
    json_put_int(o, 1);
    json_key(o, S("maxAttempts"));
    json_put_int(o, 1 + dice_below(&world->dice, 3));
    json_close(o, '}');
    json_key(o, S("timeoutSeconds"));
    json_put_int(o, 60 + dice_below(&world->dice, 600));
    json_key(o, S("type"));
    json_put_z(o, "script");
    json_close(o, '}');
}

static void put_edges(struct json_out *o, unsigned n)
{
    for (unsigned to = 1; to < n; to++)
        for (unsigned from = 0; from < to; from++) {
            if (!dice_percent(&world->dice, 35))
                continue;
            json_put_raw(o,
                         arena_printf(&world->arena, "{\"from\":\"%c\",\"on\":\"%s\",\"to\":\"%c\"}", 'a' + (char)from,
                                      dice_percent(&world->dice, 70) ? "always" : "success", 'a' + (char)to));
        }
}

void whole_make_template(void)
{
    struct template_report *report = arena_new(&world->arena, struct template_report);
    unsigned n = 1 + dice_below(&world->dice, 5);
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &world->arena, 1024);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("edges"));
    json_open(&o, '[');
    put_edges(&o, n);
    json_close(&o, ']');
    json_key(&o, S("nodes"));
    json_open(&o, '[');
    for (unsigned i = 0; i < n; i++)
        put_node(&o, i);
    json_close(&o, ']');
    json_key(&o, S("onFailure"));
    json_put_z(&o, dice_percent(&world->dice, 70) ? "continue" : "fail-fast");
    json_close(&o, '}');
    world->definition = buf_view(&b);
    world->t = template_parse(&world->arena, json_parse(&world->arena, world->definition, NULL, NULL), report);
    if (world->t == NULL)
        whole_fault("the template is refused: " STR_FMT, STR_ARG(world->definition));
}

/* --- a job --- */

struct str whole_agent_id(int agent)
{
    return str_slice(str_z(world->channels[1 + agent].name), 6, 100);
}

static bool roll(unsigned percent)
{
    return dice_percent(&world->dice, percent);
}

static void put(struct json_out *o, const char *name, struct str text)
{
    json_key(o, str_z(name));
    json_put_str(o, text);
}

static void put_config(struct json_out *o)
{
    static const char *const behaviours[] = {"rollback", "continue", "pause"}, *const unavailables[] = {"wait", "skip",
                                                                                                        "fail"};

    json_key(o, S("config"));
    json_open(o, '{');
    put(o, "failureBehavior", str_z(behaviours[dice_below(&world->dice, 3)]));
    put(o, "onUnavailableTarget", str_z(unavailables[dice_below(&world->dice, 3)]));
    json_key(o, S("batchSize"));
    json_put_int(o, 1 + dice_below(&world->dice, 3));
    json_key(o, S("maxConcurrent"));
    json_put_int(o, dice_below(&world->dice, 3));
    json_key(o, S("maxFailures"));
    json_put_int(o, roll(70) ? 0 : 1);
    if (roll(60)) {
        json_key(o, S("healthCheck"));
        json_put_raw(o, S("{\"type\":\"tcp\",\"port\":80,\"timeout\":30,\"retries\":3,\"interval\":10}"));
    }
    json_close(o, '}');
}

static void put_target(struct json_out *o, unsigned i)
{
    struct str id = arena_printf(&world->arena, "t%u", i);

    json_open(o, '{');
    if (roll(40))
        put(o, "agentId", whole_agent_id((int)dice_below(&world->dice, WHOLE_AGENTS)));
    put(o, "id", id);
    put(o, "name", id);
    put(o, "path", S("/srv/app"));
    json_key(o, S("previous"));
    json_put_raw(o, roll(50) ? S("{\"components\":[],\"id\":\"old\",\"name\":\"r1\"}") : S("null"));
    if (roll(5))
        put(o, "skip", S("in maintenance"));
    json_close(o, '}');
}

void whole_make_plan(void)
{
    unsigned n = 1 + dice_below(&world->dice, 4);
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, &world->arena, 1024);
    json_out_init(&o, &b);
    json_open(&o, '{');
    put_config(&o);
    put(&o, "createdBy", S("someone"));
    json_key(&o, S("environment"));
    json_put_raw(&o, S("{\"id\":\"env\",\"name\":\"prod\",\"variables\":{\"MODE\":\"x\"}}"));
    if (roll(60)) {
        json_key(&o, S("parent"));
        json_put_raw(&o, S("{\"run\":\"0190a0b0-0000-7000-8000-0000000000aa\",\"node\":\"deploy\",\"attempt\":1}"));
    }
    json_key(&o, S("release"));
    json_put_raw(&o, S("{\"components\":[],\"id\":\"new\",\"name\":\"r2\"}"));
    put(&o, "strategy", roll(60) ? S("rolling") : S("all-at-once"));
    json_key(&o, S("targets"));
    json_open(&o, '[');
    for (unsigned i = 0; i < n; i++)
        put_target(&o, i);
    json_close(&o, ']');
    json_key(&o, S("timeoutSeconds"));
    json_put_int(&o, 600 + dice_below(&world->dice, 1200));
    json_close(&o, '}');
    world->definition = buf_view(&b);
    world->t = job_parse(&world->arena, json_parse(&world->arena, world->definition, NULL, NULL));
    if (world->t == NULL)
        whole_fault("the plan is refused: " STR_FMT, STR_ARG(world->definition));
}
