#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "server/metrics.h"

static struct metrics one, two, sum;

static int set_up(void **state)
{
    (void)state;
    one = two = sum = (struct metrics){0};
    return 0;
}

static bool shows(const char *line)
{
    struct buf b = {0};
    metrics_write(&b, &sum);
    assert_false(b.failed);
    struct str text = buf_view(&b);
    bool found = str_find(text, str_z(line)) >= 0;
    buf_free(&b);
    return found;
}

static void workers_are_added_up(void **state)
{
    (void)state;
    metrics_add(&one, METRIC_CONNECTIONS_ACCEPTED, 3);
    metrics_add(&two, METRIC_CONNECTIONS_ACCEPTED, 4);
    metrics_set(&one, METRIC_CONNECTIONS_OPEN, 2);
    metrics_set(&one, METRIC_CONNECTIONS_OPEN, 1);
    metrics_merge(&sum, &one);
    metrics_merge(&sum, &two);
    assert_true(shows("\nslipway_connections_accepted_total 7\n"));
    assert_true(shows("slipway_connections 1\n"));
}

static void a_request_counts_by_the_class_of_its_status(void **state)
{
    (void)state;
    const int statuses[] = {101, 200, 204, 304, 404, 503};
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++)
        metrics_request(&sum, statuses[i], 10);
    assert_true(shows("\nslipway_http_requests_total{class=\"1xx\"} 1\n"));
    assert_true(shows("\nslipway_http_requests_total{class=\"2xx\"} 2\n"));
    assert_true(shows("\nslipway_http_requests_total{class=\"3xx\"} 1\n"));
    assert_true(shows("\nslipway_http_requests_total{class=\"4xx\"} 1\n"));
    assert_true(shows("\nslipway_http_requests_total{class=\"5xx\"} 1\n"));
}

static void a_histogram_is_cumulative(void **state)
{
    (void)state;
    metrics_time(&sum, HISTOGRAM_REQUEST, 50);
    metrics_time(&sum, HISTOGRAM_REQUEST, 51);
    metrics_time(&sum, HISTOGRAM_REQUEST, 1500000);
    metrics_time(&sum, HISTOGRAM_REQUEST, 60000000);
    assert_true(shows("_bucket{le=\"0.00005\"} 1\n"));
    assert_true(shows("_bucket{le=\"0.0001\"} 2\n"));
    assert_true(shows("_bucket{le=\"1\"} 2\n"));
    assert_true(shows("_bucket{le=\"2.5\"} 3\n"));
    assert_true(shows("_bucket{le=\"10\"} 3\n"));
    assert_true(shows("_bucket{le=\"+Inf\"} 4\n"));
    assert_true(shows("_sum 61.500101\n"));
    assert_true(shows("_count 4\n"));
}

static void a_family_is_described_once(void **state)
{
    (void)state;
    struct buf b = {0};
    metrics_write(&b, &sum);
    struct str rest = buf_view(&b);
    size_t n = 0;
    for (ptrdiff_t at; (at = str_find(rest, S("# TYPE slipway_http_requests_total counter\n"))) >= 0; n++)
        rest = str_slice(rest, (size_t)at + 1, rest.n);
    assert_int_equal(n, 1);
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(workers_are_added_up, set_up),
        cmocka_unit_test_setup(a_request_counts_by_the_class_of_its_status, set_up),
        cmocka_unit_test_setup(a_histogram_is_cumulative, set_up),
        cmocka_unit_test_setup(a_family_is_described_once, set_up),
    };
    return cmocka_run_group_tests_name("metrics", tests, NULL, NULL);
}
