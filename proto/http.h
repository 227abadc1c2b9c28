/* HTTP/1.1 messages (RFC 9110, 9112), sans-IO: bytes in, events out, no socket and no allocation but one buffer.
 *
 * Everything line-structured (request line, header lines, chunk-size lines, trailers) is collected, checked by our own
 * rules and only then shown to llhttp, which decides the framing. Both must agree: llhttp alone takes `GET /` without a
 * version, HTTP/2.0, bare CR and LF, `Host : a`, folded lines, several Hosts, any transfer coding before chunked, and
 * lengths up to 2^64-1. What either refuses is a fault with a status; after a fault the parser takes no more bytes and
 * the connection is to be closed once the answer is out.
 *
 *     struct str in = bytes;
 *     for (;;)
 *         switch (http_feed(&p, &in)) {           // eats from the front of `in`
 *         case HTTP_MORE:  return;                // `in` is empty: come back with more
 *         case HTTP_GOT_HEAD:  use(&p.head); break;   // may raise or lower p.body_max now
 *         case HTTP_GOT_BODY:  append(p.data); break; // valid until the next call
 *         case HTTP_END:   answer(); http_next(&p); break;
 *         case HTTP_FAULT: refuse(p.status, p.why); return;
 *         }
 *
 * The head is there from HTTP_GOT_HEAD until http_next or http_parser_fini; after a fault before that it is empty.
 * Trailers are checked and dropped. */
#ifndef PROTO_HTTP_H
#define PROTO_HTTP_H

#include "lib/str.h"

enum { HTTP_FIELDS_MAX = 128, HTTP_CHUNK_LINE_MAX = 256 };

struct http_limits {
    uint32_t line;   /* bytes of the request line: 414 */
    uint32_t head;   /* bytes of request line and header lines together: 431; trailers have the same bound */
    uint32_t fields; /* header lines, at most HTTP_FIELDS_MAX: 431 */
    uint64_t body;   /* bytes of a body unless body_max is changed at HTTP_GOT_HEAD: 413 */
};
extern const struct http_limits http_limits_default; /* 8 KiB, 16 KiB, 100, 1 MiB */

struct http_field { /* offsets into the head's text; see http_field_at */
    uint32_t name, name_n, value, value_n;
};

struct http_head {
    struct str method; /* of a request, as sent */
    struct str target; /* as sent */
    struct str path;   /* of the target, still encoded; "*" for OPTIONS * */
    struct str query;  /* behind the '?', still encoded; .p is NULL without a '?' */
    struct str host;   /* from an absolute target, else from Host: "name", "name:port", "[::1]:80" */
    struct str reason; /* of a response */
    int status;        /* of a response */
    int minor;         /* HTTP/1.minor */
    int64_t length;    /* Content-Length; -1 when there is none */
    bool chunked;
    bool keep_alive;      /* what the sender allows */
    bool upgrade;         /* Upgrade and Connection: upgrade are both there */
    bool expect_continue; /* Expect: 100-continue, in HTTP/1.1 only */
    bool has_body;        /* a body of at least one byte, or of unknown length, follows */
    const char *text;     /* private from here */
    size_t n;
    struct http_field fields[HTTP_FIELDS_MAX];
};

/* The value of the first field of that name, which must be given in lower case; STR_NONE when absent. Host,
 * Content-Length, Content-Type, Authorization and others that may come once are checked to. */
struct str http_header(const struct http_head *h, struct str name);
/* i-th field, names in lower case; false past the end. */
bool http_field_at(const struct http_head *h, size_t i, struct str *name, struct str *value);
/* Whether a comma-separated field (all its lines) has this token, ASCII case folded: ("connection", "upgrade"). */
bool http_has_token(const struct http_head *h, struct str name, struct str token);

enum http_role { HTTP_SERVER, HTTP_CLIENT }; /* reads requests; reads responses */
enum http_event { HTTP_MORE, HTTP_GOT_HEAD, HTTP_GOT_BODY, HTTP_END, HTTP_FAULT };

struct http_parser {
    struct http_head head;
    struct str data;           /* of HTTP_GOT_BODY */
    int status;                /* of HTTP_FAULT: what to answer, 400 405 413 414 417 431 501 505; 502 for a client */
    const char *why;           /* of HTTP_FAULT: a sentence */
    uint64_t body_max;         /* for this message; reset by http_next */
    bool no_body;              /* client: the response answers a HEAD request */
    uint64_t body_n;           /* bytes of body so far */
    struct http_limits limits; /* private from here */
    enum http_role role;
    int state;
    bool complete;        /* llhttp has seen the end of the message */
    uint8_t blank;        /* bytes of empty lines before the message */
    uint32_t seen;        /* bit per field that may come once */
    uint64_t left;        /* bytes of the body or chunk still to come */
    size_t line;          /* where the present line of the head begins */
    size_t overhead;      /* bytes of chunk extensions, then of trailers */
    struct buf text;      /* the head */
    struct buf side;      /* a chunk-size or trailer line that came in parts */
    uint64_t machine[16]; /* llhttp_t */
};

void http_parser_init(struct http_parser *p, enum http_role role, const struct http_limits *limits);
void http_parser_fini(struct http_parser *p);
enum http_event http_feed(struct http_parser *p, struct str *in);
/* After HTTP_END: ready for the next message; keeps the buffer. */
void http_next(struct http_parser *p);
/* The peer closed: HTTP_END for a response that lasts until then, HTTP_MORE between messages, else HTTP_FAULT. */
enum http_event http_eof(struct http_parser *p);
/* Nothing of a message has arrived yet. */
bool http_idle(const struct http_parser *p);

/* Decodes the path of a target strictly: false on a bad escape, a NUL or control byte, or bytes that are not UTF-8. An
 * encoded slash or per cent sign stays as %2F or %25, so that segments can still be told apart; http_segment decodes
 * those once the path has been split. Nothing longer comes out than goes in; `out` is appended to. */
bool http_path(struct buf *out, struct str path);
bool http_segment(struct buf *out, struct str segment);

/* Writing. Names are static; a value with a control byte makes the buffer `failed` (no response splitting). */
void http_write_status(struct buf *b, int status);                            /* status line and Date */
void http_write_request(struct buf *b, struct str method, struct str target); /* request line */
void http_write_field(struct buf *b, struct str name, struct str value);      /* "Name: value" */
void http_write_number(struct buf *b, struct str name, uint64_t value);
void http_write_end(struct buf *b);
const char *http_reason(int status); /* "Not Found"; "Unknown" */
/* IMF-fixdate of now, from a cache of this thread that changes each second. */
struct str http_date(void);

#endif
