/* The embedded Redis: Debian's redis-server, run by us on a unix socket in the data folder.
 *
 * Two servers on one folder would both write one append-only file, so the child holds a lock on DIR/redis.lock through
 * an inherited descriptor for as long as it lives, also after our own sudden end. If the lock is held at start, that
 * Redis is adopted over its socket, after it has named the same folder; a second one is never started. A Redis that
 * dies is started again, with back-off. Our orderly end stops it. It listens on no TCP port and has its own session, so
 * the terminal's Ctrl-C reaches us only. */
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
    /* Answers on its socket, for the first time or again. */
    void (*on_up)(void *arg);
    /* Died or does not answer; it will be started again. `why` is for people. */
    void (*on_down)(void *arg, const char *why);
    /* It cannot work: no program, folder not writable, somebody else's lock. Nothing more is tried. */
    void (*on_failed)(void *arg, const char *why);
};

/* NULL: no memory, or a path too long for a unix socket. */
struct embedded *embedded_open(struct loop *loop, const struct embedded_settings *settings,
                               const struct embedded_events *events, void *arg);
/* Path of the socket, DIR/redis.sock or a shorter one when DIR is long; a redis_target_parse text. */
const char *embedded_socket(const struct embedded *e);
int embedded_pid(const struct embedded *e); /* 0: not running */
bool embedded_adopted(const struct embedded *e);
/* Stops it (SHUTDOWN, then SIGTERM, then SIGKILL) and waits for its end; `closed` once, later. */
void embedded_close(struct embedded *e, void (*closed)(void *arg), void *arg);

#endif
