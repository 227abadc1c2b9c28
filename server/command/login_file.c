#include "server/command/login_file.h"

#include "lib/clock.h"
#include "proto/query.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SOON_S = 30, FILE_MOST = 65536 };

bool login_path(char out[LOGIN_PATH])
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    int n = config != NULL && config[0] == '/' ? snprintf(out, LOGIN_PATH, "%s/slipway/login.json", config)
            : home != NULL && home[0] == '/'   ? snprintf(out, LOGIN_PATH, "%s/.config/slipway/login.json", home)
                                               : -1;
    return n > 0 && n < LOGIN_PATH;
}

struct json *login_read(struct arena *a)
{
    char path[LOGIN_PATH], *text = arena_alloc(a, FILE_MOST);
    FILE *in = login_path(path) && text != NULL ? fopen(path, "re") : NULL;
    if (in == NULL)
        return NULL;
    size_t n = fread(text, 1, FILE_MOST, in);
    fclose(in);
    return json_parse(a, (struct str){text, n}, NULL, NULL);
}

static void make_folders(char *path)
{
    for (char *at = strchr(path + 1, '/'); at != NULL; at = strchr(at + 1, '/')) {
        *at = '\0';
        mkdir(path, 0700);
        *at = '/';
    }
}

static bool write_whole(char path[LOGIN_PATH], struct str text)
{
    char next[LOGIN_PATH + 8];
    make_folders(path);
    snprintf(next, sizeof next, "%s.next", path);
    unlink(next);
    int fd = open(next, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool written = fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n;
    if (fd >= 0)
        close(fd);
    return written && rename(next, path) == 0;
}

bool login_write(struct arena *a, struct str url, struct str client_id, const struct json *answer)
{
    struct buf b;
    struct json_out o;
    char path[LOGIN_PATH];
    buf_init_arena(&b, a, 4096);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("access_token"));
    json_put_str(&o, json_str(json_get(answer, "access_token")));
    json_key(&o, S("client_id"));
    json_put_str(&o, client_id);
    json_key(&o, S("expires_at"));
    json_put_int(&o, clock_wall_ms() / 1000 + json_int(json_get(answer, "expires_in"), 0));
    json_key(&o, S("refresh_token"));
    json_put_str(&o, json_str(json_get(answer, "refresh_token")));
    json_key(&o, S("url"));
    json_put_str(&o, url);
    json_close(&o, '}');
    buf_char(&b, '\n');
    errno = ENOENT;
    return !b.failed && login_path(path) && write_whole(path, buf_view(&b));
}

/* Each refresh token is good once, so commands that run beside each other take turns. */
static int take_turn(void)
{
    char path[LOGIN_PATH], *slash;
    if (!login_path(path) || (slash = strrchr(path, '/')) == NULL)
        return -1;
    *slash = '\0';
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        flock(fd, LOCK_EX);
    return fd;
}

static struct str renew(struct arena *a, const struct remote *to, const struct json *login, char why[REMOTE_WHY])
{
    struct buf form, out = {0};
    struct remote as = {.url = to->url, .ca = to->ca, .bearer = "", .type = REMOTE_FORM};
    struct str client_id = json_str(json_get(login, "client_id"));
    buf_init_arena(&form, a, 256);
    buf_z(&form, "grant_type=refresh_token&client_id=");
    query_encode(&form, client_id);
    buf_z(&form, "&refresh_token=");
    query_encode(&form, json_str(json_get(login, "refresh_token")));
    int status = remote_call(&as, "POST", S("/v1/auth/token"), buf_view(&form), &out, why);
    const struct json *answer = status == 200 ? json_parse(a, arena_str(a, buf_view(&out)), NULL, NULL) : NULL;
    buf_free(&out);
    if (status == 400 || status == 401)
        snprintf(why, REMOTE_WHY, "the login at %s has ended; `slipway login` begins anew", to->url);
    else if (status != 0 && status != 200)
        snprintf(why, REMOTE_WHY, "%s answers %d", to->url, status);
    if (answer != NULL)
        login_write(a, str_z(to->url), client_id, answer);
    return json_str(json_get(answer, "access_token"));
}

struct str login_token(struct arena *a, const struct remote *to, char why[REMOTE_WHY])
{
    int turn = take_turn();
    struct str token = STR_NONE;
    const struct json *login = login_read(a);
    if (login == NULL || !str_eqz(json_str(json_get(login, "url")), to->url))
        snprintf(why, REMOTE_WHY, "there is no key, and nobody is signed in at %s: `slipway login --url %s`", to->url,
                 to->url);
    else if (json_int(json_get(login, "expires_at"), 0) > clock_wall_ms() / 1000 + SOON_S)
        token = json_str(json_get(login, "access_token"));
    else
        token = renew(a, to, login, why);
    if (turn >= 0)
        close(turn);
    return token;
}
