/* Signals of the process as callbacks on a loop. */
#ifndef LIB_SIGNAL_H
#define LIB_SIGNAL_H

#include "lib/loop.h"

struct signal_watch {
    uv_signal_t uv; /* private, but for being embedded */
    void (*fn)(void *arg, int signum);
    void *arg;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* fn(arg, signum) runs for every delivery (the kernel merges those that come together). 0 or a negative errno. The
 * watch alone does not keep loop_run going. */
int signal_open(struct signal_watch *w, struct loop *loop, int signum, void (*fn)(void *arg, int signum), void *arg);
void signal_close(struct signal_watch *w, void (*closed)(void *arg), void *arg); /* `closed` may be NULL */
/* SIGPIPE ignored, so that a write to a gone reader is an error and not our end. Once, at start. */
void signal_ignore_pipe(void);

#endif
