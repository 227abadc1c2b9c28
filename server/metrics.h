/* Counters, gauges and histograms of a worker, merged over all workers at the scrape and written in Prometheus' text
 * format (0.0.4). One writer per struct (its worker's thread), any reader; everything is a relaxed 64-bit load or
 * store.
 *
 *     metrics_add(&worker->metrics, METRIC_WS_MESSAGES, 1);
 *
 * A new figure is one row here. Labels are fixed parts of a row, so their number is bounded by this table. */
#ifndef SERVER_METRICS_H
#define SERVER_METRICS_H

#include "lib/str.h"

#define M_COUNTER "counter"
#define M_GAUGE   "gauge"

/* Rows of one name stand together: the first one's sentence is the help. Labels: NULL or `name="value"`. */
// clang-format off
#define METRIC_MAP(X)                                                                                                      \
    X(CONNECTIONS_OPEN,     M_GAUGE,   "connections",               NULL,               "Open connections.")               \
    X(CONNECTIONS_UPGRADED, M_GAUGE,   "connections_upgraded",      NULL,               "Connections handed to a stream protocol.") \
    X(CONNECTIONS_ACCEPTED, M_COUNTER, "connections_accepted_total", NULL,              "Connections accepted.")           \
    X(CONNECTIONS_LIMIT,    M_COUNTER, "connections_refused_total", "reason=\"limit\"", "Connections refused.")            \
    X(CONNECTIONS_ADDRESS,  M_COUNTER, "connections_refused_total", "reason=\"address\"", "Connections refused.")          \
    X(CUT_HEAD,             M_COUNTER, "connections_cut_total",     "reason=\"head\"",  "Connections cut at a deadline or bound.") \
    X(CUT_BODY,             M_COUNTER, "connections_cut_total",     "reason=\"body\"",  "Connections cut at a deadline or bound.") \
    X(CUT_IDLE,             M_COUNTER, "connections_cut_total",     "reason=\"idle\"",  "Connections cut at a deadline or bound.") \
    X(CUT_WRITE,            M_COUNTER, "connections_cut_total",     "reason=\"write\"", "Connections cut at a deadline or bound.") \
    X(CUT_QUEUE,            M_COUNTER, "connections_cut_total",     "reason=\"queue\"", "Connections cut at a deadline or bound.") \
    X(TLS_DONE,             M_COUNTER, "tls_handshakes_total",      "result=\"done\"",  "TLS handshakes that ended.")      \
    X(TLS_RESUMED,          M_COUNTER, "tls_handshakes_total",      "result=\"resumed\"", "TLS handshakes that ended.")    \
    X(TLS_FAILED,           M_COUNTER, "tls_handshakes_total",      "result=\"failed\"", "TLS handshakes that ended.")     \
    X(TLS_LATE,             M_COUNTER, "tls_handshakes_total",      "result=\"late\"",  "TLS handshakes that ended.")      \
    X(TLS_DISPLACED,        M_COUNTER, "tls_handshakes_total",      "result=\"displaced\"", "TLS handshakes that ended.")  \
    X(TLS_UNDER_WAY,        M_GAUGE,   "tls_handshakes",            NULL,               "TLS handshakes under way.")       \
    X(TLS_EXPIRES,          M_GAUGE,   "tls_certificate_expiry_seconds", NULL,          "When the certificate of --tls-listen ends, Unix time; 0 without one.") \
    X(BYTES_READ,           M_COUNTER, "read_bytes_total",          NULL,               "Bytes read from clients.")        \
    X(BYTES_WRITTEN,        M_COUNTER, "written_bytes_total",       NULL,               "Bytes written to clients.")       \
    X(REQUESTS_1XX,         M_COUNTER, "http_requests_total",       "class=\"1xx\"",    "Requests answered, by class of status.") \
    X(REQUESTS_2XX,         M_COUNTER, "http_requests_total",       "class=\"2xx\"",    "Requests answered, by class of status.") \
    X(REQUESTS_3XX,         M_COUNTER, "http_requests_total",       "class=\"3xx\"",    "Requests answered, by class of status.") \
    X(REQUESTS_4XX,         M_COUNTER, "http_requests_total",       "class=\"4xx\"",    "Requests answered, by class of status.") \
    X(REQUESTS_5XX,         M_COUNTER, "http_requests_total",       "class=\"5xx\"",    "Requests answered, by class of status.") \
    X(REQUESTS_ASKED,       M_GAUGE,   "http_requests_waiting",     NULL,               "Requests that are not yet answered.") \
    X(REQUESTS_GONE,        M_COUNTER, "http_requests_gone_total",  NULL,               "Requests whose client left before the answer.") \
    X(REQUESTS_MALFORMED,   M_COUNTER, "http_requests_malformed_total", NULL,           "Requests that broke HTTP's framing rules.") \
    X(ADMITTED_STORE,       M_COUNTER, "admissions_total",          "by=\"store\"",     "Callers let in or refused.")      \
    X(ADMITTED_CREDIT,      M_COUNTER, "admissions_total",          "by=\"credit\"",    "Callers let in or refused.")      \
    X(REDIS_CALLS,          M_COUNTER, "redis_calls_total",         NULL,               "Commands sent to Redis.")         \
    X(REDIS_ERRORS,         M_COUNTER, "redis_errors_total",        NULL,               "Error replies of Redis.")         \
    X(REDIS_TIMEOUTS,       M_COUNTER, "redis_timeouts_total",      NULL,               "Commands that Redis did not answer in time.") \
    X(REDIS_CONNECTS,       M_COUNTER, "redis_connects_total",      NULL,               "Connections made to Redis.")      \
    X(REDIS_PENDING,        M_GAUGE,   "redis_pending",             NULL,               "Commands under way.")             \
    X(REDIS_MEMORY,         M_GAUGE,   "redis_memory_bytes",        NULL,               "What Redis' data take.")          \
    X(REDIS_MEMORY_MAX,     M_GAUGE,   "redis_memory_max_bytes",    NULL,               "maxmemory of Redis; 0: no bound.") \
    X(STORE_READY,          M_GAUGE,   "store_ready_workers",       NULL,               "Workers whose Redis can be used.") \
    X(STORE_EPOCHS,         M_COUNTER, "store_epochs_total",        NULL,               "Times that Redis came back with older data.") \
    X(WORKERS,              M_GAUGE,   "workers",                   NULL,               "Workers of this process.")        \
    X(STREAMS_OPEN,         M_GAUGE,   "streams",                   NULL,               "Live streams, those being opened too.") \
    X(STREAMS_SLOW,         M_COUNTER, "streams_slow_total",        NULL,               "Streams cut because the reader was too slow.") \
    X(HUB_CHANNELS,         M_GAUGE,   "hub_channels",              NULL,               "Channels followed.")              \
    X(HUB_HINTS,            M_COUNTER, "hub_hints_total",           NULL,               "Published events received.")      \
    X(HUB_HINTS_SKIPPED,    M_COUNTER, "hub_hints_skipped_total",   NULL,               "Of these, those that did not continue the sequence.") \
    X(HUB_READS,            M_COUNTER, "hub_reads_total",           NULL,               "Reads of a channel's past.")      \
    X(HUB_RESETS,           M_COUNTER, "hub_resets_total",          NULL,               "Followers told to start over.")   \
    X(HUB_BATCHES,          M_COUNTER, "hub_batches_total",         NULL,               "Batches of events encoded.")      \
    X(HUB_DELIVERIES,       M_COUNTER, "hub_deliveries_total",      NULL,               "Batches handed to followers.")    \
    X(STORE_REFUSED,        M_COUNTER, "store_refused_total",       NULL,               "Store calls refused here.")       \
    X(RUNS_SUCCEEDED,       M_COUNTER, "runs_ended_total",          "status=\"succeeded\"", "Workflow runs that ended.")    \
    X(RUNS_FAILED,          M_COUNTER, "runs_ended_total",          "status=\"failed\"",  "Workflow runs that ended.")      \
    X(RUNS_CANCELLED,       M_COUNTER, "runs_ended_total",          "status=\"cancelled\"", "Workflow runs that ended.")    \
    X(JOBS_SUCCEEDED,       M_COUNTER, "deployment_jobs_ended_total", "status=\"succeeded\"", "Deployment jobs that ended.") \
    X(JOBS_FAILED,          M_COUNTER, "deployment_jobs_ended_total", "status=\"failed\"", "Deployment jobs that ended.")  \
    X(JOBS_CANCELLED,       M_COUNTER, "deployment_jobs_ended_total", "status=\"cancelled\"", "Deployment jobs that ended.") \
    X(DRAINS,               M_COUNTER, "drains_total",              NULL,               "Batches of a run's events that were committed.") \
    X(DRAINS_FENCED,        M_COUNTER, "drains_fenced_total",       NULL,               "Batches that another holder of the lease was faster with.") \
    X(DRAINS_RUNNING,       M_GAUGE,   "drains_running",            NULL,               "Runs being moved.")               \
    X(TASKS_ASSIGNED,       M_COUNTER, "tasks_assigned_total",      NULL,               "Tasks given to agents.")          \
    X(STEP_REQUESTS,        M_COUNTER, "step_requests_total",       NULL,               "Requests sent by steps.")         \
    X(OPS_ORPHANED,         M_COUNTER, "operations_orphaned_total", NULL,               "Operations that ended after their asker was gone.")
