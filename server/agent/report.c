/* What an agent says of a task. A message's id is "<task id>|<letter>", for lines "<task id>|l<last line>", so that an
 * acknowledgement needs no table of what was sent. */
#include "lib/clock.h"
#include "server/agent/held.h"
#include "server/agent/task.h"

#include <stdio.h>
#include <string.h>

/* A line of standard output of this form is also progress: "##slipway[progress 40] copying"; one that the agent says
 * itself is shown without the mark. */
#define PROGRESS_MARK "##slipway[progress "

static struct str behind_mark(struct str line)
{
    ptrdiff_t end = str_starts(line, S(PROGRESS_MARK)) ? str_index(line, ']') : -1;
    return end < 0 ? line : str_trim(str_slice(line, (size_t)end + 1, line.n));
}

static void message_begin(struct json_out *o, struct buf *b, const char *type, struct str task)
{
    buf_clear(b);
    json_out_init(o, b);
    json_open(o, '{');
    json_key(o, S("taskId"));
    json_put_str(o, task);
    json_key(o, S("type"));
    json_put_z(o, type);
}

static bool message_end(struct tasks *t, struct json_out *o, const char *id)
{
    json_key(o, S("id"));
    json_put_z(o, id);
    json_close(o, '}');
    return !o->b->failed && t->send(t->arg, buf_view(o->b));
}

static bool message_end_of(struct tasks *t, struct json_out *o, const struct held *h, char letter)
{
    char id[PROTOCOL_ID + 2];
    snprintf(id, sizeof id, "%s|%c", h->id, letter);
    return message_end(t, o, id);
}

bool report_refusal(struct tasks *t, struct str id, enum protocol_refusal why)
{
    struct json_out o;
    char ref[32];
    snprintf(ref, sizeof ref, "refusal-%llu", (unsigned long long)++t->refusals);
    message_begin(&o, &t->message, "task_refused", id);
    json_key(&o, S("reason"));
    json_put_z(&o, protocol_refusals[why]);
    return message_end(t, &o, ref);
}

static bool say_accepted(struct tasks *t, struct held *h)
{
    struct json_out o;
    message_begin(&o, &t->message, "task_accepted", str_z(h->id));
    return message_end_of(t, &o, h, 'a');
}

static bool say_started(struct tasks *t, struct held *h)
{
    struct json_out o;
    message_begin(&o, &t->message, "task_started", str_z(h->id));
    if (h->started.pid > 0) {
        json_key(&o, S("pid"));
        json_put_int(&o, h->started.pid);
    }
    json_key(&o, S("startedAt"));
    json_put_time(&o, h->started.pid > 0 ? h->started.started_ms : h->exit.started_ms);
    return message_end_of(t, &o, h, 's');
}

static void put_outputs(struct json_out *o, const struct journal_exit *e)
{
    if (e->outputs.n > 0) {
        json_put_raw(o, e->outputs);
        return;
    }
    json_open(o, '{');
    if (e->exit_code >= 0) {
        json_key(o, S("exitCode"));
        json_put_int(o, e->exit_code);
    }
    json_key(o, S("stdoutTail"));
    json_put_str(o, e->tail.p != NULL ? e->tail : S(""));
    json_close(o, '}');
}

static bool say_completed(struct tasks *t, struct held *h)
{
    const struct journal_exit *e = &h->exit;
    struct json_out o;
    message_begin(&o, &t->message, "task_completed", str_z(h->id));
    json_key(&o, S("completedAt"));
    json_put_time(&o, e->finished_ms);
    if (e->cause != NULL) {
        json_key(&o, S("error"));
        json_put_str(&o, e->message);
        json_key(&o, S("errorType"));
        json_put_z(&o, e->cause);
    }
    json_key(&o, S("lines"));
    json_put_int(&o, h->reading ? (int64_t)h->out.acked : e->lines);
    json_key(&o, S("metrics"));
    json_open(&o, '{');
    json_key(&o, S("durationMs"));
    json_put_int(&o, e->finished_ms - e->started_ms);
    json_close(&o, '}');
    json_key(&o, S("outputs"));
    put_outputs(&o, e);
    json_key(&o, S("retriable"));
    json_put_bool(&o, e->cause != NULL && e->retriable);
    json_key(&o, S("startedAt"));
    json_put_time(&o, e->started_ms);
    json_key(&o, S("success"));
    json_put_bool(&o, e->cause == NULL);
    return message_end_of(t, &o, h, 'c');
}

/* --- lines --- */

static void say_progress(struct tasks *t, struct held *h, struct str line)
{
    struct str rest = str_slice(line, strlen(PROGRESS_MARK), line.n), number = str_cut(&rest, ']');
    int64_t progress;
    if (rest.p == NULL || !str_i64(number, &progress) || progress < 0 || progress > 100)
        return;
    struct buf b = {0};
    struct json_out o;
    message_begin(&o, &b, "task_progress", str_z(h->id));
    json_key(&o, S("message"));
    json_put_str(&o, str_slice(str_trim(rest), 0, 512));
    json_key(&o, S("progress"));
    json_put_int(&o, progress);
    message_end_of(t, &o, h, 'p'); /* not said again when it gets lost: the next one or the end tells more */
    buf_free(&b);
}

