/* TLS, sans-IO, for both ends: bytes in, bytes out. With proto/pk.h the face of mbedTLS.
 *
 *     struct str in = bytes;
 *     for (;;)
 *         switch (tls_feed(t, &in)) {
 *         case TLS_MORE:   return;                       // `in` is empty
 *         case TLS_OPENED: ...  break;                   // the handshake is over: tls_write may begin
 *         case TLS_BYTES:  handle(tls_bytes(t)); break;  // valid until the next call with the same context
 *         case TLS_ENDED:  ...  return;                  // the other side said goodbye (close_notify)
 *         case TLS_FAULT:  close; return;                // tls_why; an alert was sent where one is due
 *         }
 *
 * What is to go to the other side is handed to `send` inside these calls. TLS 1.2 with ECDHE and AEAD suites, and
 * TLS 1.3 where mbedTLS is 3; no renegotiation, no compression, ALPN "http/1.1". A server resumes sessions by tickets
 * (RFC 5077) and remembers nothing; server names (SNI) are not looked at: there is one certificate.
 *
 * A context and everything made from it belong to one thread. */
#ifndef PROTO_TLS_H
#define PROTO_TLS_H

#include "lib/list.h"
#include "lib/str.h"

struct stream;
struct tls;
struct tls_context;

/* Where the keys of tickets come from: each six hours of the wall clock have their own, a hash of the seed and the time.
 * Contexts of one seed take each other's tickets, in whichever process they are, with clocks up to six hours apart. Who
 * has the seed can open every ticket there was: it is a secret like those it is made of. Wipe it when the contexts are
 * made. */
struct tls_seed {
    uint8_t key[32];
};

struct tls_server {
    struct str
        certificate; /* PEM: the server's own, then those between it and the root. A NUL byte follows each text */
    struct str key;  /* PEM, without a password */
    const struct tls_seed *seed;
};

enum { TLS_WHY = 160 };
/* What holds for all connections of one side. NULL after a sentence in `why`. Nothing of what is given is kept. */
struct tls_context *tls_context_server(const struct tls_server *server, char why[TLS_WHY]);
/* Takes peers whose certificate leads to one of `roots` (PEM, a NUL byte follows). */
struct tls_context *tls_context_client(struct str roots, char why[TLS_WHY]);
/* The same with the roots of the file `ca`; "": with those of the system, which the variable SSL_CERT_FILE may name. */
struct tls_context *tls_trust(const char *ca, char why[TLS_WHY]);
struct tls_context *tls_context_keep(struct tls_context *c);
void tls_context_drop(struct tls_context *c);       /* it goes with its last connection; NULL is fine */
int64_t tls_expires_s(const struct tls_context *c); /* end of the server's own certificate, Unix time */

enum tls_event { TLS_MORE, TLS_OPENED, TLS_BYTES, TLS_ENDED, TLS_FAULT };

/* `host`: whom a client wants to talk to, a name or an address without brackets; its certificate must name it.
 * `send` gets whole records, borrowed for the call, and must take them; false: it cannot, and the connection is over.
 * NULL: no memory. */
struct tls *tls_new(struct tls_context *c, struct str host, bool (*send)(void *arg, struct str bytes), void *arg);
void tls_free(struct tls *t); /* NULL is fine */
/* A client begins with nothing: its first message goes out. */
enum tls_event tls_feed(struct tls *t, struct str *in);
struct str tls_bytes(const struct tls *t);
bool tls_write(struct tls *t, struct str bytes); /* after TLS_OPENED; false: the connection is over */
void tls_end(struct tls *t);                     /* says goodbye; nothing may be written behind it */
const char *tls_why(const struct tls *t);
bool tls_begun(const struct tls *t);   /* what came first looked like TLS */
bool tls_resumed(const struct tls *t); /* a ticket was taken */
/* "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256 http/1.1" */
void tls_describe(const struct tls *t, struct buf *out);

/* --- under a stream of lib/stream.h: its owner reads and writes as if there were none --- */

/* Where a loop's clients come in: their handshakes, which cost memory and time, and are told apart from what is
 * established. Zeroed but for the first ones. */
struct tls_door {
    struct tls_context *context; /* for those who come now */
    int64_t handshake_ms;        /* for a handshake */
    size_t handshakes_max;       /* under way; with one more the one that was silent for the longest is cut */
    uint64_t turn_ns;            /* for handshakes in one turn of the loop, at least one step; 0: 2 ms */
    struct str plain;            /* of static storage: what a client gets that begins to speak HTTP without TLS */
    uint64_t done, resumed, failed, late, displaced;
    size_t under_way;
    struct list waiting; /* private from here */
    size_t lined;        /* of these, those whose bytes wait for a turn */
    int64_t turn_ms;
    uint64_t spent_ns;
};
void tls_door_init(struct tls_door *door);

/* Right after stream_open_fd: the server's side. False: no memory, close the stream. */
bool tls_accept(struct stream *s, struct tls_door *door);
/* Right after stream_connect: the client's side. on_open comes when the handshake is over; the stream ends with
 * STREAM_LOST when the peer cannot be trusted or its end is not its own (a truncation), and with STREAM_TIMEOUT when the
 * handshake takes longer than `handshake_ms` (0: the caller has a deadline of its own). */
bool tls_connect(struct stream *s, struct tls_context *c, struct str host, int64_t handshake_ms);
/* In on_close: what went wrong with TLS; NULL: nothing, or there was none. */
const char *tls_fault(const struct stream *s);

#endif
