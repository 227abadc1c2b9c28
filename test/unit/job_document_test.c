/* What a job shows and tells: its documents, its frames, the tasks of its agents, the facts about its targets. */
#include "server/engine/choose.h"
#include "server/store/commit.h"
#include "test/unit/job_fixture.h"

#define CHECK                          "\"healthCheck\":{\"type\":\"tcp\",\"port\":80,\"timeout\":5,\"retries\":2,\"interval\":1}"
#define member_is(object, name, value) assert_true(str_eqz(json_str(json_path(object, S(name))), value))
#define number_is(object, name, value) assert_int_equal(json_int(json_path(object, S(name)), -1), value)

static void same(struct job_fixture *f, struct str written)
{
    struct json *j = json_parse(&f->arena, written, NULL, NULL);
    struct buf b;

    assert_non_null(j);
    buf_init_arena(&b, &f->arena, 1024);
    json_write(&b, j);
    assert_string_equal(arena_z(&f->arena, written), arena_z(&f->arena, buf_view(&b)));
}

/* RFC 8785 order at every moment of a life with everything in it. */
static void documents_are_canonical(struct job_fixture *f)
{
    struct buf b;

    buf_init_arena(&b, &f->arena, 1024);
    job_kind.document(&b, f->r, 7, f->now);
    same(f, buf_view(&b));
    for (int i = 0; i < f->r->template->n; i++) {
        buf_init_arena(&b, &f->arena, 1024);
        job_task_document_write(&b, f->r, i);
        same(f, buf_view(&b));
    }
}

static void every_document_is_canonical(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":1,\"maxConcurrent\":1," CHECK, "a,-b,c");
    documents_are_canonical(f);
    job_start(f);
    documents_are_canonical(f);
    job_done(f, "1-deploy");
    job_stumbles(f, "1-health-check");
    documents_are_canonical(f);
    job_event(f, EVENT_PAUSE);
    documents_are_canonical(f);
    job_event(f, EVENT_RESUME);
    job_wait(f, 60);
    job_done(f, "1-health-check");
    job_fails(f, "3-deploy");
    documents_are_canonical(f);
    job_done(f, "3-rollback");
    job_done(f, "1-rollback");
    job_is(f, "rolled_back");
    documents_are_canonical(f);
    job_send(f, (struct run_event){.type = EVENT_ROLLBACK_STARTED, .by = S("rollback-1")});
    documents_are_canonical(f);
    job_make(f, "all-at-once", "", "a");
    job_event(f, EVENT_CANCEL);
    documents_are_canonical(f);
}

static void a_job_shows_where_it_stands(void **state)
{
    struct job_fixture *f = *state;
    const struct json *doc;

    job_make(f, "rolling", "\"batchSize\":1", "a,-b,c");
    doc = job_doc(f);
    number_is(doc, "batch", 0);
    number_is(doc, "progress", 0);
    job_start(f);
    job_done(f, "1-deploy");
    f->now += 5000;
    doc = job_doc(f);
    member_is(doc, "id", "job-1");
    member_is(doc, "tenantId", "tenant-1");
    member_is(doc, "status", "running");
    member_is(doc, "strategy", "rolling");
    number_is(doc, "strategyConfig.batchSize", 1);
    member_is(doc, "environmentId", "e1");
    member_is(doc, "environmentName", "prod");
    member_is(doc, "releaseId", "r2");
    member_is(doc, "releaseName", "2.0");
    member_is(doc, "previousReleaseId", "r1");
    member_is(doc, "promotionId", "p1");
    member_is(doc, "workflowRunId", "run-1");
    member_is(doc, "workflowNodeId", "deploy");
    member_is(doc, "createdBy", "ann");
    number_is(doc, "totalTargets", 3);
    number_is(doc, "completedTargets", 1);
    number_is(doc, "failedTargets", 0);
    number_is(doc, "skippedTargets", 1);
    number_is(doc, "batch", 2);
    number_is(doc, "totalBatches", 2);
    number_is(doc, "progress", 66);
    number_is(doc, "revision", 7);
    assert_null(json_get(doc, "finishedAt"));
    assert_null(json_get(doc, "error"));
    job_done(f, "3-deploy");
    doc = job_doc(f);
    number_is(doc, "progress", 100);
    assert_true(json_real(json_get(doc, "duration"), 0) == 5.0);
    assert_non_null(json_get(doc, "finishedAt"));
}

