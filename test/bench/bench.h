/* The load generator: raw sockets on one libuv loop, no library between us and the bytes. scripts/bench.mjs starts the
 * servers, calls this program once per load and prints the table.
 *
 *     bench http       keeps --depth requests under way on each of --connections
 *     bench handshake  connects, upgrades to a WebSocket and is gone again, --connections at once
 *     bench fanout     upgrades --connections, publishes --message (--depth under way, or --rate a second) and counts
 *                      what arrives at the subscribers
 *     bench lines      upgrades --connections and counts log lines until each of them saw the run's end
 *     bench hold       upgrades --connections and keeps them until standard input ends
 *
 * What is sent is the text of a file: ten '@' in it become a number of their own each time, `$$1` and `$$2` a line of the
 * first and second --list. The first second of a load is not counted, so that a server with a just-in-time compiler is
 * as fast as it gets. Either ends by printing one line of JSON; what went wrong goes to standard error. */
#ifndef TEST_BENCH_BENCH_H
#define TEST_BENCH_BENCH_H

#include "lib/str.h"

#include <time.h>
#include <uv.h>

enum { WARM_UP_MS = 1000, MAX_DEPTH = 64, MAX_REQUEST = 8192, NUMBER = 10, LISTS = 2, WATCHED = 4 };

/* A text with places to fill in. */
enum piece_kind { PIECE_TEXT, PIECE_NUMBER, PIECE_LINE };
struct piece {
    enum piece_kind kind;
    struct str text; /* as it is; of a PIECE_LINE: not used */
    unsigned list;
};
struct lines {
    struct str *all;
    size_t n;
};
struct template
{
    struct piece pieces[8];
    size_t n;
    struct lines lists[LISTS];
    bool in_order; /* the lines of a list, else any of them */
    uint64_t serial, random;
};
void template_read(struct template *t, struct str text);
/* At most MAX_REQUEST bytes; answers how many. Uses and raises t->serial. */
size_t template_fill(struct template *t, char *to);
struct str read_file(const char *path);
struct lines read_lines(const char *path);

/* CPU time of other processes, all their threads, to the nanosecond. */
struct watch {
    clockid_t clocks[WATCHED];
    uint64_t before[WATCHED], used[WATCHED];
    size_t n;
};
void watch_begin(struct watch *w);
void watch_end(struct watch *w);

struct load {
    struct sockaddr_in address;
    struct template request, message;
    const char *publish;     /* unix:PATH or HOST:PORT */
    const char *certificate; /* of the server, when it is spoken to over TLS; NULL: it is not */
    const char *word;        /* hold, handshake: a text frame with it says that the connection is open */
    const char *collect;     /* http: a file that gets the ids in the answers */
    unsigned connections, depth, rate, seconds;
    uint64_t total; /* http: so many requests instead of a time */
    size_t size;    /* fanout: text frames of fewer bytes are not ours */
    struct watch watch;
};

int http_load(struct load *load);
int handshake_load(struct load *load);
int fanout_load(struct load *load);
int lines_load(struct load *load);
int hold_load(struct load *load);

/* Values in buckets of 3 % width. */
enum { HISTOGRAM_BUCKETS = 64 * 32 };
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS], n;
};
void histogram_add(struct histogram *h, uint64_t value);
uint64_t histogram_at(const struct histogram *h, double quantile);

/* The one line of JSON. Latencies are in nanoseconds. */
void print_figures(const struct load *load, uint64_t total, uint64_t failures, uint64_t ns, const struct histogram *h);
void say_ready(void);
/* Ends the program with a message. */
_Noreturn void give_up(const char *what, const char *why);

#endif
