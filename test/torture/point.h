/* Where calls that may fail are counted, and made to fail. A torture build of the program (build/torture) carries hooks
 * (hooks.c) in place of the C library's functions; each asks here first:
 *
 *     if (point_fails(POINT_READ, "read"))
 *         … fail as the system would …
 *
 * Armed with (kinds, n, times), the n-th call of those kinds from now on fails, and the times - 1 after it; whichever
 * thread makes them. While recording nothing fails, and each place (by its stack of callers) is noted with the number of
 * its first call. Thread-safe; never allocates. */
#ifndef TEST_TORTURE_POINT_H
#define TEST_TORTURE_POINT_H

#include <stdbool.h>

enum point_kind {
    POINT_ALLOC,      /* malloc and its kin, of every library in the process */
    POINT_DESCRIPTOR, /* whatever makes a descriptor: socket, accept, open, pipe, eventfd … */
    POINT_CONNECT,    /* connect, bind, listen */
    POINT_READ,       /* from sockets and regular files */
    POINT_WRITE,      /* to them */
    POINT_FILE,       /* fsync, rename, mkdir, ftruncate … */
    POINT_START,      /* of a thread or a process */
    POINT_KINDS
};

enum { POINT_DEPTH = 24, POINT_SITES = 4096 };

struct point_site {
    unsigned n; /* the number of its first call */
    unsigned depth;
    enum point_kind kind;
    const char *what;
    void *stack[POINT_DEPTH];
};

/* `fired` hears of the first failure after each arming, in the thread of the call. Called once, before the others. */
void point_init(void (*fired)(const struct point_site *site));

/* `kinds`: bits 1 << enum point_kind. */
void point_arm(unsigned kinds, unsigned n, unsigned times);
void point_record(unsigned kinds);

struct point_report {
    unsigned calls, failures;
};
struct point_report point_stop(void);

bool point_recording(void);

/* What was recorded, in order of n. To be asked after point_stop. */
unsigned point_sites(const struct point_site **sites);

/* The calling thread's own calls are not counted, or are again. Answers what held before. */
bool point_exempt(bool is);

bool point_fails(enum point_kind kind, const char *what);

#endif