// clang-format on

enum metric {
#define X(name, type, text, labels, doc) METRIC_##name,
    METRIC_MAP(X)
#undef X
        METRICS
};

enum { METRIC_BUCKETS = 16 };
enum metric_histogram { HISTOGRAM_REQUEST, HISTOGRAMS };

struct histogram {
    uint64_t buckets[METRIC_BUCKETS + 1]; /* the last: beyond the largest bound */
    uint64_t sum_us;
};

struct metrics {
    uint64_t values[METRICS];
    struct histogram histograms[HISTOGRAMS];
};

static inline void metrics_add(struct metrics *m, enum metric which, uint64_t n)
{
    __atomic_store_n(&m->values[which], __atomic_load_n(&m->values[which], __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}
static inline void metrics_set(struct metrics *m, enum metric which, uint64_t n)
{
    __atomic_store_n(&m->values[which], n, __ATOMIC_RELAXED);
}
void metrics_time(struct metrics *m, enum metric_histogram which, uint64_t us);
/* A request was answered with `status` after `us`. */
void metrics_request(struct metrics *m, int status, uint64_t us);
/* Adds `from`, which another thread may be writing, to `sum`. */
void metrics_merge(struct metrics *sum, const struct metrics *from);
/* Every family with its help and type, `slipway_` before each name. */
void metrics_write(struct buf *b, const struct metrics *sum);

#endif
