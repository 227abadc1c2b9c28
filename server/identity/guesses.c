#include "server/identity/guesses.h"

#include "lib/cidr.h"
#include "lib/crypto.h"
#include "lib/id.h"
#include "server/auth.h"
#include "server/identity/page.h"
#include "server/worker.h"

static const char cookie[] = "slipway-known";
static const char *const lives[] = {"900000", "3600000"}; /* ms of the counts, the second that of anywhere */
enum { DEVICE = 16, KNOWN_LIFE_S = 365 * 86400 };

/* --- browsers in which somebody signed in --- */

/* "<device>.<hash of device and user>" */
static void known_mark(const struct guess *g, struct str device, char hex[65])
{
    struct str text = arena_printf(&g->request->arena, STR_FMT ":" STR_FMT, STR_ARG(device), STR_ARG(g->user));
    auth_subject(g->request->worker->settings, "known", text, hex);
}

/* The device's name if the cookie is this person's; else STR_NONE. */
static struct str known_device(const struct guess *g)
{
    char wanted[65];
    struct str mark = page_cookie(g->request, cookie), device = str_cut(&mark, '.');
    if (g->user.n == 0 || device.n != DEVICE || mark.n != 64)
        return STR_NONE;
    known_mark(g, device, wanted);
    return crypto_equal_str(str_z(wanted), mark) ? device : STR_NONE;
}

static void set_known(const struct guess *g)
{
    char hex[65];
    struct buf name;
    uint8_t bytes[DEVICE / 2];
    struct arena *a = &g->request->arena;
    buf_init_arena(&name, a, DEVICE + 1);
    random_bytes(bytes, sizeof bytes);
    buf_hex(&name, bytes, sizeof bytes);
    if (name.failed)
        return;
    known_mark(g, buf_view(&name), hex);
    struct str value = arena_printf(a, STR_FMT ".%s", STR_ARG(buf_view(&name)), hex);
    if (value.p != NULL)
        page_set_cookie(g->request, cookie, value, KNOWN_LIFE_S);
}

/* --- counts --- */

static struct str key_of(const struct guess *g, const char *where, struct str which)
{
    char hex[65];
    struct request *r = g->request;
    struct str text = arena_printf(&r->arena, "%s:" STR_FMT ":" STR_FMT ":" STR_FMT, where, STR_ARG(g->space.tenant),
                                   STR_ARG(g->who), STR_ARG(which));
    auth_subject(r->worker->settings, "guess", text, hex);
    return key_guesses(&r->arena, g->space.partition, str_z(hex));
}

static void choose_keys(struct guess *g)
{
    char site[CIDR_SITE];
    struct str device = known_device(g);
    g->known = device.p != NULL;
    g->n = 0;
    if (g->known) {
        g->keys[g->n++] = key_of(g, "browser", device);
        return;
    }
    cidr_site(g->request->address, site);
    g->keys[g->n++] = key_of(g, "network", str_z(site));
    g->keys[g->n++] = key_of(g, "anywhere", S(""));
}

static void counted(void *arg, enum code c, const struct redis_value *v)
{
    struct guess *g = arg;
    struct request *r = g->request;
    int64_t left_ms = 0;
    for (size_t i = 0; c == OK && i < g->n; i++) {
        int64_t count = redis_int(redis_at(v, 3 * i), 0), ttl_ms = redis_int(redis_at(v, 3 * i + 2), 0);
        if (count > (i == 1     ? GUESSES_ANYWHERE_MAX
                     : g->known ? GUESSES_BROWSER_MAX
                                : GUESSES_NETWORK_MAX) &&
            ttl_ms > left_ms)
            left_ms = ttl_ms;
    }
    if (c == OK && left_ms > 0) {
        reply_header(r, "Retry-After", arena_int(&r->arena, (left_ms + 999) / 1000));
        c = request_refuse(r, RATE_LOGIN_GUESSES, "Too many wrong guesses. It goes on in %lld minutes.",
                           (long long)(left_ms + 59999) / 60000);
    }
    if (c != OK)
        page_refuse(r, c);
    else
        g->then(g->arg);
}

static bool add(struct arena *a, struct store_command *out, const char *verb, struct str key, const char *more,
                const char *flag)
{
    struct str *words = arena_array(a, 4, sizeof *words);
    if (words == NULL || key.p == NULL)
        return false;
    words[0] = str_z(verb);
    words[1] = key;
    words[2] = more == NULL ? STR_NONE : str_z(more);
    words[3] = flag == NULL ? STR_NONE : str_z(flag);
    *out = (struct store_command){2U + (more != NULL) + (flag != NULL), words};
    return true;
}

void guess_charge(struct guess *g, void (*then)(void *arg), void *arg)
{
    struct request *r = g->request;
    struct store_command commands[6];
    size_t n = 0;
    bool good = true;
    g->then = then;
    g->arg = arg;
    choose_keys(g);
    for (size_t i = 0; i < g->n && i < ARRAY_LEN(lives) && good; i++)
        good = add(&r->arena, &commands[n++], "INCR", g->keys[i], NULL, NULL) &&
               add(&r->arena, &commands[n++], "PEXPIRE", g->keys[i], lives[i], "NX") &&
               add(&r->arena, &commands[n++], "PTTL", g->keys[i], NULL, NULL);
    enum code c = good ? store_read(r->worker->store, commands, n, &r->ops, counted, g) : SYS_OVERLOADED;
    if (c != OK)
        page_refuse(r, c);
}

static void given_back(void *arg, enum code c, const struct redis_value *v)
{
    (void)arg, (void)c, (void)v;
}

void guess_right(struct guess *g)
{
    struct worker *w = g->request->worker;
    struct store_command commands[2];
    if (!add(&g->request->arena, &commands[0], "DEL", g->keys[0], NULL, NULL) ||
        (g->n > 1 && !add(&g->request->arena, &commands[1], "DECR", g->keys[1], NULL, NULL)))
        return;
    store_read(w->store, commands, g->n, &w->ops, given_back, NULL);
    if (g->user.n > 0 && !g->known)
        set_known(g);
}
