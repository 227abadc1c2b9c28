/* The store: channels, open tasks, logs and the inbox; each command whole or not at all. */
#include "test/whole/whole.h"

#include "proto/redis.h"
#include "server/engine/drain.h"
#include "server/engine/template.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLICE = 16 };

/* --- channels --- */

void whole_frames_begin(struct whole_frames *f, int channel)
{
    *f = (struct whole_frames){.channel = &world->channels[channel]};
    f->first = f->channel->seq + 1;
    buf_init_arena(&f->b, &world->arena, 256);
}

void whole_frames_add(struct whole_frames *f, struct str rest)
{
    buf_printf(&f->b, "%s{\"seq\":%" PRId64 ",\"timestamp\":\"%" PRId64 "\"," STR_FMT, f->b.n > 0 ? "\n" : "",
               ++f->channel->seq, world->now, STR_ARG(rest));
}

static void hint(struct whole_server *s, int channel, const struct whole_entry *e)
{
    if (!s->up || !s->subscribed[channel])
        return;
    if (s->n_hints == WHOLE_MESSAGES || whole_unlucky(60, &world->coverage->hints_lost))
        return;
    s->hint_of[s->n_hints] = channel;
    s->hints[s->n_hints++] =
        arena_printf(&world->arena, "%" PRId64 " %" PRId64 "\n" STR_FMT, e->first, e->last, STR_ARG(e->text));
}

void whole_frames_end(struct whole_frames *f)
{
    struct whole_channel *c = f->channel;
    struct whole_entry *e;

    if (f->b.n == 0)
        return;
    if (c->n == WHOLE_ENTRIES) {
        whole_fault("channel %s is full", c->name);
        return;
    }
    e = &c->entries[c->n++];
    *e = (struct whole_entry){f->first, c->seq, world->epoch, buf_view(&f->b)};
    world->coverage->frames += (uint64_t)(e->last - e->first + 1);
    for (int i = 0; i < WHOLE_SERVERS; i++)
        hint(&world->servers[i], (int)(c - world->channels), e);
}

int whole_channel_of(struct str key)
{
    for (int i = 0; i < WHOLE_CHANNELS; i++)
        if (str_ends(key, str_z(world->channels[i].name)))
            return i;
    return -1;
}

/* --- open tasks --- */

struct whole_open *whole_open_task(int agent, struct str task, bool make)
{
    struct whole_open *list = world->open[agent];

    for (int i = 0; i < WHOLE_TASKS; i++)
        if (str_eqz(task, list[i].id))
            return &list[i];
    for (int i = 0; make && i < WHOLE_TASKS; i++)
        if (list[i].id[0] == '\0') {
            snprintf(list[i].id, sizeof list[i].id, STR_FMT, STR_ARG(task));
            return &list[i];
        }
    return NULL;
}

bool whole_is_open(int agent, struct str task)
{
    return whole_open_task(agent, task, false) != NULL;
}

int whole_agent_index(struct str id)
{
    int64_t n = -1;

    return str_i64(str_slice(id, id.n - 1, id.n), &n) && n < WHOLE_AGENTS ? (int)n : -1;
}

/* --- logs --- */

const struct whole_log *whole_log_of(struct str task)
{
    for (size_t i = 0; i < world->n_logs; i++)
        if (str_eqz(task, world->logs[i].task))
            return &world->logs[i];
    return NULL;
}

struct whole_log *whole_log_get(struct str task)
{
    struct whole_log *log = (struct whole_log *)(uintptr_t)whole_log_of(task);

    if (log == NULL) {
        if (world->n_logs == WHOLE_LOGS) {
            whole_fault("too many logs");
            world->n_logs = 0;
        }
        log = &world->logs[world->n_logs++];
        *log = (struct whole_log){.next = 1, .expected = 1};
        snprintf(log->task, sizeof log->task, STR_FMT, STR_ARG(task));
    }
    return log;
}

