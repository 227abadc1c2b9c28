#include "server/asyncapi_message.h"

#include "server/dashboard/figures.h"
#include "server/feed.h"

#define NEED FIELD_REQUIRED

static const char *const ended_words[] = {"succeeded", "failed", "cancelled", NULL};
static const char *const step_ended_words[] = {"succeeded", "failed", "timed_out", "cancelled", NULL};
static const char *const waiting_words[] = {"approval", "timer", "external", NULL};
static const char *const output_words[] = {"stdout", "stderr", "system", NULL};
static const char *const gap_words[] = {"epoch", "ahead", "reset", NULL};
static const char *const end_words[] = {"completed", NULL};
static const char *const refusal_words[] = {"busy", "capability_missing", "expired", "invalid", NULL};

// clang-format off
/* --- parts --- */

static const struct field step_error[] = {
    {"type", FIELD_STRING, NEED, .max = 64, .doc = "What kind of failure; retry.retryOn names these."},
    {"message", FIELD_STRING, NEED, .max = 4096, .doc = "For people."},
    {"retriable", FIELD_BOOL, NEED, .doc = "Whether another attempt may help."},
    {0},
};
static const struct field run_error[] = {
    {"code", FIELD_STRING, NEED, .max = 64, .doc = "A published error code."},
    {"message", FIELD_STRING, .max = 4096, .doc = "For people."},
    {"nodeId", FIELD_STRING, .max = 63, .doc = "The step that made the run fail."},
    {0},
};
static const struct field filters[] = {
    {"types", FIELD_LIST, .item = FIELD_STRING, .max = 64, .doc = "Only events of these types."},
    {"nodeIds", FIELD_LIST, .item = FIELD_STRING, .max = 64, .doc = "Only events of these nodes, and those that belong to none."},
    {"minLevel", FIELD_ENUM, .choices = feed_levels, .doc = "Only log lines at least this grave."},
    {0},
};
static const struct field job_filters[] = {
    {"types", FIELD_LIST, .item = FIELD_STRING, .max = 64, .doc = "Only events of these types."},
    {"taskIds", FIELD_LIST, .item = FIELD_STRING, .max = 64, .doc = "Only events of these tasks, and those that belong to none."},
    {"minLevel", FIELD_ENUM, .choices = feed_levels, .doc = "Only log lines at least this grave."},
    {0},
};
static const struct field dashboard_filters[] = {
    {"types", FIELD_LIST, .item = FIELD_STRING, .max = 64, .doc = "Only events of these types."},
    {"environmentIds", FIELD_LIST, .item = FIELD_STRING, .max = 64, .doc = "Only events of these environments, and none of those that belong to none."},
    {"minLevel", FIELD_ENUM, .choices = feed_levels, .doc = "No event of this stream has a level."},
    {0},
};
static const struct field agent_config[] = {
    {"heartbeatInterval", FIELD_INT, .min = 1, .max = 3600, .doc = "Seconds."},
    {"taskPollInterval", FIELD_INT, .min = 1, .max = 3600, .doc = "Seconds."},
    {"logLevel", FIELD_STRING, .max = 16, .doc = "How much the agent logs."},
    {0},
};
static const struct field log_lines[] = {
    {"timestamp", FIELD_TIME, NEED, .doc = "When the line was read."},
    {"level", FIELD_ENUM, NEED, .choices = feed_levels, .doc = "How grave it is."},
    {"stream", FIELD_ENUM, NEED, .choices = output_words, .doc = "Where it was written to."},
    {"line", FIELD_STRING, NEED, .doc = "Without its newline."},
    {0},
};

