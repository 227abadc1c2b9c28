#include "server/metrics.h"

#include <string.h>

static const struct {
    const char *type, *name, *labels, *doc;
} rows[METRICS] = {
#define X(id, type, name, labels, doc) {type, name, labels, doc},
    METRIC_MAP(X)
#undef X
};

/* Upper bounds in microseconds, as they are written in seconds. */
static const struct {
    uint64_t us;
    const char *seconds;
} bounds[METRIC_BUCKETS] = {
    {50, "0.00005"}, {100, "0.0001"}, {250, "0.00025"}, {500, "0.0005"},  {1000, "0.001"}, {2500, "0.0025"},
    {5000, "0.005"}, {10000, "0.01"}, {25000, "0.025"}, {50000, "0.05"},  {100000, "0.1"}, {250000, "0.25"},
    {500000, "0.5"}, {1000000, "1"},  {2500000, "2.5"}, {10000000, "10"},
};

static const struct {
    const char *name, *doc;
} histograms[HISTOGRAMS] = {
    [HISTOGRAM_REQUEST] = {"http_request_seconds", "From the end of a request's head to its answer."},
};

static uint64_t load(const uint64_t *p)
{
    return __atomic_load_n(p, __ATOMIC_RELAXED);
}
static void add(uint64_t *p, uint64_t n)
{
    __atomic_store_n(p, load(p) + n, __ATOMIC_RELAXED);
}

void metrics_time(struct metrics *m, enum metric_histogram which, uint64_t us)
{
    struct histogram *h = &m->histograms[which];
    size_t i = 0;
    while (i < METRIC_BUCKETS && us > bounds[i].us)
        i++;
    add(&h->buckets[i], 1);
    add(&h->sum_us, us);
}

void metrics_request(struct metrics *m, int status, uint64_t us)
{
    metrics_add(m, (enum metric)(METRIC_REQUESTS_1XX + (status / 100 - 1)), 1);
    metrics_time(m, HISTOGRAM_REQUEST, us);
}

void metrics_merge(struct metrics *sum, const struct metrics *from)
{
    for (size_t i = 0; i < METRICS; i++)
        add(&sum->values[i], load(&from->values[i]));
    for (size_t i = 0; i < HISTOGRAMS; i++) {
        for (size_t k = 0; k <= METRIC_BUCKETS; k++)
            add(&sum->histograms[i].buckets[k], load(&from->histograms[i].buckets[k]));
        add(&sum->histograms[i].sum_us, load(&from->histograms[i].sum_us));
    }
}

static void write_family(struct buf *b, const char *name, const char *type, const char *doc)
{
    buf_z(b, "# HELP slipway_");
    buf_z(b, name);
    buf_char(b, ' ');
    buf_z(b, doc);
    buf_z(b, "\n# TYPE slipway_");
    buf_z(b, name);
    buf_char(b, ' ');
    buf_z(b, type);
    buf_char(b, '\n');
}

static void write_value(struct buf *b, const char *name, const char *suffix, const char *labels, uint64_t v)
{
    buf_z(b, "slipway_");
    buf_z(b, name);
    buf_z(b, suffix);
    if (labels != NULL) {
        buf_char(b, '{');
        buf_z(b, labels);
        buf_char(b, '}');
    }
    buf_char(b, ' ');
    buf_u64(b, v);
    buf_char(b, '\n');
}

static void write_histogram(struct buf *b, enum metric_histogram which, const struct histogram *h)
{
    const char *name = histograms[which].name;
    uint64_t sum = load(&h->sum_us), n = 0;
    write_family(b, name, "histogram", histograms[which].doc);
    for (size_t i = 0; i <= METRIC_BUCKETS; i++) {
        n += load(&h->buckets[i]);
        buf_printf(b, "slipway_%s_bucket{le=\"%s\"} ", name, i < METRIC_BUCKETS ? bounds[i].seconds : "+Inf");
        buf_u64(b, n);
        buf_char(b, '\n');
    }
    buf_printf(b, "slipway_%s_sum %llu.%06llu\n", name, (unsigned long long)(sum / 1000000),
               (unsigned long long)(sum % 1000000));
    write_value(b, name, "_count", NULL, n);
}

void metrics_write(struct buf *b, const struct metrics *sum)
{
    for (size_t i = 0; i < METRICS; i++) {
        if (i == 0 || strcmp(rows[i].name, rows[i - 1].name) != 0)
            write_family(b, rows[i].name, rows[i].type, rows[i].doc);
        write_value(b, rows[i].name, "", rows[i].labels, load(&sum->values[i]));
    }
    for (size_t i = 0; i < HISTOGRAMS; i++)
        write_histogram(b, (enum metric_histogram)i, &sum->histograms[i]);
}
