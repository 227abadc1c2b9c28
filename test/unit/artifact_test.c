/* The files of a deployment job, made from its plan and its events. */
#include "server/artifact.h"

#include "lib/arena.h"
#include "lib/crypto.h"
#include "server/engine/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define RELEASE(id, name, component)                                                                                   \
    "{\"id\":\"" id "\",\"name\":\"" name "\",\"createdAt\":\"then\",\"components\":[" component "]}"
#define SITE(digest)                                                                                                   \
    "{\"componentId\":\"c1\",\"name\":\"site\",\"role\":\"primary\",\"tag\":\"1.0\",\"digest\":\"" digest              \
    "\",\"versionId\":\"v1\",\"artifactUrl\":\"/x\"}"
#define PLAN(release, first, second)                                                                                   \
    "{\"strategy\":\"all-at-once\",\"config\":{\"maxConcurrent\":0,\"maxFailures\":0,\"failureBehavior\":"             \
    "\"continue\",\"onUnavailableTarget\":\"wait\"},\"timeoutSeconds\":60,\"createdBy\":\"me\"" release                \
    ",\"environment\":{\"id\":\"e\",\"name\":\"prod\",\"variables\":{\"KEY\":\"hidden\"},\"agentLabels\":[]},"         \
    "\"targets\":[{\"id\":\"t1\",\"name\":\"web-1\",\"labels\":{},\"path\":\"/srv\",\"keep\":2" first                  \
    ",\"previous\":null},{\"id\":\"t2\",\"name\":\"web-2\",\"labels\":{},\"path\":\"/srv\",\"keep\":2" second          \
    ",\"previous\":null}]}"

static const char one[] = PLAN(",\"release\":" RELEASE("r1", "site-1", SITE("sha256:aa")), "", "");
static const char two[] = PLAN("", ",\"release\":" RELEASE("r1", "site-1", SITE("sha256:aa")),
                               ",\"release\":" RELEASE("r2", "site-2", SITE("sha256:bb")));
static const char nothing[] = PLAN("", ",\"release\":null", ",\"release\":null");

static struct run *job_of_plan(struct arena *a, const char *plan)
{
    const struct json *j = json_parse(a, str_z(plan), NULL, NULL);
    struct run_origin *origin = arena_new(a, struct run_origin);
    const struct template *t = j == NULL ? NULL : job_parse(a, j);

    assert_non_null(t);
    *origin = (struct run_origin){.id = S("job-1"), .tenant = S("T"), .created_ms = 1000};
    struct run *r = run_new(a, t, origin);
    assert_non_null(r);
    r->started_ms = 2000;
    r->finished_ms = 3000;
    return r;
}

static int set_up(void **state)
{
    struct arena *a = calloc(1, sizeof *a);

    arena_init(a, 0);
    *state = a;
    return 0;
}

static int tear_down(void **state)
{
    arena_fini(*state);
    free(*state);
    return 0;
}

static struct artifact render(struct arena *a, const char *plan, enum job_artifact which)
{
    struct artifact file;

    assert_true(artifact_render(a, job_of_plan(a, plan), which, &file));
    return file;
}

static bool has(struct str text, const char *part)
{
    return str_find(text, str_z(part)) >= 0;
}

static void every_reading_gives_the_same_file(void **state)
{
    struct arena *a = *state;

    for (enum job_artifact which = JOB_LOCK; which < JOB_LOG; which++) {
        struct artifact first = render(a, one, which), second = render(a, one, which);
        assert_true(str_eq(first.bytes, second.bytes));
        assert_string_equal(first.hash, second.hash);
        assert_string_equal(first.id, second.id);
        assert_int_equal(first.created_ms, 2000);
        assert_int_equal(first.id[14], '8'); /* a UUID of version 8 */
        assert_false(has(first.bytes, "hidden"));
        for (enum job_artifact other = JOB_LOCK; other < which; other++)
            assert_string_not_equal(first.id, render(a, one, other).id);
    }
}