#define NODE {"nodeId", FIELD_STRING, NEED, .min = 1, .max = 63, .doc = "The node of the template."}
#define ATTEMPT {"attempt", FIELD_INT, NEED, .min = 1, .max = 1000, .doc = "Which attempt at the step, from 1."}
#define STEP_TYPE {"stepType", FIELD_STRING, NEED, .max = 64, .doc = "Key of the step type."}
#define STEP_ERROR {"error", FIELD_OBJECT, .fields = step_error, .doc = "Why it failed."}
#define OUTPUTS {"outputs", FIELD_OBJECT, .doc = "What it left behind, by name."}
#define DURATION {"duration", FIELD_NUMBER, NEED, .doc = "Seconds."}
#define BY {"by", FIELD_STRING, .max = 256, .doc = "Who asked for it."}
#define REASON {"reason", FIELD_STRING, .max = 2048, .doc = "Why."}
#define TASK {"taskId", FIELD_STRING, NEED, .max = 160, .doc = "<run>:<node>:<attempt>"}
#define REF {"id", FIELD_STRING, NEED, .min = 1, .max = 200, .doc = "The agent's own name for the message; `ack` or `nack` repeats it."}
#define SEQ(text) {"seq", FIELD_INT, NEED, .min = 0, .max = INT64_MAX, .doc = (text)}

/* --- events of a run --- */

static const struct field workflow_started[] = {
    {"templateId", FIELD_UUID, NEED, .doc = "The template."},
    {"templateVersion", FIELD_INT, NEED, .min = 1, .max = INT64_MAX, .doc = "The version the run is pinned to."},
    {0},
};
static const struct field by_reason[] = {BY, REASON, {0}};
static const struct field workflow_completed[] = {
    {"status", FIELD_ENUM, NEED, .choices = ended_words, .doc = "How the run ended."},
    DURATION, OUTPUTS,
    {"error", FIELD_OBJECT, .fields = run_error, .doc = "Why it did not succeed."},
    {0},
};
static const struct field step_started[] = {
    NODE, STEP_TYPE, ATTEMPT,
    {"agentId", FIELD_UUID, .doc = "The agent that carries it out."},
    {0},
};
static const struct field step_waiting[] = {
    NODE,
    {"waitingFor", FIELD_ENUM, NEED, .choices = waiting_words, .doc = "What for."},
    {"until", FIELD_TIME, .doc = "When a timer is due."},
    {0},
};
static const struct field step_progress[] = {
    NODE,
    {"progress", FIELD_INT, NEED, .min = 0, .max = 100, .doc = "Per cent."},
    {"message", FIELD_STRING, .max = 2048, .doc = "For people."},
    {0},
};
static const struct field step_retrying[] = {
    NODE, ATTEMPT,
    {"maxAttempts", FIELD_INT, NEED, .min = 1, .max = 1000, .doc = "Attempts in all."},
    {"delaySeconds", FIELD_NUMBER, NEED, .doc = "Until the next attempt."},
    STEP_ERROR, {0},
};
static const struct field step_skipped[] = {NODE, REASON, {0}};
static const struct field step_log[] = {
    {"logSeq", FIELD_INT, NEED, .min = 1, .max = INT64_MAX, .doc = "Number of the line within the attempt, without holes: `seq` of GET …/logs."},
    NODE, ATTEMPT,
    {"level", FIELD_ENUM, NEED, .choices = feed_levels, .doc = "How grave it is."},
    {"stream", FIELD_ENUM, NEED, .choices = output_words, .doc = "Where the step wrote it."},
    {"line", FIELD_STRING, NEED, .doc = "Without its newline; secrets are masked."},
    {"at", FIELD_TIME, .doc = "When the agent read the line; `timestamp` is when it was stored."},
    {0},
};
static const struct field step_log_end[] = {NODE, ATTEMPT, {0}};
static const struct field step_completed[] = {
    NODE, STEP_TYPE, ATTEMPT,
    {"status", FIELD_ENUM, NEED, .choices = step_ended_words, .doc = "How the step ended."},
    DURATION, OUTPUTS, STEP_ERROR, {0},
};

/* --- events of a deployment job --- */

static const char *const job_ended_words[] = {"succeeded", "failed", "cancelled", "rolled_back", "rollback_failed", NULL};
static const char *const task_ended_words[] = {"succeeded", "failed", "timed_out", "skipped", "cancelled", NULL};
static const char *const task_type_words[] = {"deploy", "health-check", "rollback", NULL};

