/* WebSocket (RFC 6455), sans-IO, for both ends: bytes in, events out.
 *
 *     struct str in = bytes;
 *     for (;;)
 *         switch (ws_feed(&w, &in)) {
 *         case WS_MORE:    return;                              // `in` is empty
 *         case WS_MESSAGE: handle(w.opcode, w.payload); break;  // whole, unmasked; text is valid UTF-8
 *         case WS_PINGED:  write a pong with w.payload; break;
 *         case WS_PONGED:  break;
 *         case WS_CLOSED:  answer with w.code, then close; return;
 *         case WS_FAULT:   send a close frame with w.code, then close; return;
 *         }
 *
 * A payload is valid until the next call. A message that arrives whole in one read costs one copy into a buffer that is
 * given back when nothing of a message is pending, so an idle connection holds no memory but this struct. After
 * WS_CLOSED and WS_FAULT every byte is ignored.
 *
 * The one extension is permessage-deflate (RFC 7692), of a server that sets `deflate` once it was agreed on: messages may
 * come compressed, and count with the bytes that they are then. Without it any reserved bit is a fault. */
#ifndef PROTO_WS_H
#define PROTO_WS_H

#include "lib/str.h"

struct deflate; /* proto/deflate.h */
struct http_head;

enum ws_role { WS_SERVER, WS_CLIENT }; /* a server's peer must mask, a client's must not (§5.1) */
enum ws_opcode { WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };
enum ws_event { WS_MORE, WS_MESSAGE, WS_PINGED, WS_PONGED, WS_CLOSED, WS_FAULT };

enum ws_code { /* of close frames, §7.4.1; 3000-4999 are free to use */
               WS_NORMAL = 1000,
               WS_GOING_AWAY = 1001,
               WS_PROTOCOL_ERROR = 1002,
               WS_UNSUPPORTED = 1003,
               WS_NO_CODE = 1005, /* never sent: the peer's close frame had none */
               WS_NOT_UTF8 = 1007,
               WS_POLICY = 1008,
               WS_TOO_BIG = 1009,
               WS_INTERNAL = 1011,
               WS_RESTART = 1012,
               WS_TRY_LATER = 1013
};

struct ws_limits {
    uint64_t message;   /* bytes of a message over all its fragments, decompressed */
    uint32_t fragments; /* frames of a message */
    int code;           /* close code when either is passed; 0: WS_TOO_BIG */
};

struct ws {
    enum ws_opcode opcode;          /* of WS_MESSAGE */
    struct str payload;             /* of WS_MESSAGE, WS_PINGED, WS_PONGED; the reason of WS_CLOSED */
    int code;                       /* of WS_CLOSED and WS_FAULT */
    const char *why;                /* of WS_FAULT */
    struct deflate *deflate;        /* the owner's, set after ws_init; NULL: compression was not agreed on */
    const struct ws_limits *limits; /* private from here */
    struct buf message;
    uint64_t left;      /* payload bytes of the present frame still to come */
    uint32_t fragments; /* frames of the present message so far; 0: between messages */
    uint32_t utf8;      /* where the validation of the present text stands */
    uint8_t role, state, kind;
    uint8_t head_n, control_n;
    uint8_t mask[4];
    uint8_t mask_at; /* which byte of the mask is next */
    bool packed;     /* the present message is compressed */
    bool handed;     /* the message was handed over: the next call forgets it */
    uint8_t head[14], control[125];
};

/* `limits` outlives the struct. */
void ws_init(struct ws *w, enum ws_role role, const struct ws_limits *limits);
void ws_fini(struct ws *w);
enum ws_event ws_feed(struct ws *w, struct str *in);
/* Nothing of a message has arrived that is not handed over yet. */
bool ws_idle(const struct ws *w);

/* Frames to send. Server frames are not masked; a client's have a fresh random mask each. */
void ws_write(struct buf *b, enum ws_role role, enum ws_opcode opcode, struct str payload);
void ws_write_close(struct buf *b, enum ws_role role, int code, struct str reason); /* code 0 or 1005: empty frame */
/* The head of an unmasked, unfragmented frame, for whoever writes the payload himself; returns its length. */
enum { WS_HEAD_MAX = 10 };
size_t ws_write_head(uint8_t out[WS_HEAD_MAX], enum ws_opcode opcode, uint64_t length);
/* Whether a close frame may carry this code (§7.4). */
bool ws_code_ok(int code);

/* The same as ws_write for a server, but compressed where that makes it smaller, for whoever agreed to that. Short ones
 * never are: little is saved by it, and nothing but time spent. */
enum { WS_DEFLATE_MIN = 512 }; /* bytes */
void ws_write_packed(struct buf *b, struct deflate *d, enum ws_opcode opcode, struct str payload);

/* Handshake, server side (§4.2): 0 when the request may be upgraded, else the status to refuse with: 400, or 426 (which
 * goes with the fields Upgrade: websocket and Sec-WebSocket-Version: 13). `why` says what is missing. */
int ws_check_request(const struct http_head *h, const char **why);
enum { WS_ACCEPT = 29, WS_KEY = 25 };
void ws_accept(struct str key, char out[WS_ACCEPT]); /* Sec-WebSocket-Accept, with a NUL */
/* The fields of a 101 answer for this request, each with its CRLF, without the empty line. */
void ws_write_accept(struct buf *b, const struct http_head *h);
/* Agrees to the first offer of permessage-deflate that can be met: both sides start anew with each message, the client
 * has the whole window. Adds the field of the 101 answer. False: there is no such offer, nothing was added. */
bool ws_accept_deflate(struct buf *b, const struct http_head *h);

/* Client side (§4.1): a fresh key, and whether the answer accepts it. */
void ws_new_key(char out[WS_KEY]);
bool ws_check_response(const struct http_head *h, const char *key);

#endif
