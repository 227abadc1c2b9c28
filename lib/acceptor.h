/* A listening socket on a loop: accepts until the kernel has no more, each time it becomes readable.
 *
 * Several loops may listen on one TCP address (SO_REUSEPORT): the kernel spreads the connections. Closing one of these
 * sockets resets what waits in its queue, so an orderly stop calls acceptor_shut, gives handshakes under way a moment,
 * calls acceptor_accept once more, and closes last. Accepted descriptors are non-blocking, close-on-exec, and inherit
 * TCP_NODELAY. */
#ifndef LIB_ACCEPTOR_H
#define LIB_ACCEPTOR_H

#include "lib/address.h"
#include "lib/timer.h"

struct acceptor {
    uv_poll_t poll; /* private, but for being embedded */
    struct loop *loop;
    int fd;
    bool open, paused;
    void (*on_accept)(void *arg, int fd);
    void *arg;
    void (*closed)(void *arg);
    void *closed_arg;
    struct timer retry; /* after EMFILE and the like */
    uint64_t accepted, failed;
};

/* Makes and binds a listening socket; answers the descriptor or a negative errno. A stale unix socket that nobody
 * listens on is replaced; a live one is -EADDRINUSE. Port 0 takes a free one: see acceptor_port. */
int acceptor_socket(const struct address *at, int backlog, bool reuse_port);
/* The port a socket is bound to; 0 for a unix socket. */
uint16_t acceptor_port(int fd);

/* Takes over `fd`. on_accept owns each descriptor it is given. 0 or a negative errno; then fd is closed and nothing
 * will be called. */
int acceptor_open(struct acceptor *a, struct loop *loop, int fd, void (*on_accept)(void *arg, int fd), void *arg);
void acceptor_pause(struct acceptor *a); /* connections wait in the kernel's queue */
void acceptor_resume(struct acceptor *a);
/* No handshake begins any more: the kernel drops a client's SYN, which the client sends again a second later, to
 * whoever listens then. Handshakes under way come to their end. TCP only. */
void acceptor_shut(struct acceptor *a);
/* Accepts what is waiting, now. */
void acceptor_accept(struct acceptor *a);
/* `closed` runs once, later; the memory may go then. */
void acceptor_close(struct acceptor *a, void (*closed)(void *arg), void *arg);

#endif