/* As append.lua. */
static void do_lines(struct whole_op *o)
{
    const struct append *in = &o->lines;
    struct whole_log *log = whole_log_get(in->task);
    int64_t beyond = in->first + (int64_t)in->count, drop;
    struct whole_frames f;

    o->appended = (struct appended){.now_ms = world->now, .next = log->expected};
    if (!whole_is_open(whole_agent_index(in->agent), in->task)) {
        o->appended.stray = true;
        return;
    }
    if (in->first > log->expected && !in->skip) {
        o->appended.gap = true;
        return;
    }
    drop = log->expected > in->first && world->bug != WHOLE_SAID_AGAIN ? log->expected - in->first : 0;
    whole_frames_begin(&f, 0);
    for (int64_t i = drop; !log->complete && i < (int64_t)in->count; i++)
        whole_frames_add(
            &f, arena_printf(&world->arena, "\"logSeq\":%" PRId64 "," STR_FMT, log->next++, STR_ARG(in->lines[i])));
    whole_frames_end(&f);
    if (beyond > log->expected)
        log->expected = beyond;
    log->complete = log->complete || in->last;
    o->appended.next = log->expected;
}

/* --- the run --- */

void whole_enter(const struct run_event *e)
{
    struct buf b;

    if (world->n_inbox == ARRAY_LEN(world->inbox)) {
        whole_fault("the inbox is full");
        return;
    }
    buf_init_arena(&b, &world->arena, 128);
    run_event_write(&b, e);
    world->inbox[world->n_inbox++] = buf_view(&b);
    world->appended++;
}

/* --- commands --- */

struct whole_op *whole_op_new(struct whole_server *s, int kind, struct ops *asker, void *then, void *arg)
{
    struct whole_op *o = calloc(1, sizeof *o);

    if (o == NULL)
        abort();
    arena_init(&o->arena, 0);
    o->server = s->index;
    o->kind = kind;
    o->then = then;
    o->arg = arg;
    op_begin(&o->op, asker);
    *s->last = o;
    s->last = &o->next;
    return o;
}

static struct redis_value *value(struct whole_op *o, struct redis_value v)
{
    struct redis_value *made = arena_new(&o->arena, struct redis_value);

    *made = v;
    return made;
}

static struct redis_value *text_value(struct whole_op *o, struct str text)
{
    return value(o, text.p == NULL ? (struct redis_value){.type = REDIS_NIL}
                                   : (struct redis_value){.type = REDIS_STRING, .text = text});
}

static struct redis_value *int_value(struct whole_op *o, int64_t n)
{
    return value(o, (struct redis_value){.type = REDIS_INTEGER, .integer = n});
}

static struct redis_value *list_value(struct whole_op *o, size_t n, struct redis_value *const *items)
{
    const struct redis_value **copy = arena_array(&o->arena, n + 1, sizeof *copy);

    for (size_t i = 0; i < n; i++)
        copy[i] = items[i];
    return value(o, (struct redis_value){.type = REDIS_ARRAY, .count = n, .items = copy});
}

static struct redis_value *entry_value(struct whole_op *o, const struct whole_entry *e)
{
    struct redis_value *fields[] = {text_value(o, S("b")), text_value(o, e->text)};
    struct redis_value *parts[] = {text_value(o, S("0-0")), list_value(o, 2, fields)};

    return list_value(o, 2, parts);
}

/* What an instance is told of it. */
static int64_t epoch_told(void)
{
    return world->bug == WHOLE_EPOCH_UNSEEN ? 1 : world->epoch;
}

static void do_behind(struct whole_op *o)
{
    const struct whole_channel *c = &world->channels[o->channel];
    struct redis_value *entries[SLICE];
    size_t n = 0;

    for (size_t i = c->trimmed; i < c->n && n < SLICE; i++)
        if (c->entries[i].last > o->behind)
            entries[n++] = entry_value(o, &c->entries[i]);
    struct redis_value *parts[] = {list_value(o, n, entries), int_value(o, c->seq), int_value(o, epoch_told())};
    o->reply = list_value(o, 3, parts);
}

/* All channels that this instance follows are in one partition: they are asked for in the order that the hub has them,
 * which is the order of its keys. */
static void do_check(struct whole_op *o)
{
    struct redis_value *seqs[WHOLE_CHANNELS];
    size_t n = 0;

    for (struct str rest = o->task; rest.n > 0;)
        seqs[n++] = int_value(o, world->channels[whole_channel_of(str_cut(&rest, '\n'))].seq);
    struct redis_value *parts[] = {list_value(o, n, seqs), int_value(o, epoch_told())};
    o->reply = list_value(o, 2, parts);
}