#define JOB_TASK                                                                                                     \
    {"taskId", FIELD_STRING, NEED, .min = 1, .max = 63, .doc = "The task's id in the job: 12-deploy."},              \
    {"targetId", FIELD_UUID, NEED, .doc = "The target it is for."},                                                  \
    {"taskType", FIELD_ENUM, NEED, .choices = task_type_words, .doc = "What is done there."}
#define TARGET_COUNTS                                                                                                \
    {"completed", FIELD_INT, NEED, .doc = "Targets that have what they should."},                                    \
    {"failed", FIELD_INT, NEED, .doc = "Targets that failed."},                                                      \
    {"skipped", FIELD_INT, NEED, .doc = "Targets that were left out."},                                              \
    {"total", FIELD_INT, NEED, .doc = "All targets."}

static const struct field job_started[] = {
    {"jobId", FIELD_UUID, NEED, .doc = "The job."},
    {"environmentId", FIELD_UUID, NEED, .doc = "Where to."},
    {"releaseId", FIELD_UUID, .doc = "What; absent when each target goes back to what it had."},
    {"strategy", FIELD_STRING, NEED, .max = 32, .doc = "all-at-once or rolling."},
    {"totalTargets", FIELD_INT, NEED, .doc = "All targets."},
    {"totalBatches", FIELD_INT, NEED, .doc = "In how many batches."},
    {0},
};
static const struct field job_batch[] = {
    {"batch", FIELD_INT, NEED, .min = 1, .max = INT64_MAX, .doc = "From 1."},
    {"targets", FIELD_LIST, NEED, .item = FIELD_UUID, .doc = "Those that belong to it."},
    {0},
};
static const struct field job_progress[] = {
    TARGET_COUNTS,
    {"progress", FIELD_INT, NEED, .min = 0, .max = 100, .doc = "Targets that are done with, in per cent."},
    {0},
};
static const struct field rollback_started[] = {
    {"rollbackId", FIELD_UUID, NEED, .doc = "Who does it: the job itself."},
    REASON, {0},
};
static const struct field job_summary[] = {TARGET_COUNTS, {0}};
static const struct field job_completed[] = {
    {"status", FIELD_ENUM, NEED, .choices = job_ended_words, .doc = "How the job ended."},
    DURATION,
    {"summary", FIELD_OBJECT, NEED, .fields = job_summary, .doc = "What became of the targets."},
    {"error", FIELD_OBJECT, .fields = run_error, .doc = "Why it did not succeed."},
    {0},
};
static const struct field job_task_agent[] = {
    JOB_TASK, ATTEMPT,
    {"agentId", FIELD_UUID, .doc = "The agent that is asked, or carries it out."},
    {0},
};
static const struct field job_task_progress[] = {
    JOB_TASK,
    {"progress", FIELD_INT, NEED, .min = 0, .max = 100, .doc = "Per cent."},
    {"message", FIELD_STRING, .max = 2048, .doc = "For people."},
    {0},
};
static const struct field job_task_retrying[] = {
    JOB_TASK, ATTEMPT,
    {"maxAttempts", FIELD_INT, NEED, .min = 1, .max = 1000000, .doc = "Attempts in all."},
    {"delaySeconds", FIELD_NUMBER, NEED, .doc = "Until the next attempt."},
    STEP_ERROR, {0},
};
static const struct field job_task_log[] = {
    {"logSeq", FIELD_INT, NEED, .min = 1, .max = INT64_MAX, .doc = "Number of the line within the attempt, without holes: `seq` of GET …/logs."},
    {"taskId", FIELD_STRING, NEED, .min = 1, .max = 63, .doc = "The task's id in the job."},
    ATTEMPT,
    {"level", FIELD_ENUM, NEED, .choices = feed_levels, .doc = "How grave it is."},
    {"stream", FIELD_ENUM, NEED, .choices = output_words, .doc = "Where the task wrote it."},
    {"line", FIELD_STRING, NEED, .doc = "Without its newline; secrets are masked."},
    {"at", FIELD_TIME, .doc = "When the agent read the line; `timestamp` is when it was stored."},
    {0},
};
static const struct field job_task_completed[] = {
    JOB_TASK,
    {"attempt", FIELD_INT, NEED, .min = 0, .max = 1000000, .doc = "The last one; 0 when it never began."},
    {"status", FIELD_ENUM, NEED, .choices = task_ended_words, .doc = "How the task ended."},
    DURATION, STEP_ERROR, REASON, {0},
};

