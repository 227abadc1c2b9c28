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

#endif
