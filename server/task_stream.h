/* The agent's task stream: GET /agents/{id}/task-stream, WebSocket only, for the agent itself.
 *
 * A feed of the agent's channel (server/feed.h) that starts with its settings and all its open tasks, whatever `since`
 * says, and takes the agent's messages (server/agent/protocol.h). What it says of a task becomes an entry of the run's
 * inbox, its lines an append to the run's log; each message is answered by `ack` once that is committed, or by `nack` when
 * it could not be and is to be said again. */
#ifndef SERVER_TASK_STREAM_H
#define SERVER_TASK_STREAM_H

#include "server/resource.h"

enum flow task_stream_open(struct request *r);
extern const struct field task_stream_query[];

#endif