/* --- control messages --- */

static const struct field ready[] = {
    {"streamId", FIELD_STRING, NEED, .max = 64, .doc = "The channel that is followed."},
    {"epoch", FIELD_INT, NEED, .min = 0, .max = INT64_MAX, .doc = "Of the data set: sequence numbers of another one mean nothing here."},
    {"currentSeq", FIELD_INT, NEED, .min = 0, .max = INT64_MAX, .doc = "The channel's last number when the stream was opened."},
    {"heartbeatInterval", FIELD_NUMBER, NEED, .doc = "Seconds."},
    {0},
};
static const struct field snapshot[] = {
    SEQ("The state includes everything up to this event."),
    {"data", FIELD_OBJECT, NEED, .doc = "The run, and its steps in the order of their layers."},
    {0},
};
static const struct field job_snapshot[] = {
    SEQ("The state includes everything up to this event."),
    {"data", FIELD_OBJECT, NEED, .doc = "The job, and its tasks in the order of deployment."},
    {0},
};
static const struct field dashboard_snapshot[] = {
    SEQ("The figures are not older than this event."),
    {"data", FIELD_OBJECT, NEED, .doc = "The figures. What cannot be known, and what the caller may not see, is left out."},
    {0},
};
static const struct field synced[] = {SEQ("Everything up to here was sent; from here events come as they happen."), {0}};
static const struct field heartbeat[] = {SEQ("Everything up to here was sent, or hidden by the filter: safe to resume from."), {0}};
static const struct field gap[] = {
    {"fromSeq", FIELD_INT, NEED, .min = 0, .max = INT64_MAX, .doc = "First event that cannot be sent."},
    {"toSeq", FIELD_INT, NEED, .min = 0, .max = INT64_MAX, .doc = "What the snapshot that follows includes."},
    {"reason", FIELD_ENUM, NEED, .choices = gap_words, .doc = "epoch: the number belongs to another data set; ahead: it is beyond the last event; reset: the data was restored under the stream."},
    {0},
};
static const struct field error[] = {
    {"code", FIELD_STRING, NEED, .max = 64, .doc = "A published error code."},
    {"message", FIELD_STRING, NEED, .max = 1024, .doc = "For people."},
    {"retry", FIELD_BOOL, NEED, .doc = "Whether to come again as one is."},
    {0},
};
static const struct field end[] = {
    {"reason", FIELD_ENUM, NEED, .choices = end_words, .doc = "The channel's last event has been sent."},
    {0},
};
static const struct field drain[] = {
    {"reconnectInMs", FIELD_INT, NEED, .min = 0, .max = 600000, .doc = "Come again after this; each stream is told its own time."},
    {0},
};
static const struct field token_expiring[] = {
    {"inSeconds", FIELD_INT, NEED, .min = 0, .max = 3600, .doc = "Send a new `auth` within this."},
    {0},
};
static const struct field subscribed[] = {
    {"filters", FIELD_OBJECT, NEED, .fields = filters, .doc = "What is in force from the next event on."},
    {0},
};
static const struct field job_subscribed[] = {
    {"filters", FIELD_OBJECT, NEED, .fields = job_filters, .doc = "What is in force from the next event on."},
    {0},
};
static const struct field dashboard_subscribed[] = {
    {"filters", FIELD_OBJECT, NEED, .fields = dashboard_filters, .doc = "What is in force from the next event on."},
    {0},
};

/* --- what a client says --- */