static void the_last_line_of_a_lock_is_the_hash_of_the_rest(void **state)
{
    struct artifact lock = render(*state, one, JOB_LOCK);
    const char mark[] = "  checksum: \"sha256:";
    ptrdiff_t at = str_find(lock.bytes, str_z(mark));
    uint8_t sum[CRYPTO_HASH];
    char digest[BLOB_DIGEST];

    assert_true(at > 0);
    crypto_sha256(str_slice(lock.bytes, 0, (size_t)at), sum);
    blob_digest_write(sum, digest);
    assert_true(has(str_slice(lock.bytes, (size_t)at, lock.bytes.n), digest));
    assert_true(has(lock.bytes, "  \"site\":\n    image: \"site@sha256:aa\" # \"1.0\"\n"));
}

static void releases_that_differ_by_target_are_all_there(void **state)
{
    struct artifact lock = render(*state, two, JOB_LOCK), manifest = render(*state, two, JOB_MANIFEST);

    assert_true(has(lock.bytes, "  \"site-1-site\":\n    image: \"site@sha256:aa\""));
    assert_true(has(lock.bytes, "  \"site-2-site\":\n    image: \"site@sha256:bb\""));
    assert_true(has(manifest.bytes, "\"release\":{\"id\":\"r2\",\"name\":\"site-2\"}"));
}

static void a_job_that_goes_back_to_nothing_has_files_too(void **state)
{
    assert_true(has(render(*state, nothing, JOB_LOCK).bytes, "services: {}\n"));
    assert_true(has(render(*state, nothing, JOB_STICKER).bytes, "\"release\":null"));
    assert_true(has(render(*state, nothing, JOB_MANIFEST).bytes, "\"releases\":[]"));
}

static void a_log_has_lines_and_moments_until_the_job_is_over(void **state)
{
    struct run *job = job_of_plan(*state, one);
    struct buf b = {0};

    assert_true(artifact_log_event(&b, job, S("{\"seq\":1,\"timestamp\":\"T1\",\"type\":\"job_started\"}")));
    assert_true(artifact_log_event(
        &b, job,
        S("{\"seq\":2,\"timestamp\":\"T2\",\"logSeq\":1,\"type\":\"task_log\",\"taskId\":\"2-deploy\",\"at\":\"T1a\","
          "\"line\":\"un\\u0070acking\"}")));
    assert_true(artifact_log_event(&b, job, S("{\"seq\":3,\"timestamp\":\"T3\",\"type\":\"job_progress\"}")));
    assert_true(artifact_log_event(
        &b, job,
        S("{\"seq\":4,\"timestamp\":\"T4\",\"type\":\"task_completed\",\"taskId\":\"2-deploy\",\"status\":\"failed\","
          "\"error\":{\"message\":\"no room\"}}")));
    assert_false(artifact_log_event(
        &b, job, S("{\"seq\":5,\"timestamp\":\"T5\",\"type\":\"job_completed\",\"status\":\"failed\"}")));
    buf_char(&b, '\0');
    assert_string_equal(b.p, "T1: * job_started\n"
                             "T1a 2-deploy web-2: unpacking\n"
                             "T4 2-deploy web-2: * task_completed status=failed error: no room\n"
                             "T5: * job_completed status=failed\n");
    buf_free(&b);
}

static void names_and_their_types(void **state)
{
    char long_name[130];

    (void)state;
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[129] = '\0';
    assert_true(artifact_name_valid(S("report-1.2_b.tar.gz")));
    assert_false(artifact_name_valid(S("")));
    assert_false(artifact_name_valid(S(".hidden")));
    assert_false(artifact_name_valid(S("a/b")));
    assert_false(artifact_name_valid(S("a b")));
    assert_false(artifact_name_valid(str_z(long_name)));
    assert_string_equal(artifact_content_type(S("a.json")), "application/json");
    assert_string_equal(artifact_content_type(S("a.tar.gz")), "application/gzip");
    assert_string_equal(artifact_content_type(S("json")), "application/octet-stream");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_reading_gives_the_same_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_last_line_of_a_lock_is_the_hash_of_the_rest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(releases_that_differ_by_target_are_all_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_job_that_goes_back_to_nothing_has_files_too, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_log_has_lines_and_moments_until_the_job_is_over, set_up, tear_down),
        cmocka_unit_test_setup_teardown(names_and_their_types, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
