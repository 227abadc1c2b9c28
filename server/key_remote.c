#include "server/key_remote.h"

#include <stdio.h>

enum { LIST_MOST = 100, DAY_MS = 86400000 };

static void print_json(const struct json *j)
{
    struct buf b = {0};
    json_write(&b, j);
    printf(STR_FMT "\n", STR_ARG(buf_view(&b)));
    buf_free(&b);
}

/* What came with the status that was hoped for; NULL after a message. */
static const struct json *ask(struct key_remote *k, const char *method, struct str path, struct str body, int good)
{
    char why[REMOTE_WHY];
    struct buf out = {0};
    int status = remote_call(&k->to, method, path, body, &out, why);
    struct str text = out.n == 0 ? S("{}") : arena_str(k->arena, buf_view(&out));
    const struct json *answer = json_parse(k->arena, text, &(struct json_limits){8, 100000}, NULL);
    buf_free(&out);
    if (status == good)
        return answer;
    if (status == 0)
        fprintf(stderr, "slipway key: %s\n", why);
    else
        fprintf(stderr, "slipway key: %d: " STR_FMT "\n", status,
                STR_ARG(json_str(json_get(answer, "error_description"))));
    return NULL;
}

static void put_list(struct json_out *o, const char *name, const char *list)
{
    if (list[0] == '\0')
        return;
    json_key(o, str_z(name));
    json_put_names(o, str_z(list));
}

static int show_made(struct key_remote *k, const struct json *made)
{
    if (made != NULL && k->json)
        print_json(made);
    else if (made != NULL)
        printf(STR_FMT "\n", STR_ARG(json_str(json_get(made, "token"))));
    return made == NULL;
}

int key_remote_create(struct key_remote *k, const struct key_wish *wish)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, k->arena, 512);
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
    return show_made(k, ask(k, "POST", S("/v1/tokens"), buf_view(&b), 201));
}

int key_remote_list(struct key_remote *k, void (*print)(const struct json *key))
{
    struct str path = arena_printf(k->arena, "/v1/tokens?sort=created_at&limit=%d", LIST_MOST);
    const struct json *answer = ask(k, "GET", path, STR_NONE, 200), *keys = json_get(answer, "data");
    if (answer != NULL && k->json)
        print_json(keys);
    for (size_t i = 0; !k->json && i < json_count(keys); i++)
        print(json_at(keys, i));
    return answer == NULL;
}

int key_remote_revoke(struct key_remote *k, const char *id)
{
    if (ask(k, "DELETE", arena_printf(k->arena, "/v1/tokens/%s", id), STR_NONE, 204) == NULL)
        return 1;
    printf(k->json ? "{\"revoked\":\"%s\"}\n" : "revoked the key %s\n", id);
    return 0;
}

int key_remote_rotate(struct key_remote *k, const char *id, int64_t overlap_ms)
{
    struct str body = arena_printf(k->arena, "{\"overlap_seconds\":%lld}", (long long)(overlap_ms / 1000));
    return show_made(k, ask(k, "POST", arena_printf(k->arena, "/v1/tokens/%s/rotate", id), body, 200));
}
