#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

void give_up(const char *what, const char *why)
{
    fprintf(stderr, "bench: %s: %s\n", what, why);
    exit(1);
}

/* Exact below 32, then 32 buckets for each power of two. */
void histogram_add(struct histogram *h, uint64_t value)
{
    unsigned shift = value < 32 ? 0 : 58 - (unsigned)__builtin_clzll(value);
    h->counts[shift * 32 + (value >> shift)]++;
    h->n++;
}

uint64_t histogram_at(const struct histogram *h, double quantile)
{
    uint64_t seen = 0, wanted = (uint64_t)((double)h->n * quantile);
    for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
        seen += h->counts[i];
        if (seen > wanted)
            return i < 32 ? i : (uint64_t)(i % 32 + 32) << (i / 32 - 1);
    }
    return 0;
}

static unsigned number(const char *text, unsigned max)
{
    uint64_t v;
    if (!str_u64(str_z(text), &v) || v < 1 || v > max)
        give_up(text, "not a number in range");
    return (unsigned)v;
}

static struct str read_all(void)
{
    struct buf b = {0};
    char chunk[4096];
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, stdin)) > 0;)
        buf_add(&b, chunk, n);
    if (b.failed || b.n == 0)
        give_up("request", "nothing on standard input");
    return buf_view(&b);
}

int main(int argc, char **argv)
{
    bool http = argc == 7 && strcmp(argv[1], "http") == 0, fanout = argc == 6 && strcmp(argv[1], "fanout") == 0;
    if (!http && !fanout) {
        fputs("usage: bench http ADDRESS PORT CONNECTIONS DEPTH SECONDS | fanout ADDRESS PORT SUBSCRIBERS SECONDS\n",
              stderr);
        return 2;
    }
    struct load load = {.connections = number(argv[4], 100000), .depth = 1};
    if (http)
        load.depth = number(argv[5], 64);
    load.seconds = number(argv[http ? 6 : 5], 3600);
    if (uv_ip4_addr(argv[2], (int)number(argv[3], 65535), &load.address) != 0)
        give_up(argv[2], "not an address");
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    load.request = read_all();
    return http ? http_load(&load) : fanout_load(&load);
}
