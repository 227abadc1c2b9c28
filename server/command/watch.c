/* `slipway watch`: a run, a deployment job or the dashboard, live, in a terminal. Connects as any client does and shows
 * what the stream says; after a cut it comes back behind the last event it saw. */
#include "server/commands.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lib/config.h"
#include "lib/crypto.h"
#include "lib/id.h"
#include "lib/json.h"
#include "lib/loop.h"
#include "lib/op.h"
#include "lib/signal.h"
#include "lib/timer.h"
#include "proto/client.h"
#include "server/command/remote.h"

enum { EXIT_SUCCEEDED, EXIT_FAILED, EXIT_USAGE, EXIT_CANCELLED, EXIT_REFUSED };
enum { RETRY_FIRST_MS = 100, RETRY_MOST_MS = 5000, IDLE_MS = 75000, CONNECT_MS = 10000 };

struct options {
    struct remote to;
    int64_t since;
    bool json;
};

// clang-format off
#define AT(member) offsetof(struct options, member)
static const struct config_row rows[] = {
    {"url", CONFIG_STRING, AT(to.url), "http://127.0.0.1:8080", .flags = CONFIG_REQUIRED, .arg = "URL",
     .doc = "Where the server is: https://HOST, http://HOST:PORT or unix:/path/of/socket."},
    {"ca", CONFIG_PATH, AT(to.ca), "", .arg = "FILE",
     .doc = "Certificates (PEM) to trust in with https://. Unset: those of the system."},
    {"key-file", CONFIG_PATH, AT(to.key_file), "slipway-data/admin.key", .flags = CONFIG_REQUIRED, .arg = "FILE",
     .doc = "File that holds an API key or an access token. Where there is none: as whom `slipway login` signed in."},
    {"since", CONFIG_INT, AT(since), "0", 0, INT64_MAX, .flags = CONFIG_LOCAL, .arg = "N",
     .doc = "Show what came after event N only."},
    {"json", CONFIG_BOOL, AT(json), "false", .flags = CONFIG_LOCAL,
     .doc = "Print every message of the stream as it is, one a line."},
    {0},
};
// clang-format on

static const char summary[] = "Shows a workflow run, a deployment job or the dashboard live: `slipway watch run ID`, "
                              "`slipway watch job ID`, `slipway watch dashboard`. Ends with the run or job: 0 when it "
                              "succeeded, 1 when it failed or was rolled back, 3 when "
                              "it was cancelled, 4 when it cannot be watched.";

/* What can be watched. */
struct subject {
    const char *word, *collection, *status, *last; /* status: where a snapshot has it; last: the event that tells it */
    bool one; /* there is one, without an id, and it never ends: status and last are "" */
};
static const struct subject subjects[] = {
    {"run", "workflow-runs", "data.run.status", "workflow_completed", false},
    {"job", "deployment-jobs", "data.job.status", "job_completed", false},
    {"dashboard", "dashboard", "", "", true},
};

struct watch {
    struct options options;
    struct client_url url;
    char bearer[REMOTE_BEARER];
    const struct subject *subject;
    const char *id;
    struct loop loop;
    struct ops ops;
    struct client_ws *ws;
    struct timer again;
    int64_t seq, wait_ms, drain_ms;
    int result; /* what to exit with; -1: not known */
    bool ended; /* the stream said that nothing more comes */
    bool cut;   /* the last connection was lost, and that was said */
    bool colour;
};

/* --- showing --- */

/* Terminals obey control characters, and what a step prints is not to be obeyed. */
static void print_text(struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        unsigned char c = (unsigned char)text.p[i];
        bool control = (c < 0x20 && c != '\t') || c == 0x7f ||
                       (c == 0xc2 && i + 1 < text.n && (unsigned char)text.p[i + 1] < 0xa0);
        putchar(control ? '?' : c);
        if (control && c == 0xc2)
            i++;
    }
}

static void colour(const struct watch *w, const char *code)
{
    if (w->colour)
        printf("\033[%sm", code);
}

static const char *node_colour(struct str node)
{
    static const char *const colours[] = {"36", "35", "34", "33", "96", "95", "94", "93"};
    unsigned sum = 0;
    for (size_t i = 0; i < node.n; i++)
        sum = sum * 31 + (unsigned char)node.p[i];
    return colours[sum % ARRAY_LEN(colours)];
}

static void print_node(const struct watch *w, struct str node)
{
    colour(w, node_colour(node));
    printf("%-16.*s", STR_ARG(node));
    colour(w, "0");
    printf(" | ");
}

