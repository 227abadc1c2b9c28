/* Events of a tenant's dashboard (spec §13.6): whoever changes what dashboards show writes one in the very commit of the
 * change. They stand in the channel `dashboard`, numbered for ever and kept for ten minutes; the figures beside them are
 * never in it (server/dashboard/board.h). */
#ifndef SERVER_DASHBOARD_EVENT_H
#define SERVER_DASHBOARD_EVENT_H

#include "server/store/commit.h"

#define DASHBOARD_CHANNEL "dashboard"
enum { DASHBOARD_WINDOW_MS = 10 * 60 * 1000 };

/* `rest`: as commit_event takes it. */
static inline void dashboard_event(struct commit *c, struct str rest)
{
    commit_event(c, S(DASHBOARD_CHANNEL), rest);
    commit_window(c, S(DASHBOARD_CHANNEL), DASHBOARD_WINDOW_MS);
}
/* Says to whoever looks at a dashboard that figures may have changed without an event, after the commit. Without a
 * guarantee: what is not heard of is seen by the next look (server/dashboard/board.h). */
struct worker;
void dashboard_nudge(struct worker *w, struct space s);
/* The same for documents of this kind, if they are counted and have no events of their own. */
void dashboard_nudge_for(struct worker *w, struct space s, const char *kind);

#endif
