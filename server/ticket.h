/* Tickets: what opens one stream in place of a token that must not stand in a URL (`?token=slt_…`). Made by POST
 * /stream-tickets for whoever asks, good once, on any instance, for `stream.ticket-ttl`; they give what their maker may do,
 * and end with the credential they were made with. The store keeps their hash; taking one removes its record, and only
 * who removed it has it. */
#ifndef SERVER_TICKET_H
#define SERVER_TICKET_H

#include "lib/id.h"
#include "server/request.h"
#include "server/store/store.h"

struct commit;

#define TICKET_PREFIX "slt"

/* Makes one for the request's caller, in the commit; memory that runs out fails it. */
void ticket_add(struct commit *c, const struct request *r, char secret[ID_KEY_MAX]);

/* The two commands that take the ticket with this hash (auth_credential), in one trip, and what they answered: false when
 * it is used, over or unknown. The caller's texts live in the arena; `permissions` and `narrowed` of a key are to be read
 * from its record. */
enum { TICKET_COMMANDS = 2 };
void ticket_take(struct arena *a, unsigned partition, struct str hex, struct store_command out[TICKET_COMMANDS]);
bool ticket_taken(struct arena *a, unsigned partition, const struct redis_value *v, struct caller *out);

#endif