static const struct field auth[] = {
    {"token", FIELD_STRING, NEED, .min = 1, .max = 8192, .doc = "An access token or an API key."},
    {0},
};
static const struct field subscribe[] = {
    {"filters", FIELD_OBJECT, NEED, .fields = filters, .doc = "The last one wins; {} shows everything."},
    {0},
};
static const struct field job_subscribe[] = {
    {"filters", FIELD_OBJECT, NEED, .fields = job_filters, .doc = "The last one wins; {} shows everything."},
    {0},
};
static const struct field dashboard_subscribe[] = {
    {"filters", FIELD_OBJECT, NEED, .fields = dashboard_filters, .doc = "The last one wins; {} shows everything."},
    {0},
};

/* --- the dashboard --- */

#define ENVIRONMENT {"environmentId", FIELD_UUID, NEED, .doc = "Where."}
#define STATUS(text) {"status", FIELD_STRING, NEED, .max = 32, .doc = (text)}
static const struct field promotion_updated[] = {
    {"promotionId", FIELD_UUID, NEED, .doc = "The promotion."},
    STATUS("As GET /promotions/{id} has it."), ENVIRONMENT,
    {"releaseId", FIELD_UUID, NEED, .doc = "What is promoted."},
    {0},
};
static const struct field deployment_updated[] = {
    {"jobId", FIELD_UUID, NEED, .doc = "The deployment job."},
    STATUS("As GET /deployment-jobs/{id} has it."), ENVIRONMENT, {0},
};
static const struct field agent_status_changed[] = {
    {"agentId", FIELD_UUID, NEED, .doc = "The agent."},
    {"name", FIELD_STRING, NEED, .max = 255, .doc = "Its name."},
    STATUS("online, degraded, offline"),
    {"lifecycleState", FIELD_STRING, NEED, .max = 32, .doc = "active, inactive, revoked"},
    {0},
};
#define TARGET                                                                                    \
    {"targetId", FIELD_UUID, NEED, .doc = "The target."},                                         \
    {"targetName", FIELD_STRING, NEED, .max = 100, .doc = "Its name."}
static const struct field target_health_changed[] = {
    TARGET, ENVIRONMENT, STATUS("healthy, degraded, unhealthy, unknown"),
    {"previousStatus", FIELD_STRING, NEED, .max = 32, .doc = "What it was."},
    {0},
};
static const struct field drift_detected[] = {TARGET, ENVIRONMENT, {0}};
static const struct field freeze_changed[] = {
    ENVIRONMENT,
    {"windowId", FIELD_UUID, NEED, .doc = "The freeze window."},
    {0},
};

/* --- agents --- */

