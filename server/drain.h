/* The orderly stop of a process, seen from its main thread (decision 40a):
 *
 *   drain_begin   LEAVING   /readyz says no; everything is served as before while load balancers notice
 *   after `wait`  DRAINING  streams are told, every answer closes its connection, connections are still accepted
 *   all drained   CLOSING   listeners let no handshake begin, are emptied and closed; then everything else
 *   all ended     `ended` is called; the workers' threads have been joined
 *
 * At the deadline CLOSING comes whatever is left. A second signal changes nothing. */
#ifndef SERVER_DRAIN_H
#define SERVER_DRAIN_H

#include "lib/timer.h"

struct process;

struct drain {
    struct process *process;
    void (*ended)(void *arg);
    void *arg;
    struct timer wait, deadline; /* private */
    bool begun;
};

void drain_init(struct drain *d, struct process *process, void (*ended)(void *arg), void *arg);
/* `wait_ms`: how long LEAVING lasts; `timeout_ms`: until CLOSING at the latest, the wait included. Only the first call
 * counts. */
void drain_begin(struct drain *d, int64_t wait_ms, int64_t timeout_ms);
/* A worker's state has changed. */
void drain_changed(struct drain *d);

#endif
