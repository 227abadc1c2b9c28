#include "test/bench/bench.h"

#include <getopt.h>
#include <inttypes.h>
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

static uint64_t cpu_ns(clockid_t clock)
{
    struct timespec t;
    if (clock_gettime(clock, &t) != 0)
        give_up("a watched process", "is gone");
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void watch_begin(struct watch *w)
{
    for (size_t i = 0; i < w->n; i++)
        w->before[i] = cpu_ns(w->clocks[i]);
}

void watch_end(struct watch *w)
{
    for (size_t i = 0; i < w->n; i++)
        w->used[i] = cpu_ns(w->clocks[i]) - w->before[i];
}

void print_figures(const struct load *load, uint64_t total, uint64_t failures, uint64_t ns, const struct histogram *h)
{
    printf("{\"total\":%" PRIu64 ",\"failures\":%" PRIu64 ",\"perSecond\":%.1f,\"p50\":%.3f,\"p99\":%.3f,\"cpu\":[",
           total, failures, ns == 0 ? 0 : (double)total * 1e9 / (double)ns, (double)histogram_at(h, 0.5) / 1e6,
           (double)histogram_at(h, 0.99) / 1e6);
    for (size_t i = 0; i < load->watch.n; i++)
        printf("%s%.1f", i == 0 ? "" : ",", (double)load->watch.used[i] / 1e3);
    puts("]}");
    fflush(stdout);
}

void say_ready(void)
{
    puts("ready");
    fflush(stdout);
}

static uint64_t number(const char *text, uint64_t max)
{
    uint64_t v;
    if (!str_u64(str_z(text), &v) || v < 1 || v > max)
        give_up(text, "not a number in range");
    return v;
}

static void read_address(struct load *load, char *text)
{
    char *colon = strrchr(text, ':');
    if (colon == NULL)
        give_up(text, "not HOST:PORT");
    *colon = '\0';
    if (uv_ip4_addr(text, (int)number(colon + 1, 65535), &load->address) != 0)
        give_up(text, "not an address");
}

static void read_watched(struct watch *w, const char *list)
{
    struct str rest = str_z(list);
    while (rest.p != NULL && w->n < WATCHED) {
        uint64_t pid = 0;
        if (!str_u64(str_cut(&rest, ','), &pid) || clock_getcpuclockid((pid_t)pid, &w->clocks[w->n++]) != 0)
            give_up(list, "not processes");
    }
}

static const struct option options[] = {
    {"to", required_argument, NULL, 't'},
    {"connections", required_argument, NULL, 'c'},
    {"depth", required_argument, NULL, 'd'},
    {"seconds", required_argument, NULL, 's'},
    {"request", required_argument, NULL, 'r'},
    {"list", required_argument, NULL, 'l'},
    {"cpu", required_argument, NULL, 'u'},
    {"publish", required_argument, NULL, 'p'},
    {"message", required_argument, NULL, 'm'},
    {"rate", required_argument, NULL, 'e'},
    {"size", required_argument, NULL, 'z'},
    {"word", required_argument, NULL, 'w'},
    {"total", required_argument, NULL, 'n'},
    {"collect", required_argument, NULL, 'o'},
    {"in-order", no_argument, NULL, 'i'},
    {"tls", required_argument, NULL, 'T'},
    {0},
};

static void read_options(struct load *load, int argc, char **argv)
{
    const char *request = NULL, *message = NULL;
    size_t lists = 0;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (c) {
        case 't':
            read_address(load, optarg);
            break;
        case 'c':
            load->connections = (unsigned)number(optarg, 100000);
            break;
        case 'd':
            load->depth = (unsigned)number(optarg, MAX_DEPTH);
            break;
        case 's':
            load->seconds = (unsigned)number(optarg, 3600);
            break;
        case 'e':
            load->rate = (unsigned)number(optarg, 1000000);
            break;
        case 'z':
            load->size = number(optarg, 1 << 20);
            break;
        case 'n':
            load->total = number(optarg, 100000000);
            break;
        case 'r':
            request = optarg;
            break;
        case 'm':
            message = optarg;
            break;
        case 'p':
            load->publish = optarg;
            break;
        case 'T':
            load->certificate = optarg;
            break;
        case 'w':
            load->word = optarg;
            break;
        case 'o':
            load->collect = optarg;
            break;
        case 'i':
            load->request.in_order = true;
            break;
        case 'u':
            read_watched(&load->watch, optarg);
            break;
        case 'l':
            if (lists == LISTS)
                give_up("--list", "given too often");
            load->request.lists[lists++] = read_lines(optarg);
            break;
        default:
            exit(2);
        }
    }
    if (request == NULL || load->address.sin_port == 0)
        give_up("--to and --request", "are needed");
    template_read(&load->request, read_file(request));
    if (message != NULL)
        template_read(&load->message, read_file(message));
}

static const struct {
    const char *name;
    int (*run)(struct load *load);
} loads[] = {
    {"http", http_load},   {"handshake", handshake_load}, {"fanout", fanout_load},
    {"lines", lines_load}, {"hold", hold_load},
};

static void raise_files(void)
{
    struct rlimit files = {0};
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
}

int main(int argc, char **argv)
{
    static struct load load = {.connections = 1, .depth = 1, .seconds = 5};
    for (size_t i = 0; argc > 1 && i < sizeof loads / sizeof loads[0]; i++) {
        if (strcmp(argv[1], loads[i].name) != 0)
            continue;
        read_options(&load, argc - 1, argv + 1);
        raise_files();
        return loads[i].run(&load);
    }
    fputs("usage: bench http|handshake|fanout|lines|hold --to HOST:PORT --request FILE [OPTION...]\n", stderr);
    return 2;
}