/* The step or task that a message belongs to, or what a dashboard's is about; STR_NONE: none. */
static struct str part_of(const struct watch *w, const struct json *m)
{
    static const char *const parts[] = {"nodeId", "taskId", NULL};
    static const char *const subjects_of[] = {"promotionId", "jobId", "targetName", "name", "environmentId", NULL};
    struct str part = STR_NONE;
    for (const char *const *at = w->subject->one ? subjects_of : parts; *at != NULL && part.p == NULL; at++)
        part = json_str(json_get(m, *at));
    return part;
}

static void show_log(const struct watch *w, const struct json *m)
{
    bool grave = str_eqz(json_str(json_get(m, "stream")), "stderr");
    print_node(w, part_of(w, m));
    if (grave)
        colour(w, "31");
    print_text(json_str(json_get(m, "line")));
    if (grave)
        colour(w, "0");
    putchar('\n');
}

static void print_seconds(const struct json *m, const char *name)
{
    if (json_get(m, name) != NULL)
        printf(" after %.1f s", json_real(json_get(m, name), 0));
}

static void print_member(const struct json *m, const char *name, const char *before)
{
    struct str text = json_str(json_get(m, name));
    if (text.n > 0) {
        printf("%s", before);
        print_text(text);
    }
}

struct shown { /* how a type of event is shown: a word, its colour, and what follows */
    const char *type, *word, *colour, *member, *before;
};

static const struct shown shown[] = {
    {"workflow_started", "run started", "1", NULL, NULL},
    {"workflow_paused", "run paused", "33", "reason", ": "},
    {"workflow_resumed", "run resumed", "1", NULL, NULL},
    {"workflow_cancelling", "run cancelling", "33", "reason", ": "},
    {"workflow_completed", "run", "1", "status", " "},
    {"step_started", "started", "1", "agentId", " on agent "},
    {"step_waiting", "waits for", "33", "waitingFor", " "},
    {"step_progress", "is at work", "2", "message", ": "},
    {"step_retrying", "will be retried", "33", NULL, NULL},
    {"step_skipped", "skipped", "2", "reason", ": "},
    {"step_completed", "ended:", "1", "status", " "},
    {"job_started", "job started", "1", "strategy", ": "},
    {"job_paused", "job paused", "33", "reason", ": "},
    {"job_resumed", "job resumed", "1", NULL, NULL},
    {"job_completed", "job", "1", "status", " "},
    {"batch_started", "next batch", "2", NULL, NULL},
    {"rollback_started", "rolling back", "33", "reason", ": "},
    {"task_started", "started", "1", "agentId", " on agent "},
    {"task_progress", "is at work", "2", "message", ": "},
    {"task_retrying", "will be retried", "33", NULL, NULL},
    {"task_completed", "ended:", "1", "status", " "},
    {"promotion_updated", "promotion", "1", "status", " "},
    {"approval_requested", "approval requested", "33", NULL, NULL},
    {"deployment_updated", "deployment job", "1", "status", " "},
    {"agent_status_changed", "agent", "1", "status", " "},
    {"target_health_changed", "target", "1", "status", " "},
    {"drift_detected", "drifted", "33", NULL, NULL},
    {"freeze_started", "freeze started", "33", NULL, NULL},
    {"freeze_ended", "freeze ended", "1", NULL, NULL},
};

static void show_event(const struct watch *w, const struct json *m, const struct shown *how)
{
    struct str node = part_of(w, m);
    const struct json *error = json_get(m, "error");
    if (node.p != NULL)
        print_node(w, node);
    colour(w, how->colour);
    printf("%s", how->word);
    if (how->member != NULL)
        print_member(m, how->member, how->before);
    print_seconds(m, "duration");
    print_member(error, "message", ": ");
    colour(w, "0");
    putchar('\n');
}

static void show(const struct watch *w, struct str type, const struct json *m)
{
    if (str_eqz(type, "step_log") || str_eqz(type, "task_log")) {
        show_log(w, m);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(shown); i++)
        if (str_eqz(type, shown[i].type))
            show_event(w, m, &shown[i]);
}

/* --- what the stream says --- */

static int exit_of(struct str status)
{
    if (str_eqz(status, "succeeded"))
        return EXIT_SUCCEEDED;
    if (str_eqz(status, "failed") || str_eqz(status, "rolled_back") || str_eqz(status, "rollback_failed"))
        return EXIT_FAILED;
    return str_eqz(status, "cancelled") ? EXIT_CANCELLED : -1;
}

