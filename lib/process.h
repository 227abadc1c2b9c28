/* Child processes.
 *
 * A child gets exactly the descriptors named for it; everything else of ours is close-on-exec. Output is read from
 * pipes as streams of bytes, or goes to a descriptor of the caller's choice. A child outlives our own sudden end unless
 * it asks otherwise. */
#ifndef LIB_PROCESS_H
#define LIB_PROCESS_H

#include "lib/loop.h"
#include "lib/str.h"

enum process_io {
    PROCESS_NULL, /* /dev/null */
    PROCESS_PIPE, /* stdout and stderr only: on_output */
    PROCESS_FD    /* a descriptor of ours */
};

struct process;

struct process_events {
    /* fd: 1 or 2; empty bytes: that output has ended. Borrowed for the call. May be NULL without PROCESS_PIPE. */
    void (*on_output)(struct process *p, int fd, struct str bytes);
    /* Exited (`signal` 0) or killed. Output may still come. Once. */
    void (*on_exit)(struct process *p, int status, int signal);
};

struct process_spec {
    const char *file;        /* looked up in PATH when it has no slash */
    const char *const *argv; /* argv[0] is the program's name */
    const char *const *env;  /* NULL: ours */
    const char *directory;   /* NULL: ours */
    bool session;            /* its own session and process group: the terminal's signals do not reach it */
    enum process_io io[3];   /* stdin, stdout, stderr */
    int fd[3];               /* for PROCESS_FD */
    const int *extra;        /* further descriptors: the child's 3, 4, ...; NULL: none */
    size_t extra_count;      /* at most 5 */
};

struct process {
    const struct process_events *events;
    struct loop *loop;
    int pid;    /* 0 once it has ended and was reaped */
    void *data; /* the owner's */

    uv_process_t uv; /* private from here */
    uv_pipe_t pipes[2];
    bool piped[2];
    unsigned handles;
    bool session, closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

/* 0 or a negative errno (-ENOENT: no such program). On an error `closed` still has to be awaited: call process_close.
 */
int process_open(struct process *p, struct loop *loop, const struct process_spec *spec,
                 const struct process_events *events);
/* To the process, or to its whole group when it has its own session. 0 or a negative errno. */
int process_signal(struct process *p, int signum);
void process_pause(struct process *p, int fd); /* no output of 1 or 2 is read: the child will block writing */
void process_resume(struct process *p, int fd);
/* Lets go of it, running or not (one that still runs is a zombie between its end and ours); no callback after this but
 * `closed`, once, later. */
void process_close(struct process *p, void (*closed)(void *arg), void *arg);

#endif
