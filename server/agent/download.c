#include "server/agent/download.h"
#include "lib/clock.h"
#include "lib/crypto.h"
#include "proto/client.h"
#include "proto/fetch.h"
#include "server/agent/deploy.h"
#include "server/agent/identity.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { MOST = 32 * 1024 * 1024, SAY_MS = 1000, NETWORKS = 64, AGAIN_MS = 200 };

struct transfer {
    struct work *w;
    struct download *d;
    int fd, error;
    struct crypto_sha256 hash;
    int64_t said_ms;
    int said;
    struct cidr allow[NETWORKS];
    struct fetch_settings guard;
    struct fetch_request request;
    struct fetch_blocking how;
};

bool download_digest_valid(struct str digest)
{
    struct str prefix = S("sha256:");
    if (!str_starts(digest, prefix) || digest.n != prefix.n + 2 * CRYPTO_HASH)
        return false;
    for (size_t i = prefix.n; i < digest.n; i++)
        if (strchr("0123456789abcdef", digest.p[i]) == NULL || digest.p[i] == '\0')
            return false;
    return true;
}

/* --- bytes --- */

static bool take(void *arg, struct str bytes)
{
    struct transfer *t = arg;
    crypto_sha256_add(&t->hash, bytes.p, bytes.n);
    t->d->bytes += bytes.n;
    while (bytes.n > 0) {
        ssize_t n = write(t->fd, bytes.p, bytes.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            t->error = errno;
            return false;
        }
        bytes = str_slice(bytes, (size_t)n, bytes.n);
    }
    return true;
}

static bool goes_on(void *arg, uint64_t got, uint64_t expected)
{
    struct transfer *t = arg;
    int64_t now = clock_mono_ms();
    int percent = t->d->from;
    if (expected > 0 && got <= expected)
        percent += (int)((uint64_t)(t->d->to - t->d->from) * got / expected);
    if (got > 0 && percent > t->said && now - t->said_ms >= SAY_MS) {
        work_progress(t->w, percent, "%s: %llu of %llu bytes", t->d->what, (unsigned long long)got,
                      (unsigned long long)expected);
        t->said = percent;
        t->said_ms = now;
    }
    return !work_stopped(t->w);
}

/* --- from where --- */