static void put_line(struct json_out *o, const struct task_line *line)
{
    json_open(o, '{');
    json_key(o, S("level"));
    json_put_z(o, line->stream == TASK_STDERR ? "warn" : "info");
    json_key(o, S("line"));
    json_put_str(o, line->stream == TASK_SYSTEM ? behind_mark(line->text) : line->text);
    json_key(o, S("stream"));
    json_put_z(o, task_stream_name(line->stream));
    json_key(o, S("timestamp"));
    json_put_time(o, line->ms);
    json_close(o, '}');
}

/* One message with what the spool has, within every bound. 1: sent; 0: there was nothing; -1: not taken. */
static int say_lines(struct tasks *t, struct held *h)
{
    enum { ONE = 6 * PROTOCOL_LINE + 256 }; /* a line's worst case in JSON */
    struct json_out o;
    struct buf *b = &t->message;
    uint64_t first = h->out.fresh;
    size_t n = 0;
    message_begin(&o, b, "task_log", str_z(h->id));
    json_key(&o, S("lines"));
    json_open(&o, '[');
    while (n < PROTOCOL_LINES && b->n + ONE < PROTOCOL_MESSAGE) {
        struct str record;
        struct task_line line;
        enum spool_answer answer = spool_read(&h->out, &record);
        h->dry = answer != SPOOL_RECORD;
        if (h->dry)
            break;
        if (!task_line_read(record, &line))
            line = (struct task_line){clock_wall_ms(), TASK_SYSTEM, S("(a line of another version)")};
        put_line(&o, &line);
        if (line.stream != TASK_STDERR && str_starts(line.text, S(PROGRESS_MARK)))
            say_progress(t, h, line.text);
        n++;
    }
    json_close(&o, ']');
    if (n == 0)
        return 0;
    json_key(&o, S("seq"));
    json_put_int(&o, (int64_t)first);
    if (h->skip) {
        json_key(&o, S("skip"));
        json_put_bool(&o, true);
    }
    char id[PROTOCOL_ID + 24];
    snprintf(id, sizeof id, "%s|l%llu", h->id, (unsigned long long)(first + n - 1));
    if (!message_end(t, &o, id)) {
        spool_rewind(&h->out);
        h->sent_to = h->out.acked;
        return -1;
    }
    h->skip = false;
    h->sent_to = first + n - 1;
    return 1;
}

static bool report_lines(struct tasks *t, struct held *h)
{
    if (!h->reading)
        return true;
    while (h->sent_to - h->out.acked < PROTOCOL_WINDOW) {
        int sent = say_lines(t, h);
        if (sent <= 0)
            return sent == 0;
    }
    return true;
}

/* Each waits for the acknowledgement of the one before, so that what follows from it in the run is there first: the
 * step has started before its first line, and ended after its last. */

bool report(struct tasks *t, struct held *h)
{
    if (t->send == NULL || h->state == HELD_DONE)
        return t->send != NULL;
    if (clock_mono_ms() < h->wait)
        return true;
    if (!h->said.accepted) {
        h->sent.accepted = h->sent.accepted || say_accepted(t, h);
        return h->sent.accepted;
    }
    if (h->state == HELD_NEW)
        return true;
    if (!h->said.started) {
        h->sent.started = h->sent.started || say_started(t, h);
        return h->sent.started;
    }
    if (!report_lines(t, h))
        return false;
    bool all = !h->reading || (h->dry && h->out.acked + 1 == h->out.fresh);
    if (h->state == HELD_ENDED && all && !h->sent.completed)
        h->sent.completed = say_completed(t, h);
    return h->state != HELD_ENDED || !all || h->sent.completed;
}

void report_forget_sent(struct held *h)
{
    h->sent.accepted = h->sent.started = h->sent.completed = false;
    h->wait = 0;
    if (h->reading) {
        spool_rewind(&h->out);
        h->sent_to = h->out.acked;
        h->dry = false;
    }
}

bool report_ack(struct held *h, struct str what)
{
    uint64_t line;
    if (str_eqz(what, "a"))
        h->said.accepted = true;
    else if (str_eqz(what, "s"))
        h->said.accepted = h->said.started = true;
    else if (str_eqz(what, "c") && h->sent.completed)
        h->said.accepted = h->said.started = h->said.completed = true;
    else if (what.n > 1 && what.p[0] == 'l' && h->reading && str_u64(str_slice(what, 1, what.n), &line) &&
             line <= h->sent_to)
        spool_ack(&h->out, line);
    return h->said.completed;
}

void report_nack(struct held *h, struct str what, int64_t next)
{
    char letter = what.n > 0 ? what.p[0] : '\0';
    h->sent.accepted = h->sent.accepted && letter != 'a';
    h->sent.started = h->sent.started && letter != 's';
    h->sent.completed = h->sent.completed && letter != 'c';
    if (h->reading) {
        spool_rewind(&h->out);
        h->sent_to = h->out.acked;
        h->dry = false;
        h->skip = next > 0 && (uint64_t)next <= h->out.acked;
    }
    h->wait = clock_mono_ms() + PROTOCOL_NACK_MS;
}