static void a_task_shows_what_became_of_it(void **state)
{
    struct job_fixture *f = *state;
    const struct json *doc;

    job_make(f, "all-at-once", "\"maxConcurrent\":1," CHECK, "a");
    job_start(f);
    doc = job_task_doc(f, "1-deploy");
    member_is(doc, "status", "assigned");
    member_is(doc, "agentId", "agent-1");
    job_stumbles(f, "1-deploy");
    doc = job_task_doc(f, "1-deploy");
    member_is(doc, "status", "pending"); /* to be tried again */
    number_is(doc, "attempt", 1);
    member_is(doc, "error.type", "hook_failed");
    job_wait(f, 60);
    job_done(f, "1-deploy");
    doc = job_task_doc(f, "1-deploy");
    member_is(doc, "id", "1-deploy");
    member_is(doc, "jobId", "job-1");
    member_is(doc, "targetId", "a");
    member_is(doc, "targetName", "web-a");
    member_is(doc, "type", "deploy");
    member_is(doc, "status", "succeeded");
    member_is(doc, "result.contentHash", "c");
    number_is(doc, "attempt", 2);
    number_is(doc, "maxAttempts", JOB_ATTEMPTS);
    number_is(doc, "batch", 1);
    assert_int_equal(json_count(json_get(doc, "attempts")), 2);
    assert_null(json_get(doc, "error"));
}

static const char *blockers(struct job_fixture *f, const char *task)
{
    const struct json *list = json_get(job_task_doc(f, task), "blockedBy");
    struct buf b;

    buf_init_arena(&b, &f->arena, 64);
    for (size_t i = 0; i < json_count(list); i++)
        buf_printf(&b, "%s" STR_FMT, i == 0 ? "" : " ", STR_ARG(json_str(json_get(json_at(list, i), "type"))));
    return b.n == 0 ? "" : arena_z(&f->arena, buf_view(&b));
}

static void a_task_says_what_it_waits_for(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":2,\"maxConcurrent\":1," CHECK, "a,b,c");
    job_start(f);
    assert_string_equal(blockers(f, "1-deploy"), "agent"); /* has not accepted it */
    assert_string_equal(blockers(f, "1-health-check"), "task");
    assert_string_equal(blockers(f, "2-deploy"), "room");
    assert_string_equal(blockers(f, "3-deploy"), "batch");
    job_stumbles(f, "1-deploy");
    assert_string_equal(blockers(f, "1-deploy"), "timer");
    job_event(f, EVENT_PAUSE);
    assert_string_equal(blockers(f, "2-deploy"), "pause");
}

static void tasks_of_a_rollback_are_shown_once_they_are_begun(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "", "a,b");
    assert_string_equal(job_tasks(f, "pending"), "1-deploy 2-deploy");
    job_start(f);
    job_done(f, "1-deploy");
    job_fails(f, "2-deploy");
    assert_string_equal(job_tasks(f, "assigned"), "1-rollback 2-rollback");
}

/* --- frames --- */

static void frames_come_in_order(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", CHECK, "a,-b");
    job_start(f);
    job_stumbles(f, "1-deploy");
    job_wait(f, 60);
    job_done(f, "1-deploy");
    job_done(f, "1-health-check");
    assert_string_equal(
        job_frames(f, ""),
        "job_started task_completed:2-deploy batch_started:1 task_completed:2-health-check job_progress "
        "task_assigned:1-deploy task_started:1-deploy task_retrying:1-deploy task_assigned:1-deploy "
        "task_started:1-deploy task_completed:1-deploy task_assigned:1-health-check task_started:1-health-check "
        "task_completed:1-health-check job_progress batch_completed:1 job_completed");
}

static void frames_say_what_happened(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "rolling", "\"batchSize\":2", "a,-b,c");
    job_start(f);
    number_is(job_frame(f, "job_started"), "totalTargets", 3);
    member_is(job_frame(f, "job_started"), "strategy", "rolling");
    assert_int_equal(json_count(json_get(job_frame(f, "batch_started"), "targets")), 2);
    member_is(job_frame(f, "task_completed"), "status", "skipped");
    member_is(job_frame(f, "task_completed"), "reason", "in maintenance");
    job_send(f, (struct run_event){.type = EVENT_TASK_PROGRESS,
                                   .node = S("1-deploy"),
                                   .attempt = 1,
                                   .agent = S("agent-1"),
                                   .progress = 40,
                                   .message = S("unpacking")});
    number_is(job_frame(f, "task_progress"), "progress", 40);
    member_is(job_frame(f, "task_progress"), "message", "unpacking");
    job_done(f, "3-deploy");
    number_is(job_frame(f, "job_progress"), "completed", 1);
    number_is(job_frame(f, "job_progress"), "progress", 66);
    job_fails(f, "1-deploy");
    member_is(job_frame(f, "task_completed"), "error.type", "hook_failed");
    member_is(job_frame(f, "rollback_started"), "rollbackId", "job-1");
    member_is(job_frame(f, "rollback_started"), "reason", "deploy of target web-a failed: status 3");
    job_done(f, "3-rollback");
    job_done(f, "1-rollback");
    member_is(job_frame(f, "job_completed"), "status", "rolled_back");
    number_is(job_frame(f, "job_completed"), "summary.failed", 1);
    number_is(job_frame(f, "job_completed"), "summary.skipped", 1);
}

