#include "server/session.h"

#include "lib/id.h"
#include "lib/timer.h"
#include "server/auth.h"
#include "server/caller.h"
#include "server/settings.h"
#include "server/store/admit.h"
#include "server/worker.h"

#include <stdlib.h>
#include <string.h>

/* One credential under way. Its sessions may be gone when it comes back, so it is found by its text. */
struct lookup {
    struct list link;
    struct sessions *sessions;
    char credential[65];
    int64_t revocations;
};

struct sessions {
    struct worker *worker;
    struct list watched, lookups;
    struct ops ops;
    struct timer timer;
    struct counter { /* one partition's */
        struct sessions *sessions;
        unsigned partition;
    } counters[ID_PARTITIONS];
};

static struct session *session_of(struct list *link)
{
    return list_entry(link, struct session, link);
}

/* Whether it may still do all that it could when it began. */
static bool is_good(const struct session *s, const struct admitted *a)
{
    struct arena scratch;
    struct caller now = *s->caller;
    arena_init(&scratch, 0);
    bool good = a->verdict == ADMIT_OK && auth_bound(&scratch, &now, a) == OK && !caller_lost(s->caller, &now);
    arena_fini(&scratch);
    return good;
}

/* Callbacks may unwatch any session, so those to be told stand in a list of their own first. */
static void judge(struct sessions *all, const struct lookup *lookup, const struct admitted *a)
{
    struct list gone;
    list_init(&gone);
    list_for (it, &all->watched) {
        struct session *s = session_of(it);
        if (strcmp(s->caller->credential, lookup->credential) != 0)
            continue;
        s->revocations = lookup->revocations;
        s->expires_ms = redis_int(redis_field(a->credential, S("expires")), 0);
        if (is_good(s, a))
            continue;
        list_remove(it);
        list_append(&gone, it);
    }
    while (!list_empty(&gone)) {
        struct session *s = session_of(gone.next);
        list_remove(&s->link);
        s->revoked(s->arg);
    }
}

static void looked_up(void *arg, enum code c, const struct admitted *a)
{
    struct lookup lookup = *(struct lookup *)arg;
    struct sessions *all = lookup.sessions;
    list_remove(&((struct lookup *)arg)->link);
    free(arg);
    if (c == OK) /* else the next tick asks again */
        judge(all, &lookup, a);
}

static void look_up(struct sessions *all, const struct session *s, int64_t revocations)
{
    struct arena scratch;
    struct lookup *lookup = malloc(sizeof *lookup);
    if (lookup == NULL)
        return;
    *lookup = (struct lookup){.sessions = all, .revocations = revocations};
    memcpy(lookup->credential, s->caller->credential, sizeof lookup->credential);
    arena_init(&scratch, 0);
    const struct caller *c = s->caller;
    const struct admission in = {
        .partition = c->partition,
        .credential = str_z(c->credential),
        .optional = c->type != CALLER_KEY,
        .of = c->of[0] == '\0' ? STR_NONE : str_z(c->of),
        .space = {c->partition, c->tenant},
    };
    if (store_admit(all->worker->store, &scratch, &in, &all->ops, looked_up, lookup) == OK)
        list_append(&all->lookups, &lookup->link);
    else
        free(lookup);
    arena_fini(&scratch);
}

static bool is_looked_up(const struct sessions *all, const struct session *s, int64_t revocations)
{
    list_for (it, &all->lookups) {
        const struct lookup *l = list_entry(it, struct lookup, link);
        if (l->revocations == revocations && strcmp(l->credential, s->caller->credential) == 0)
            return true;
    }
    return false;
}

static void counter_read(void *arg, enum code c, const struct redis_value *v)
{
    struct counter *counter = arg;
    struct sessions *all = counter->sessions;
    if (c != OK)
        return;
    int64_t now = redis_int(v, 0), now_ms = store_now_ms(all->worker->store);
    list_for (it, &all->watched) {
        const struct session *s = session_of(it);
        bool over = s->expires_ms != 0 && s->expires_ms <= now_ms;
        if (s->caller->partition == counter->partition && (s->revocations != now || over) &&
            s->caller->credential[0] != '\0' && !is_looked_up(all, s, now))
            look_up(all, s, now);
    }
}

static void tick(void *arg)
{
    struct sessions *all = arg;
    struct arena scratch;
    uint64_t partitions = 0;
    list_for (it, &all->watched)
        partitions |= UINT64_C(1) << session_of(it)->caller->partition;
    arena_init(&scratch, 0);
    for (unsigned p = 0; p < ID_PARTITIONS; p++) {
        if ((partitions >> p & 1) == 0)
            continue;
        const struct store_command read = STORE_COMMAND(S("HGET"), key_meta(&scratch, p), S("revoked"));
        all->counters[p] = (struct counter){all, p};
        store_read(all->worker->store, &read, 1, &all->ops, counter_read, &all->counters[p]);
    }
    arena_fini(&scratch);
    if (partitions != 0)
        timer_start(&all->timer, &all->worker->loop, all->worker->settings->auth_trust, tick, all);
}

void session_watch(struct sessions *all, struct session *s, const struct caller *caller, void (*revoked)(void *arg),
                   void *arg)
{
    *s = (struct session){.caller = caller, .revocations = caller->revocations, .revoked = revoked, .arg = arg};
    list_append(&all->watched, &s->link);
    if (!timer_running(&all->timer))
        timer_start(&all->timer, &all->worker->loop, all->worker->settings->auth_trust, tick, all);
}

void session_unwatch(struct session *s)
{
    if (s->link.next != NULL)
        list_remove(&s->link);
}

struct sessions *sessions_new(struct worker *w)
{
    struct sessions *all = calloc(1, sizeof *all);
    if (all == NULL)
        return NULL;
    all->worker = w;
    list_init(&all->watched);
    list_init(&all->lookups);
    ops_init(&all->ops);
    return all;
}

void sessions_free(struct sessions *all)
{
    if (all == NULL)
        return;
    timer_stop(&all->timer);
    ops_detach(&all->ops);
    while (!list_empty(&all->lookups)) {
        struct list *link = all->lookups.next;
        list_remove(link);
        free(list_entry(link, struct lookup, link));
    }
    free(all);
}
