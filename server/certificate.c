#include "server/certificate.h"

#include "lib/clock.h"
#include "lib/crypto.h"
#include "lib/keyring.h"
#include "lib/log.h"
#include "proto/tls.h"
#include "server/settings.h"
#include "server/worker.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_MOST = 1 << 20, WARN_DAYS = 14, DAY_S = 86400 };

static bool refuse(const char *path, const char *why)
{
    log_error("tls.refused", "path=%s why=%s", path, why);
    return false;
}

/* Wiped, wherever it has been. */
static void forget(struct buf *b)
{
    if (b->p != NULL)
        crypto_wipe(b->p, b->cap);
    buf_free(b);
}

/* The whole file, and a NUL byte behind it. The buffer does not move while it is read: a key leaves no copies. */
static bool read_file(const char *path, struct buf *out, bool secret)
{
    struct stat st;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        refuse(path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return false;
    }
    if (secret && (st.st_mode & (S_IROTH | S_IWOTH)))
        log_warn("tls.key_open", "path=%s why=%s", path, "everybody on this host can read the key: chmod o= it");
    ssize_t n = -1;
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MOST)
        errno = EINVAL;
    else if (buf_reserve(out, (size_t)st.st_size + 1))
        n = read(fd, out->p, (size_t)st.st_size);
    close(fd);
    if (n < 0)
        return refuse(path, out->failed ? "out of memory" : strerror(errno));
    out->n = (size_t)n;
    out->p[n] = '\0';
    return true;
}

static void warn_of_end(const char *path, int64_t expires_s)
{
    int64_t left = expires_s - clock_wall_s();
    char when[CLOCK_TEXT];
    clock_text(expires_s * 1000, when);
    if (left < 0)
        log_error("tls.expired", "path=%s expired=%s", path, when);
    else if (left < (int64_t)WARN_DAYS * DAY_S)
        log_warn("tls.expires", "path=%s expires=%s days=%d", path, when, (int)(left / DAY_S));
    else
        log_info("tls.certificate", "path=%s expires=%s", path, when);
}

static void hand_over(struct process *p, struct tls_context **contexts)
{
    for (unsigned i = 0; i < p->count; i++) {
        struct worker *w = &p->workers[i];
        tls_context_drop(__atomic_exchange_n(&w->tls_next, contexts[i], __ATOMIC_ACQ_REL)); /* one it never saw */
        loop_wake(&w->loop);
    }
}

/* A context belongs to one thread, so each worker gets one of its own; all have the same ticket keys,
 * and so has every instance that has the keyring. */
static bool make(struct process *p, const struct tls_server *server)
{
    const struct settings *s = p->settings;
    char why[TLS_WHY] = "out of memory";
    struct tls_context **contexts = calloc(p->count, sizeof(struct tls_context *));
    unsigned made = 0;
    while (contexts != NULL && made < p->count && (contexts[made] = tls_context_server(server, why)) != NULL)
        made++;
    bool well = made == p->count && contexts != NULL;
    if (well) {
        warn_of_end(s->tls_cert, tls_expires_s(contexts[0]));
        hand_over(p, contexts);
    } else {
        refuse(s->tls_cert, why);
        while (made > 0)
            tls_context_drop(contexts[--made]);
    }
    free(contexts);
    return well;
}

bool certificate_load(struct process *p)
{
    struct buf certificate = {0}, key = {0};
    struct tls_seed seed;
    keyring_hash(p->settings->keyring, S("slipway TLS tickets"), seed.key); /* that of every instance */
    bool well = read_file(p->settings->tls_cert, &certificate, false) && read_file(p->settings->tls_key, &key, true);
    if (well) {
        const struct tls_server server = {buf_view(&certificate), buf_view(&key), &seed};
        well = make(p, &server);
    }
    forget(&key);
    buf_free(&certificate);
    crypto_wipe(&seed, sizeof(seed));
    return well;
}

void certificate_take(struct worker *w)
{
    struct tls_context *fresh = __atomic_exchange_n(&w->tls_next, NULL, __ATOMIC_ACQ_REL);
    if (fresh == NULL)
        return;
    tls_context_drop(w->door.context);
    w->door.context = fresh;
    if (w->index == 0) /* the figures of workers are added up */
        metrics_set(&w->metrics, METRIC_TLS_EXPIRES, (uint64_t)tls_expires_s(fresh));
}