/* Control messages carry a seq, too, that says how far the stream is; only events count on. */
static bool is_event(struct str type)
{
    static const char *const families[] = {"workflow_", "step_",      "job_",      "batch_",      "task_",
                                           "rollback_", "promotion_", "approval_", "deployment_", "agent_",
                                           "target_",   "drift_",     "freeze_"};
    for (size_t i = 0; i < ARRAY_LEN(families); i++)
        if (str_starts(type, str_z(families[i])))
            return true;
    return false;
}

static void on_message(struct watch *w, const struct json *m)
{
    struct str type = json_str(json_get(m, "type"));
    if (is_event(type)) {
        int64_t seq = json_int(json_get(m, "seq"), 0);
        if (seq <= w->seq)
            return;
        w->seq = seq;
    } else if (str_eqz(type, "snapshot")) {
        w->result = w->subject->one ? -1 : exit_of(json_str(json_path(m, str_z(w->subject->status))));
    } else if (str_eqz(type, "gap")) {
        w->seq = json_int(json_get(m, "toSeq"), w->seq);
        fprintf(stderr, "slipway watch: events up to %lld are lost\n", (long long)w->seq);
    } else if (str_eqz(type, "drain")) {
        w->drain_ms = json_int(json_get(m, "reconnectInMs"), 0);
    } else if (str_eqz(type, "end")) {
        w->ended = true;
    } else if (str_eqz(type, "synced")) {
        w->wait_ms = RETRY_FIRST_MS;
    }
    if (str_eqz(type, w->subject->last))
        w->result = exit_of(json_str(json_get(m, "status")));
    if (!w->options.json)
        show(w, type, m);
}

static void on_text(void *arg, struct str text)
{
    struct watch *w = arg;
    struct arena arena;
    arena_init(&arena, 0);
    const struct json *m = json_parse(&arena, text, NULL, NULL);
    if (w->options.json)
        printf(STR_FMT "\n", STR_ARG(text));
    if (m != NULL)
        on_message(w, m);
    fflush(stdout);
    arena_fini(&arena);
}

/* --- the connection --- */

static void connect_again(void *arg);

/* Who we are: a login's token may have been renewed since. */
static bool read_bearer(struct watch *w)
{
    char why[REMOTE_WHY];
    bool there = remote_bearer(&w->options.to, w->bearer, why);
    if (!there)
        fprintf(stderr, "slipway watch: %s\n", why);
    return there;
}

/* A login whose token is over has another one by now. */
static bool is_renewed(struct watch *w)
{
    char before[REMOTE_BEARER];
    memcpy(before, w->bearer, sizeof before);
    bool renewed = read_bearer(w) && strcmp(before, w->bearer) != 0;
    crypto_wipe(before, sizeof before);
    return renewed;
}

static void on_open(void *arg)
{
    struct watch *w = arg;
    if (w->cut)
        fprintf(stderr, "slipway watch: connected again, going on behind event %lld\n", (long long)w->seq);
    w->cut = false;
    client_ws_idle(w->ws, IDLE_MS);
}

/* The stream was over before we came, behind the event that says how the run ended. */
static void asked(void *arg, const struct client_answer *answer)
{
    struct watch *w = arg;
    struct arena arena;
    arena_init(&arena, 0);
    const struct json *body = answer->status == 200 ? json_parse(&arena, answer->body, NULL, NULL) : NULL;
    w->result = exit_of(json_str(json_path(body, S("data.status"))));
    if (w->result < 0)
        w->result = EXIT_REFUSED;
    arena_fini(&arena);
}

static void ask_status(struct watch *w)
{
    char path[128];
    snprintf(path, sizeof(path), "/api/v1/%s/%s", w->subject->collection, w->id);
    const struct client_header headers[] = {{"Authorization", str_z(w->bearer)}, {0}};
    const struct client_request request = {.url = &w->url, .method = "GET", .path = str_z(path), .headers = headers};
    if (!client_call(&w->loop, &request, &w->ops, asked, w))
        w->result = EXIT_REFUSED;
}

/* Whether to come again makes no sense: what we are or what we ask for will not do. */
static bool is_refusal(int status, unsigned code)
{
    return (status >= 400 && status < 500 && status != 408 && status != 429) ||
           (code >= 4400 && code < 4500 && code != 4408 && code != 4429);
}

