#include "server/peer.h"

#include <stdlib.h>
#include <string.h>

void peers_init(struct peers *p)
{
    for (size_t i = 0; i < PEER_BUCKETS; i++)
        list_init(&p->buckets[i]);
}

struct peer *peer_take(struct peers *p, struct str address)
{
    struct list *bucket = &p->buckets[str_hash(address) % PEER_BUCKETS];
    list_for (it, bucket) {
        struct peer *known = list_entry(it, struct peer, link);
        if (str_eq((struct str){known->text, known->n}, address)) {
            known->connections++;
            return known;
        }
    }
    struct peer *fresh = calloc(1, sizeof(*fresh));
    if (fresh == NULL)
        return NULL;
    fresh->n = address.n < sizeof(fresh->text) ? address.n : sizeof(fresh->text) - 1;
    memcpy(fresh->text, address.p, fresh->n);
    fresh->connections = 1;
    list_append(bucket, &fresh->link);
    return fresh;
}

void peer_drop(struct peer *peer)
{
    if (peer == NULL || --peer->connections > 0)
        return;
    list_remove(&peer->link);
    free(peer);
}