/* --- what agents are told --- */

static struct json *task_for(struct job_fixture *f, const char *task)
{
    struct json *found = NULL;

    for (size_t i = 0; i < f->fx.n; i++)
        if (f->fx.list[i].type == EFFECT_ASSIGN && str_find(f->fx.list[i].task, str_z(task)) > 0)
            found = job_json(f, arena_z(&f->arena, f->fx.list[i].text));
    return found;
}

static void a_deployment_has_all_that_its_agent_needs(void **state)
{
    struct job_fixture *f = *state;
    const struct json *task;

    job_make(f, "all-at-once", "", "a");
    job_start(f);
    task = task_for(f, "1-deploy");
    member_is(task, "type", "deploy");
    member_is(task, "payload.root", "/srv/a");
    number_is(task, "payload.keep", 3);
    member_is(task, "payload.release.name", "2.0");
    member_is(task, "payload.environment.name", "prod");
    member_is(task, "payload.deployment.id", "job-1");
    member_is(task, "payload.target.name", "web-a");
    member_is(task, "payload.variables.MODE", "x");
    number_is(task, "payload.graceSeconds", RUN_GRACE_MS / 1000);
    assert_true(json_is(json_path(task, S("payload.hooks")), JSON_OBJECT));
    assert_null(json_path(task, S("payload.variables.DB_PASSWORD"))); /* a secret: masked in all that is said */
    member_is(task, "credentials.DB_PASSWORD", "hush");
}

static void a_rollback_goes_to_what_was_there_before(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "", "a");
    job_start(f);
    job_fails(f, "1-deploy");
    member_is(task_for(f, "1-rollback"), "type", "rollback");
    member_is(task_for(f, "1-rollback"), "payload.release.name", "1.0");
    job_of_plan(f, "{\"config\":{},\"targets\":[{\"id\":\"a\",\"name\":\"a\",\"path\":\"/a\",\"previous\":null}],"
                   "\"release\":{\"id\":\"r2\"}}");
    job_start(f);
    job_fails(f, "1-deploy");
    assert_true(json_is(json_path(task_for(f, "1-rollback"), S("payload.release")), JSON_NULL));
}

static void a_target_may_have_a_release_of_its_own_or_none(void **state)
{
    struct job_fixture *f = *state;

    job_of_plan(f, "{\"config\":{},\"targets\":[{\"id\":\"a\",\"name\":\"a\",\"path\":\"/a\",\"previous\":null,"
                   "\"release\":{\"id\":\"r0\",\"name\":\"0.9\"}},{\"id\":\"b\",\"name\":\"b\",\"path\":\"/b\","
                   "\"previous\":null,\"release\":null}]}");
    job_start(f);
    member_is(task_for(f, "1-deploy"), "type", "deploy");
    member_is(task_for(f, "1-deploy"), "payload.release.name", "0.9");
    member_is(task_for(f, "2-deploy"), "type", "rollback"); /* back to nothing */
    assert_true(json_is(json_path(task_for(f, "2-deploy"), S("payload.release")), JSON_NULL));
}

static void a_health_check_is_told_in_the_agents_words(void **state)
{
    struct job_fixture *f = *state;
    const struct json *task;

    job_make(f, "all-at-once", CHECK, "a");
    job_start(f);
    job_done(f, "1-deploy");
    task = task_for(f, "1-health-check");
    member_is(task, "type", "health-check");
    member_is(task, "payload.type", "tcp");
    number_is(task, "payload.port", 80);
    number_is(task, "payload.timeoutSeconds", 5);
    number_is(task, "payload.retries", 2);
    number_is(task, "payload.intervalSeconds", 1);
    member_is(task, "payload.root", "/srv/a");
}