static void execute(struct whole_op *o)
{
    const struct whole_open *open;

    o->done = true;
    switch (o->kind) {
    case OP_BEHIND:
        do_behind(o);
        break;
    case OP_CHECK:
        do_check(o);
        break;
    case OP_IS_OPEN:
        o->reply = int_value(o, whole_is_open(o->agent, o->task));
        break;
    case OP_TASK:
        open = whole_open_task(o->agent, o->task, false);
        o->reply = text_value(o, open == NULL ? STR_NONE : open->text);
        break;
    case OP_LINES:
        do_lines(o);
        break;
    case OP_ENTRY:
        whole_enter(&o->event);
        o->entered = true;
        o->entry = world->appended;
        break;
    }
}

bool whole_store_step(struct whole_server *s)
{
    struct whole_op *o = s->first;

    while (o != NULL && o->done)
        o = o->next;
    if (o == NULL)
        return false;
    if (whole_unlucky(20, &world->coverage->store_errors)) {
        o->done = o->failed = true;
        return true;
    }
    execute(o);
    o->failed = whole_unlucky(15, &world->coverage->answers_lost);
    return true;
}

static void op_free(struct whole_op *o)
{
    arena_fini(&o->arena);
    free(o);
}

static void answer(struct whole_op *o)
{
    enum code c = o->failed ? SYS_STORAGE : OK;

    if (op_finish(&o->op)) {
        if (o->kind == OP_LINES)
            ((append_then *)o->then)(o->arg, c, c == OK ? &o->appended : NULL);
        else if (o->kind == OP_ENTRY)
            ((drain_then *)o->then)(o->arg, c, NULL);
        else
            ((store_then *)o->then)(o->arg, c, c == OK ? o->reply : NULL);
    }
    op_free(o);
}

/* In order; but an entry is answered when it was consumed, whatever else came meanwhile. */
bool whole_store_answer(struct whole_server *s)
{
    for (struct whole_op **at = &s->first; *at != NULL && (*at)->done; at = &(*at)->next) {
        struct whole_op *o = *at;

        if (o->entered && !o->failed && o->entry > world->consumed)
            continue;
        *at = o->next;
        if (*at == NULL)
            s->last = at;
        answer(o);
        return true;
    }
    return false;
}

void whole_store_drop(struct whole_server *s)
{
    while (s->first != NULL) {
        struct whole_op *o = s->first;

        s->first = o->next;
        if (!o->done && dice_percent(&world->dice, 50))
            execute(o);
        op_finish(&o->op);
        op_free(o);
    }
    s->last = &s->first;
}

void whole_server_cut(struct whole_server *s)
{
    for (struct whole_op *o = s->first; o != NULL; o = o->next)
        o->done = o->failed = true;
    memset(s->subscribed, 0, sizeof s->subscribed);
    s->cut = true;
}

void whole_store_begin(void)
{
    static const char *const names[WHOLE_CHANNELS] = {"run:" WHOLE_RUN, "agent:0190a0b0-0000-7000-8000-00000000aaa0",
                                                      "agent:0190a0b0-0000-7000-8000-00000000aaa1"};
    struct json *nothing = json_new(&world->arena, JSON_OBJECT);
    bool job = dice_percent(&world->dice, 50);

    world->epoch = 1;
    for (int i = 0; i < WHOLE_CHANNELS; i++)
        world->channels[i].name = names[i];
    if (job) {
        world->channels[0].name = "job:" WHOLE_RUN;
        world->coverage->jobs++;
        whole_make_plan();
    } else {
        whole_make_template();
    }
    for (int i = 0; i < WHOLE_SERVERS; i++)
        world->servers[i].last = &world->servers[i].first;
    world->steps = arena_array(&world->arena, TEMPLATE_NODES, sizeof *world->steps);
    world->origin = (struct run_origin){.id = S(WHOLE_RUN),
                                        .tenant = S(WHOLE_TENANT),
                                        .template_id = S("0190a0b0-0000-7000-8000-000000000003"),
                                        .template_version = 1,
                                        .created_ms = world->now,
                                        .inputs = nothing,
                                        .facts = nothing};
    whole_enter(&(struct run_event){.type = EVENT_START});
}
