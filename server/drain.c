#include "server/drain.h"

#include "lib/log.h"
#include "server/worker.h"

void drain_init(struct drain *d, struct process *process, void (*ended)(void *arg), void *arg)
{
    *d = (struct drain){.process = process, .ended = ended, .arg = arg};
}

static void move(struct drain *d, enum phase phase)
{
    static const char *const names[] = {
        [PHASE_LEAVING] = "leaving", [PHASE_DRAINING] = "draining", [PHASE_CLOSING] = "closing"};
    if (process_phase(d->process) >= phase)
        return;
    log_info("drain", "phase=%s connections=%lld", names[phase],
             (long long)__atomic_load_n(&d->process->connections, __ATOMIC_RELAXED));
    process_enter(d->process, phase);
}

/* Workers that ended before have nothing more to tell: they are looked at here. */
static void wait_over(void *arg)
{
    move(arg, PHASE_DRAINING);
    drain_changed(arg);
}
static void time_over(void *arg)
{
    move(arg, PHASE_CLOSING);
    drain_changed(arg);
}

void drain_begin(struct drain *d, int64_t wait_ms, int64_t timeout_ms)
{
    if (d->begun)
        return;
    d->begun = true;
    move(d, PHASE_LEAVING);
    timer_start(&d->wait, d->process->loop, wait_ms < timeout_ms ? wait_ms : timeout_ms, wait_over, d);
    timer_start(&d->deadline, d->process->loop, timeout_ms, time_over, d);
    drain_changed(d);
}

static bool all_reached(const struct process *p, enum worker_state state)
{
    for (unsigned i = 0; i < p->count; i++)
        if (worker_state(&p->workers[i]) < state)
            return false;
    return true;
}

void drain_changed(struct drain *d)
{
    struct process *p = d->process;
    if (process_phase(p) == PHASE_DRAINING && all_reached(p, WORKER_DRAINED))
        move(d, PHASE_CLOSING);
    if (process_phase(p) != PHASE_CLOSING || !all_reached(p, WORKER_ENDED))
        return;
    for (unsigned i = 0; i < p->count; i++)
        worker_fini(&p->workers[i]);
    p->count = 0;
    timer_stop(&d->wait);
    timer_stop(&d->deadline);
    d->ended(d->arg);
}
