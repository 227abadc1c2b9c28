/* The client's side of many WebSockets: what the loads have in common that open some and look at text frames. */
#ifndef TEST_BENCH_SUBSCRIBER_H
#define TEST_BENCH_SUBSCRIBER_H

#include "test/bench/bench.h"

struct subscriber {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct secure *secure; /* with --tls */
    bool upgraded, done;
    struct buf kept; /* what is not a whole frame yet */
};

struct subscribers {
    struct load *load;
    uv_loop_t loop;
    struct subscriber *all;
    unsigned opened, upgraded;
    uint64_t now; /* when the bytes came that are looked at */
    void (*on_upgraded)(struct subscriber *s);
    void (*on_frame)(struct subscriber *s, struct str frame);
};
extern struct subscribers subscribers; /* of this program */

/* Opens them, at most 64 handshakes at once: more is what a server may refuse. The callbacks are set. */
void subscribers_open(struct load *load);

#endif