static void the_wish_is_the_environments_labels_and_the_targets_agent(void **state)
{
    struct job_fixture *f = *state;
    struct choose_wish wish = {0};

    job_make(f, "all-at-once", CHECK, "a");
    job_kind.wish(&f->arena, f->r, 0, NULL, &wish);
    assert_true(str_eqz(json_str(json_at(wish.labels, 0)), "zone=a"));
    assert_int_equal(wish.agent.n, 0);
    job_start(f);
    job_done(f, "1-deploy");
    job_kind.wish(&f->arena, f->r, 1, NULL, &wish);
    assert_true(str_eqz(wish.agent, "agent-1")); /* who deployed also checks */
    job_of_plan(f, "{\"targets\":[{\"id\":\"a\",\"agentId\":\"agent-7\"}]}");
    job_kind.wish(&f->arena, f->r, 0, NULL, &wish);
    assert_true(str_eqz(wish.agent, "agent-7"));
}

/* --- what else is committed --- */

/* The commit's plan is packed; the texts in it stand as they are. */
static bool commits(struct job_fixture *f, const char *text, bool finished)
{
    struct commit c;

    commit_begin(&c, &f->arena, (struct space){1, S("tenant-1")}, 0);
    job_kind.write(&c, &f->arena, f->r, &f->fx, f->now, finished);
    assert_false(c.failed);
    bool found = str_find(buf_view(&c.writes), str_z(text)) >= 0;
    for (size_t i = 0; i < c.text_count; i++)
        found = found || str_find(c.texts[i], str_z(text)) >= 0;
    return found;
}

static void settle(struct job_fixture *f)
{
    for (int i = 0; i < f->r->template->n; i++)
        f->r->steps[i].dirty = false;
    effects_init(&f->fx, &f->arena);
    f->now += 1000;
}

static void what_is_on_a_target_is_a_fact(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", CHECK, "a,b");
    job_start(f);
    assert_false(commits(f, "contentHash", false));
    settle(f);
    job_done(f, "1-deploy");
    assert_true(commits(f, "\"previous\":{\"components\":[],\"id\":\"r1\",\"name\":\"1.0\"}", false));
    assert_true(commits(f, "\"previousJobId\":\"job-0\"", false));
    assert_true(commits(f, "\"jobId\":\"job-1\"", false));
    assert_true(commits(f, "\"releaseJobId\":\"job-1\"", false));
    assert_true(commits(f, "\"contentHash\":\"c\"", false));
    assert_false(commits(f, "healthStatus", false));
    settle(f);
    assert_false(commits(f, "contentHash", false)); /* once */
    job_done(f, "1-health-check");
    assert_true(commits(f, "\"healthStatus\":\"healthy\"", false));
    settle(f);
    job_fails(f, "2-deploy"); /* what failed has changed nothing that is known */
    assert_false(commits(f, "contentHash", false));
    assert_true(commits(f, "target", false));
    settle(f);
    job_done(f, "1-rollback");
    assert_true(commits(f, "\"previous\":null,\"release\":{\"components\":[],\"id\":\"r1\"", false));
    assert_true(commits(f, "\"releaseJobId\":\"job-0\"", false)); /* as if this one had never been there */
}

static void the_end_wakes_the_environment_and_the_dashboard_hears_of_each_status(void **state)
{
    struct job_fixture *f = *state;

    job_make(f, "all-at-once", "", "a");
    job_start(f);
    assert_true(commits(f, "\"type\":\"deployment_updated\",\"jobId\":\"job-1\",\"status\":\"running\"", false));
    settle(f);
    job_event(f, EVENT_TICK);
    assert_false(commits(f, "deployment_updated", false));
    job_done(f, "1-deploy");
    assert_true(commits(f, "\"status\":\"succeeded\",\"environmentId\":\"e1\"", true));
    assert_true(commits(f, "environment:e1", true) || commits(f, "environment", true));
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, job_set_up, job_tear_down)
    const struct CMUnitTest tests[] = {
        T(every_document_is_canonical),
        T(a_job_shows_where_it_stands),
        T(a_task_shows_what_became_of_it),
        T(a_task_says_what_it_waits_for),
        T(tasks_of_a_rollback_are_shown_once_they_are_begun),
        T(frames_come_in_order),
        T(frames_say_what_happened),
        T(a_deployment_has_all_that_its_agent_needs),
        T(a_rollback_goes_to_what_was_there_before),
        T(a_target_may_have_a_release_of_its_own_or_none),
        T(a_health_check_is_told_in_the_agents_words),
        T(the_wish_is_the_environments_labels_and_the_targets_agent),
        T(what_is_on_a_target_is_a_fact),
        T(the_end_wakes_the_environment_and_the_dashboard_hears_of_each_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