static void on_close(void *arg, int status, unsigned code, struct str reason)
{
    struct watch *w = arg;
    w->ws = NULL;
    if (w->ended) {
        if (w->result < 0)
            ask_status(w);
        return;
    }
    if (is_refusal(status, code) && !((status == 401 || code == 4401) && is_renewed(w))) {
        fprintf(stderr, "slipway watch: refused with %d: " STR_FMT "\n", status != 0 ? status : (int)code,
                STR_ARG(reason));
        w->result = EXIT_REFUSED;
        return;
    }
    if (!w->cut)
        fprintf(stderr, "slipway watch: connection lost (" STR_FMT "), trying again\n", STR_ARG(reason));
    w->cut = true;
    int64_t wait = w->wait_ms / 2 + random_below((uint32_t)w->wait_ms / 2 + 1) + w->drain_ms;
    w->drain_ms = 0;
    w->wait_ms = w->wait_ms * 2 < RETRY_MOST_MS ? w->wait_ms * 2 : RETRY_MOST_MS;
    timer_start(&w->again, &w->loop, wait, connect_again, w);
}

static const struct client_ws_type events = {.on_open = on_open, .on_text = on_text, .on_close = on_close};

static void connect_again(void *arg)
{
    struct watch *w = arg;
    char path[160];
    snprintf(path, sizeof(path), "/api/v1/%s%s%s/stream?since=%lld", w->subject->collection, w->subject->one ? "" : "/",
             w->id, (long long)w->seq);
    const struct client_header headers[] = {{"Authorization", str_z(w->bearer)}, {0}};
    const struct client_request request = {
        .url = &w->url, .path = str_z(path), .headers = headers, .deadline_ms = CONNECT_MS};
    w->ws = client_ws_open(&w->loop, &request, &events, w);
    if (w->ws == NULL)
        w->result = EXIT_REFUSED;
}

/* --- the program --- */

/* As a program that a signal ends, but with nothing left behind. A second one does not wait for the server. */
static void on_signal(void *arg, int signum)
{
    struct watch *w = arg;
    if (w->result >= 0)
        _exit(128 + signum);
    w->result = 128 + signum;
    w->ended = true;
    timer_stop(&w->again);
    ops_detach(&w->ops);
    if (w->ws != NULL)
        client_ws_close(w->ws, 1000, "the watcher leaves");
}

static int follow(struct watch *w)
{
    struct signal_watch term, interrupt;
    if (loop_init(&w->loop) != 0) {
        fprintf(stderr, "slipway watch: out of memory\n");
        return EXIT_REFUSED;
    }
    ops_init(&w->ops);
    w->seq = w->options.since;
    w->wait_ms = RETRY_FIRST_MS;
    w->result = -1;
    w->colour = isatty(STDOUT_FILENO) && getenv("NO_COLOR") == NULL;
    signal_ignore_pipe();
    signal_open(&term, &w->loop, SIGTERM, on_signal, w);
    signal_open(&interrupt, &w->loop, SIGINT, on_signal, w);
    connect_again(w);
    loop_run(&w->loop); /* runs dry when the stream has ended */
    signal_close(&term, NULL, NULL);
    signal_close(&interrupt, NULL, NULL);
    loop_fini(&w->loop);
    return w->result < 0 ? EXIT_REFUSED : w->result;
}

static const struct subject *subject_find(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++)
        if (strcmp(word, subjects[i].word) == 0)
            return &subjects[i];
    return NULL;
}

int watch_main(int argc, char **argv)
{
    struct watch w = {0};
    struct config config;
    char id[ID_UUID] = "", why[CLIENT_REASON];
    config_init(&config, "watch", summary, stderr);
    config_table(&config, rows, &w.options);
    int status = config_parse(&config, argc, argv);
    if (status == CONFIG_READ) {
        const char *wrong = NULL;
        w.subject = config.rest_count == 0 ? NULL : subject_find(config.rest[0]);
        if (w.subject == NULL || config.rest_count != (w.subject->one ? 1 : 2))
            status = config_usage(&config, "what to watch: `slipway watch run ID`, `slipway watch job ID` or `slipway "
                                           "watch dashboard`");
        else if (!w.subject->one && !id_is_uuid(str_z(config.rest[1]), id))
            status = config_usage(&config, "%s is no id of a %s", config.rest[1], config.rest[0]);
        else if ((wrong = client_url_parse(str_z(w.options.to.url), &w.url)) != NULL)
            status = config_usage(&config, "--url %s: %s", w.options.to.url, wrong);
        else if (!client_trust(&w.url, w.options.to.ca, why))
            status = config_usage(&config, "--ca %s", why);
        else if (!read_bearer(&w))
            status = EXIT_USAGE;
    }
    if (status == CONFIG_READ) {
        w.id = id;
        status = follow(&w);
    }
    crypto_wipe(w.bearer, sizeof w.bearer);
    client_distrust(&w.url);
    config_fini(&config);
    return status;
}
