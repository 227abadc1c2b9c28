/* Log lines of a step: batches that become one entry of the run's channel.
 *
 * Lines are numbered twice. The task numbers what it sends (`first`, 1 for its first line), by which a batch that comes
 * again is recognised: lines already stored are dropped, a batch from beyond the next expected line is refused, since
 * something before it is missing. The log numbers what it keeps: logSeq, without holes for each (node, attempt),
 * written into the frames as their third member. After 10 MiB of a step's log one marker line follows, and the rest is
 * acknowledged and dropped. */
#ifndef SERVER_STORE_APPEND_H
#define SERVER_STORE_APPEND_H

#include "server/store/store.h"

enum { APPEND_LINES = 100, APPEND_LOG_MAX = 10 * 1024 * 1024 /* bytes of a step's log */ };

struct append {
    struct space space;
    const char *kind; /* of the run */
    struct str run, node;
    unsigned attempt;
    struct str task;         /* who numbers; STR_NONE: nobody, everything is taken */
    struct str agent;        /* only while the task is an open one of this agent; STR_NONE: that is not asked */
    int64_t first;           /* number of lines[0] */
    const struct str *lines; /* what follows "logSeq":N, in the frame: starts with a member, ends with the brace */
    size_t count;            /* 1 to APPEND_LINES */
    bool skip;               /* the lines before `first` are lost for good: go on here */
    bool last;               /* the log is complete with this; count may be 0 */
    struct str marker;       /* the line that says the log was cut, same form */
    int64_t cap;             /* bytes; 0: 10 MiB */
};

struct appended {
    int64_t now_ms;
    int64_t next; /* first line of the task that is not stored: acknowledge everything below */
    bool gap;     /* refused: send again from `next` */
    bool stray;   /* refused: the task is no open one of that agent */
    bool truncated;
    int64_t log_first, log_last; /* logSeq of what was stored now; 0: nothing */
    int64_t seq;                 /* the channel's last */
};

typedef void append_then(void *arg, enum code c, const struct appended *a);
/* SYS_STORAGE also when memory is short (store_full). */
enum code store_append(struct store *s, struct arena *scratch, const struct append *in, struct ops *asker,
                       append_then *then, void *arg);

#endif
