/* The load generator: raw sockets on one libuv loop, no library between us and the bytes. scripts/bench.mjs starts the
 * server, calls this program once per load and prints the table.
 *
 *     bench http ADDRESS PORT CONNECTIONS DEPTH SECONDS < request
 *         Keeps DEPTH requests under way on each connection. The request is sent as it is, but ten '@' in it become a
 *         number of their own each time. The first second is not counted.
 *     bench fanout ADDRESS PORT SUBSCRIBERS SECONDS < request
 *         Upgrades every connection with the request, 64 at once, says "ready" on a line, and counts text frames until each
 *         subscriber saw one with the word workflow_completed.
 *
 * Either ends by printing one line of JSON; what went wrong goes to standard error. */
#ifndef TEST_BENCH_BENCH_H
#define TEST_BENCH_BENCH_H

#include "lib/str.h"

#include <uv.h>

struct load {
    struct sockaddr_in address;
    struct str request;
    unsigned connections, depth, seconds;
};

int http_load(const struct load *load);
int fanout_load(const struct load *load);

/* Latencies in nanoseconds, in buckets of 3 % width. */
enum { HISTOGRAM_BUCKETS = 64 * 32 };
struct histogram {
    uint64_t counts[HISTOGRAM_BUCKETS], n;
};
void histogram_add(struct histogram *h, uint64_t value);
uint64_t histogram_at(const struct histogram *h, double quantile);

/* Ends the program with a message. */
_Noreturn void give_up(const char *what, const char *why);

#endif
