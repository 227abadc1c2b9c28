/* The embedded Redis: Debian's redis-server, run by us on a unix socket in the data folder.
 *
 * Two servers on one folder would both write one append-only file. So there is DIR/redis.lock: whoever starts a Redis
 * holds it, and hands it down to the child, which keeps it for as long as it lives, also after our own sudden end. If
 * the lock is held, that Redis is adopted over its socket, after it has named the same folder; a second one is never
 * started. A Redis that ends is started again, with back-off, by whoever gets the lock.
 *
 * Several `slipway serve` may share a folder, as when a new one starts while the old one drains: each holds DIR/users.lock
 * shared, and only the last one to go stops Redis. It listens on no TCP port, and has a session of its own, so that the
 * terminal's Ctrl-C reaches us only. */
#ifndef SERVER_EMBEDDED_H
#define SERVER_EMBEDDED_H

#include <stdbool.h>

struct embedded;
struct loop;

struct embedded_settings {
    const char *data;    /* DIR: made when absent */
    bool everysec;       /* appendfsync everysec instead of always */
    const char *program; /* NULL: "redis-server" */
};

struct embedded_events {
    /* Answers on its socket and serves our folder; for the first time or again. */
    void (*on_up)(void *arg);
    /* Ended, or does not answer; it will be up again. `why` is for people. */
    void (*on_down)(void *arg, const char *why);
    /* It cannot work: no program, folder not usable, it ends as soon as it is started. Nothing more is tried. */
    void (*on_failed)(void *arg, const char *why);
};

/* Starts or adopts, later; no callback runs inside this call. NULL: no memory. */
struct embedded *embedded_open(struct loop *loop, const struct embedded_settings *settings,
                               const struct embedded_events *events, void *arg);
/* DIR/redis.sock as an absolute path, which redis_target_parse takes; known at once. */
const char *embedded_socket(const struct embedded *e);
int embedded_pid(const struct embedded *e); /* 0: not running, or not yet known */
bool embedded_adopted(const struct embedded *e);
/* Stops Redis, unless somebody else uses it (SHUTDOWN; SIGTERM and SIGKILL when that does not help), and waits for its
 * end; `closed` once, later. */
void embedded_close(struct embedded *e, void (*closed)(void *arg), void *arg);

#endif
