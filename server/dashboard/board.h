/* A tenant's dashboards on one worker: the figures, read once for all of them.
 *
 * A feed that opens is given figures read after it asked (feeds that open together share a reading). From then on it is
 * sent `metrics_updated`, the members that changed since what it was told last: at most once a second, when events came
 * or somebody opened (who may be told everything once more), and looked at every 15 seconds, for what was not heard of
 * and because windows of time move. The message is encoded once for everybody who sees the whole tenant. While nobody
 * looks nothing is read.
 *
 * These are the hooks of the dashboard's feed_spec. */
#ifndef SERVER_DASHBOARD_BOARD_H
#define SERVER_DASHBOARD_BOARD_H

#include "server/feed.h"

struct board; /* one tenant's; worker->boards is the list of those in use */

enum { BOARD_GAP_MS = 1000, BOARD_LOOK_MS = 15000 };

enum code board_gather(struct feed *f);
bool board_snapshot(const struct feed_state *state, struct json_out *o);
void board_greet(const struct feed_state *state);
void board_moved(struct feed *f);
void board_leave(struct feed *f);

#endif
