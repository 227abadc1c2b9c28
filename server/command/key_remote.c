#include "server/command/key_remote.h"

#include <stdio.h>

enum { DAY_MS = 86400000 };

static void put_list(struct json_out *o, const char *name, const char *list)
{
    if (list[0] == '\0')
        return;
    json_key(o, str_z(name));
    json_put_names(o, str_z(list));
}

static int make(struct key_remote *k, struct str path, struct str body, int good)
{
    const struct json *made;
    if (!ask_for(&k->ask, "POST", path, body, good, &made))
        return 1;
    if (k->json)
        ask_print(made);
    else
        printf(STR_FMT "\n", STR_ARG(json_str(json_get(made, "token"))));
    return 0;
}

static struct arena *arena_of(const struct key_remote *k)
{
    return &k->ask.settings->config.arena;
}

int key_remote_create(struct key_remote *k, const struct key_wish *wish)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, arena_of(k), 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("name"));
    json_put_z(&o, wish->name);
    json_key(&o, S("prefix"));
    json_put_z(&o, wish->prefix);
    put_list(&o, "scopes", wish->permissions);
    put_list(&o, "cidrs", wish->cidrs);
    if (wish->expires_ms > 0) {
        json_key(&o, S("expires_in_days"));
        json_put_int(&o, (wish->expires_ms + DAY_MS - 1) / DAY_MS);
    }
    json_close(&o, '}');
    return make(k, S("/v1/tokens"), buf_view(&b), 201);
}

int key_remote_list(struct key_remote *k, void (*print)(const struct json *key))
{
    return ask_list(&k->ask, "/v1/tokens", k->json, print);
}

int key_remote_revoke(struct key_remote *k, const char *id)
{
    const struct json *none;
    if (!ask_for(&k->ask, "DELETE", arena_printf(arena_of(k), "/v1/tokens/%s", id), STR_NONE, 204, &none))
        return 1;
    printf(k->json ? "{\"revoked\":\"%s\"}\n" : "revoked the key %s\n", id);
    return 0;
}

int key_remote_rotate(struct key_remote *k, const char *id, int64_t overlap_ms)
{
    struct str body = arena_printf(arena_of(k), "{\"overlap_seconds\":%lld}", (long long)(overlap_ms / 1000));
    return make(k, arena_printf(arena_of(k), "/v1/tokens/%s/rotate", id), body, 200);
}