#define OWN_SEQ {"seq", FIELD_INT, .min = 1, .max = INT64_MAX, .doc = "Of the channel; not there in what is said of the present state after a connect."}
static const struct field task_assigned[] = {
    OWN_SEQ,
    {"task", FIELD_OBJECT, NEED, .doc = "The task's envelope: id, type, payload, credentials, timeout, priority, idempotencyKey, assignedAt, expiresAt."},
    {0},
};
static const struct field task_cancel[] = {
    OWN_SEQ,
    TASK, REASON,
    {"graceSeconds", FIELD_NUMBER, .doc = "From the signal to the kill."},
    {0},
};
static const struct field config_update[] = {
    OWN_SEQ,
    {"config", FIELD_OBJECT, NEED, .fields = agent_config, .doc = "From now on."},
    {0},
};
static const struct field ack[] = {
    {"ref", FIELD_STRING, NEED, .max = 200, .doc = "`id` of the agent's message; what it says is stored."},
    {0},
};
static const struct field nack[] = {
    {"ref", FIELD_STRING, NEED, .max = 200, .doc = "`id` of the agent's message; what it says is not stored."},
    {"next", FIELD_INT, .min = 1, .max = INT64_MAX, .doc = "The first log line that is missing."},
    {0},
};
static const struct field task_only[] = {REF, TASK, {0}};
static const struct field task_refused[] = {
    REF, TASK,
    {"reason", FIELD_ENUM, NEED, .choices = refusal_words, .doc = "Why."},
    {0},
};
static const struct field task_started[] = {
    REF, TASK,
    {"startedAt", FIELD_TIME, NEED, .doc = "By the agent's clock."},
    {"pid", FIELD_INT, .min = 1, .max = INT32_MAX, .doc = "Of the command."},
    {0},
};
static const struct field task_progress[] = {
    REF, TASK,
    {"progress", FIELD_INT, NEED, .min = 0, .max = 100, .doc = "Per cent."},
    {"message", FIELD_STRING, .max = 2048, .doc = "For people."},
    {0},
};
static const struct field task_log[] = {
    REF, TASK,
    {"seq", FIELD_INT, NEED, .min = 1, .max = INT64_MAX, .doc = "Number of the first line."},
    {"lines", FIELD_LIST, NEED, .item = FIELD_OBJECT, .fields = log_lines, .min = 1, .max = 100, .doc = "In order, without holes."},
    {"skip", FIELD_BOOL, .doc = "The lines before the first one are gone for good."},
    {0},
};
static const struct field task_completed[] = {
    REF, TASK,
    {"success", FIELD_BOOL, NEED, .doc = "Whether the command did what it should."},
    {"startedAt", FIELD_TIME, .doc = "By the agent's clock."},
    {"completedAt", FIELD_TIME, NEED, .doc = "By the agent's clock."},
    {"lines", FIELD_INT, .min = 0, .max = INT64_MAX, .doc = "Log lines in all."},
    OUTPUTS,
    {"error", FIELD_STRING, .max = 4096, .doc = "For people."},
    {"errorType", FIELD_STRING, .max = 64, .doc = "What kind of failure."},
    {"retriable", FIELD_BOOL, .doc = "Whether another attempt may help."},
    {"metrics", FIELD_MAP, .item = FIELD_NUMBER, .doc = "durationMs"},
    {0},
};
static const char *const beat_statuses[] = {"online", "offline", "degraded", NULL};
static const struct field agent_heartbeat[] = {
    {"version", FIELD_STRING, .max = 64, .doc = "Of the agent."},
    {"capabilities", FIELD_LIST, .item = FIELD_STRING, .max = 16, .doc = "What it can carry out."},
    {"resourceUsage", FIELD_MAP, .item = FIELD_NUMBER, .doc = "cpuPercent, memoryPercent, diskPercent"},
    {"runningTaskIds", FIELD_LIST, .item = FIELD_STRING, .doc = "What it is at."},
    {"status", FIELD_ENUM, .choices = beat_statuses, .doc = "offline: its last one; tasks that it does not name go to others. Anything else is taken and not used."},
    {0},
};

