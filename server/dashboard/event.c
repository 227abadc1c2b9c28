#include "server/dashboard/event.h"

#include <string.h>

#include "server/worker.h"

static void said(void *arg, enum code code, const struct redis_value *v)
{
    (void)arg;
    (void)code;
    (void)v;
}

/* A note to the channel's followers, as hub_note makes them. */
void dashboard_nudge(struct worker *w, struct space s)
{
    struct arena scratch;
    arena_init(&scratch, 0);
    const struct store_command publish =
        STORE_COMMAND(S("PUBLISH"), key_channel(&scratch, s, S(DASHBOARD_CHANNEL)), S("!figures"));
    store_read(w->store, &publish, 1, NULL, said, NULL);
    arena_fini(&scratch);
}

void dashboard_nudge_for(struct worker *w, struct space s, const char *kind)
{
    static const char *const kinds[] = {"environment", "target"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(kind, kinds[i]) == 0)
            dashboard_nudge(w, s);
}
