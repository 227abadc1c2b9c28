/* A random workflow: a few scripts, with edges, attempts and policies of every kind. */
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