const struct message messages[] = {
    {"workflow_started",    MESSAGE_RUN, MESSAGE_EVENT, workflow_started, "The run began."},
    {"workflow_paused",     MESSAGE_RUN, MESSAGE_EVENT, by_reason, "No new step starts; running ones finish."},
    {"workflow_resumed",    MESSAGE_RUN, MESSAGE_EVENT, NULL, "Ready steps start again."},
    {"workflow_cancelling", MESSAGE_RUN, MESSAGE_EVENT, by_reason, "Running steps are told to stop."},
    {"workflow_completed",  MESSAGE_RUN, MESSAGE_EVENT, workflow_completed, "The run has ended. The last event."},
    {"step_started",        MESSAGE_RUN, MESSAGE_EVENT, step_started, "An attempt began. Comes before any of its log lines."},
    {"step_waiting",        MESSAGE_RUN, MESSAGE_EVENT, step_waiting, "The step waits, and nobody is busy."},
    {"step_progress",       MESSAGE_RUN, MESSAGE_EVENT, step_progress, "How far the step is."},
    {"step_retrying",       MESSAGE_RUN, MESSAGE_EVENT, step_retrying, "An attempt failed; another will follow."},
    {"step_skipped",        MESSAGE_RUN, MESSAGE_EVENT, step_skipped, "The step will not run."},
    {"step_log",            MESSAGE_RUN, MESSAGE_EVENT, step_log, "One line of the step's output."},
    {"step_log_end",        MESSAGE_RUN, MESSAGE_EVENT, step_log_end, "No more lines of this attempt will come."},
    {"step_completed",      MESSAGE_RUN, MESSAGE_EVENT, step_completed, "The step has ended. Comes after its last log line."},

    {"job_started",      MESSAGE_JOB, MESSAGE_EVENT, job_started, "The job began."},
    {"job_paused",       MESSAGE_JOB, MESSAGE_EVENT, by_reason, "No new task starts; running ones finish."},
    {"job_resumed",      MESSAGE_JOB, MESSAGE_EVENT, NULL, "Tasks start again."},
    {"batch_started",    MESSAGE_JOB, MESSAGE_EVENT, job_batch, "The next targets have their turn."},
    {"batch_completed",  MESSAGE_JOB, MESSAGE_EVENT, job_batch, "The batch's targets are done with."},
    {"job_progress",     MESSAGE_JOB, MESSAGE_EVENT, job_progress, "A target more is done with."},
    {"rollback_started", MESSAGE_JOB, MESSAGE_EVENT, rollback_started, "Every target that was touched goes back."},
    {"job_completed",    MESSAGE_JOB, MESSAGE_EVENT, job_completed, "The job has ended. The last event."},
    {"task_assigned",    MESSAGE_JOB, MESSAGE_EVENT, job_task_agent, "An agent was asked.", "job_task_assigned"},
    {"task_started",     MESSAGE_JOB, MESSAGE_EVENT, job_task_agent, "The agent began. Comes before any of the attempt's log lines.", "job_task_started"},
    {"task_progress",    MESSAGE_JOB, MESSAGE_EVENT, job_task_progress, "How far the task is.", "job_task_progress"},
    {"task_retrying",    MESSAGE_JOB, MESSAGE_EVENT, job_task_retrying, "An attempt failed; another will follow."},
    {"task_log",         MESSAGE_JOB, MESSAGE_EVENT, job_task_log, "One line of the task's output.", "job_task_log"},
    {"task_completed",   MESSAGE_JOB, MESSAGE_EVENT, job_task_completed, "The task has ended. Comes after its last log line.", "job_task_completed"},

    {"promotion_updated",     MESSAGE_DASHBOARD, MESSAGE_EVENT, promotion_updated, "A promotion was made, or moved on."},
    {"approval_requested",    MESSAGE_DASHBOARD, MESSAGE_EVENT, promotion_updated, "A promotion waits for people."},
    {"deployment_updated",    MESSAGE_DASHBOARD, MESSAGE_EVENT, deployment_updated, "A deployment job was made, or moved on."},
    {"agent_status_changed",  MESSAGE_DASHBOARD, MESSAGE_EVENT, agent_status_changed, "An agent came, went, or was not heard of."},
    {"target_health_changed", MESSAGE_DASHBOARD, MESSAGE_EVENT, target_health_changed, "A check found a target otherwise than before."},
    {"drift_detected",        MESSAGE_DASHBOARD, MESSAGE_EVENT, drift_detected, "What is on a target is not what was deployed there."},
    {"freeze_started",        MESSAGE_DASHBOARD, MESSAGE_EVENT, freeze_changed, "A freeze window is in force."},
    {"freeze_ended",          MESSAGE_DASHBOARD, MESSAGE_EVENT, freeze_changed, "It is over, or was taken back."},
    {"metrics_updated",       MESSAGE_DASHBOARD, MESSAGE_CONTROL, figures_rows, "Figures that changed, and whole cards of environments that did."},

    {"ready",          MESSAGE_ALL, MESSAGE_CONTROL, ready, "The first message of a stream."},
    {"snapshot",       MESSAGE_RUN, MESSAGE_CONTROL, snapshot, "The present state."},
    {"snapshot",       MESSAGE_JOB, MESSAGE_CONTROL, job_snapshot, "The present state.", "job_snapshot"},
    {"snapshot",       MESSAGE_DASHBOARD, MESSAGE_CONTROL, dashboard_snapshot, "The present figures.", "dashboard_snapshot"},
    {"synced",         MESSAGE_ALL, MESSAGE_CONTROL, synced, "The past has been sent."},
    {"heartbeat",      MESSAGE_ALL, MESSAGE_CONTROL, heartbeat, "Comes at the interval that `ready` names."},
    {"gap",            MESSAGE_ALL, MESSAGE_CONTROL, gap, "Events that cannot be sent; the present state follows."},
    {"error",          MESSAGE_ALL, MESSAGE_CONTROL, error, "Comes before a close that is a refusal."},
    {"end",            MESSAGE_RUN | MESSAGE_JOB, MESSAGE_CONTROL, end, "Nothing more will come; the stream closes with 1000."},
    {"drain",          MESSAGE_ALL, MESSAGE_CONTROL, drain, "This instance goes away; the stream closes with 1012."},
    {"token_expiring", MESSAGE_ALL, MESSAGE_CONTROL, token_expiring, "The caller's token is about to expire; then the stream closes with 4401."},
    {"subscribed",     MESSAGE_RUN | MESSAGE_AGENT, MESSAGE_CONTROL, subscribed, "Answers `subscribe`."},
    {"subscribed",     MESSAGE_JOB, MESSAGE_CONTROL, job_subscribed, "Answers `subscribe`.", "job_subscribed"},
    {"subscribed",     MESSAGE_DASHBOARD, MESSAGE_CONTROL, dashboard_subscribed, "Answers `subscribe`.", "dashboard_subscribed"},
    {"pong",           MESSAGE_ALL, MESSAGE_CONTROL, NULL, "Answers `ping`."},

    {"task_assigned",  MESSAGE_AGENT, MESSAGE_CONTROL, task_assigned, "A task to be carried out; also each open task after a connect."},
    {"task_cancel",    MESSAGE_AGENT, MESSAGE_CONTROL, task_cancel, "The task is to be stopped."},
    {"config_update",  MESSAGE_AGENT, MESSAGE_CONTROL, config_update, "The agent's settings changed."},
    {"ack",            MESSAGE_AGENT, MESSAGE_CONTROL, ack, "A message of the agent is stored."},
    {"nack",           MESSAGE_AGENT, MESSAGE_CONTROL, nack, "A message of the agent is not stored: it is to be said again a second later."},

    {"auth",           MESSAGE_ALL, MESSAGE_CLIENT, auth, "The first message of a client that came without a token; later, a fresh token."},
    {"ping",           MESSAGE_ALL, MESSAGE_CLIENT, NULL, "Asks for `pong`."},
    {"subscribe",      MESSAGE_RUN | MESSAGE_AGENT, MESSAGE_CLIENT, subscribe, "Chooses which events come."},
    {"subscribe",      MESSAGE_JOB, MESSAGE_CLIENT, job_subscribe, "Chooses which events come.", "job_subscribe"},
    {"subscribe",      MESSAGE_DASHBOARD, MESSAGE_CLIENT, dashboard_subscribe, "Chooses which events come.", "dashboard_subscribe"},

    {"task_accepted",  MESSAGE_AGENT, MESSAGE_CLIENT, task_only, "The agent has the task in its journal."},
    {"task_refused",   MESSAGE_AGENT, MESSAGE_CLIENT, task_refused, "The agent will not carry it out."},
    {"task_started",   MESSAGE_AGENT, MESSAGE_CLIENT, task_started, "The command runs."},
    {"task_progress",  MESSAGE_AGENT, MESSAGE_CLIENT, task_progress, "How far it is."},
    {"task_log",       MESSAGE_AGENT, MESSAGE_CLIENT, task_log, "Lines of its output."},
    {"task_completed", MESSAGE_AGENT, MESSAGE_CLIENT, task_completed, "How it ended."},
    {"heartbeat",      MESSAGE_AGENT, MESSAGE_CLIENT, agent_heartbeat, "The agent is alive.", "agent_heartbeat"},
    {0},
};
// clang-format on