/* The server's URL may have changed, and the token been renewed, since the task began. */
bool download_address(struct work *w, const struct json *settings, struct str path, struct fetch_request *request,
                      struct fetch_blocking *how)
{
    struct arena *a = w->arena;
    struct identity identity = {0};
    struct client_url url;
    struct str base = json_str(json_get(settings, "url"));
    int data = openat(w->dir, "../..", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int error = data < 0 ? errno : identity_load(&identity, data);
    if (data >= 0)
        close(data);
    if (error != 0)
        return work_fail(w, PROTOCOL_DOWNLOAD, "the agent's identity cannot be read: %s", strerror(error));
    if (client_url_parse(base, &url) != NULL)
        return work_fail(w, PROTOCOL_DOWNLOAD, "the agent has no server's URL");
    bool six = memchr(url.host.p, ':', url.host.n) != NULL;
    request->url = url.local ? arena_printf(a, "http://localhost" STR_FMT STR_FMT, STR_ARG(url.base), STR_ARG(path))
                             : arena_printf(a, "%s://%s" STR_FMT "%s:%u" STR_FMT STR_FMT, url.tls ? "https" : "http",
                                            six ? "[" : "", STR_ARG(url.host), six ? "]" : "", url.port,
                                            STR_ARG(url.base), STR_ARG(path));
    request->fields = arena_printf(a, "Authorization: Bearer %s\n" STR_FMT, identity.token, STR_ARG(request->fields));
    explicit_bzero(&identity, sizeof identity);
    how->unguarded = true;
    how->ca = arena_z(a, json_str(json_get(settings, "ca")));
    how->socket = url.local ? arena_z(a, url.host) : NULL;
    return true;
}

static void read_guard(struct transfer *t, const struct json *settings)
{
    const struct json *list = json_get(settings, "outboundAllow");
    for (size_t i = 0; i < json_count(list) && t->guard.allow_count < NETWORKS; i++)
        if (cidr_parse(json_str(json_at(list, i)), &t->allow[t->guard.allow_count]))
            t->guard.allow_count++;
    t->guard.allow = t->allow;
}

static bool address(struct transfer *t)
{
    const struct json *settings;
    const char *wrong = work_settings_read(t->w, &settings);
    if (wrong != NULL)
        return work_fail(t->w, PROTOCOL_DOWNLOAD, "the agent's " DEPLOY_SETTINGS " cannot be read: %s", wrong);
    t->request = (struct fetch_request){.method = S("GET"),
                                        .fields = S("Accept: application/octet-stream\n"),
                                        .url = t->d->url,
                                        .max_bytes = (size_t)json_int(json_get(settings, "artifactMax"), MOST)};
    read_guard(t, settings);
    t->how = (struct fetch_blocking){.take = take, .goes_on = goes_on, .arg = t};
    return t->d->url.n == 0 || t->d->url.p[0] != '/' ||
           download_address(t->w, settings, t->d->url, &t->request, &t->how);
}

/* --- the answer --- */

static bool may_come_later(int status)
{
    return status >= 500 || status == 401 || status == 408 || status == 425 || status == 429;
}

static void judge_status(struct work *w, const char *what, int status)
{
    work_fail(w, PROTOCOL_DOWNLOAD, "%s: the answer has status %d", what, status);
    w->retriable = may_come_later(status);
}

static void answered(void *arg, const struct fetch_answer *a)
{
    struct transfer *t = arg;
    struct work *w = t->w;
    const char *what = t->d->what;
    if (t->error != 0)
        work_fail(w, PROTOCOL_TARGET, "%s cannot be stored: %s", what, strerror(t->error));
    else if (a->fault == FETCH_CLOSED)
        work_fail(w, PROTOCOL_CANCELLED, "told to end");
    else if (a->fault == FETCH_TOO_LARGE)
        work_fail(w, PROTOCOL_TOO_LARGE, "%s has more than %zu bytes (artifact-max)", what, t->request.max_bytes);
    else if (a->fault == FETCH_REFUSED || a->fault == FETCH_URL)
        work_fail(w, PROTOCOL_GUARD, "%s: %s", what, a->message);
    else if (a->fault != FETCH_NONE)
        work_fail(w, PROTOCOL_DOWNLOAD, "%s: %s", what, a->message);
    else if (a->status / 100 != 2)
        judge_status(w, what, a->status);
}

static bool check(struct transfer *t)
{
    uint8_t sum[CRYPTO_HASH];
    struct buf text = {0};
    crypto_sha256_end(&t->hash, sum);
    buf_z(&text, "sha256:");
    buf_hex(&text, sum, sizeof sum);
    bool same = !text.failed && str_eq(buf_view(&text), t->d->digest);
    if (!same)
        work_fail(t->w, PROTOCOL_DIGEST, "%s has digest " STR_FMT ", not " STR_FMT, t->d->what,
                  STR_ARG(buf_view(&text)), STR_ARG(t->d->digest));
    buf_free(&text);
    return same;
}

static int open_nameless(int dir)
{
    int fd = openat(dir, "work", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return fd;
    fd = openat(dir, "work/.artifact", O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd >= 0)
        unlinkat(dir, "work/.artifact", 0);
    return fd;
}

/* The artifact's descriptor, at its end; -1 and why. */
static int try(struct work *w, struct download *d)
{
    struct transfer t = {.w = w, .d = d, .said = d->from};
    crypto_sha256_init(&t.hash);
    d->bytes = 0;
    t.fd = open_nameless(w->dir);
    if (t.fd < 0) {
        work_fail(w, PROTOCOL_TARGET, "no file can be made for %s: %s", d->what, strerror(errno));
        return -1;
    }
    if (address(&t))
        fetch_blocking(&t.guard, &t.request, &t.how, answered, &t);
    if (w->cause == NULL && check(&t))
        return t.fd;
    close(t.fd);
    return -1;
}

/* The agent's own server went away, or is not ready yet: it comes back. What others serve is for the next attempt. */
static bool may_try_again(struct work *w, const struct download *d, int64_t until)
{
    bool own = d->url.n > 0 && d->url.p[0] == '/';
    if (!own || !w->retriable || strcmp(w->cause, PROTOCOL_DOWNLOAD) != 0 || clock_mono_ms() >= until)
        return false;
    work_sleep(w, AGAIN_MS);
    return !work_stopped(w);
}

int download(struct work *w, struct download *d)
{
    int64_t until = clock_mono_ms() + w->patience_ms;
    int fd = try(w, d);
    if (fd < 0 && until > clock_mono_ms())
        work_say(w, "%s", w->message);
    while (fd < 0 && may_try_again(w, d, until)) {
        work_forgive(w);
        fd = try(w, d);
    }
    return fd;
}
