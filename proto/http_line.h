/* The rules for one line of an HTTP message, without its CRLF: pure checks, used by proto/http.c before llhttp sees the
 * line. A refusal has a status and a sentence; status 0 means the line is fine. */
#ifndef PROTO_HTTP_LINE_H
#define PROTO_HTTP_LINE_H

#include "proto/http.h"

struct http_refusal {
    int status;
    const char *why;
};

/* "METHOD target HTTP/1.x": sets method, target and minor. */
struct http_refusal http_line_request(struct str line, struct http_head *h);
/* "HTTP/1.x 200 reason": sets status, reason and minor. */
struct http_refusal http_line_status(struct str line, struct http_head *h);
/* Splits the target into path, query and host (RFC 9112 §3.2). */
struct http_refusal http_line_target(struct http_head *h);
/* "Name: value" (RFC 9112 §5): turns the name into lower case where it stands; offsets are relative to `line`. */
struct http_refusal http_line_field(char *line, size_t n, struct http_field *f);
/* "1f;extension" (RFC 9112 §7.1), with the size below 2^63. */
struct http_refusal http_line_chunk(struct str line, uint64_t *size);
/* uri-host [":" port] (RFC 9110 §7.2), not empty. */
bool http_line_host(struct str value);
/* A Content-Length value: digits only. 413 when it is beyond 63 bits. */
struct http_refusal http_line_length(struct str value, int64_t *length);

/* No byte below 0x20 but HTAB, and no DEL (field-value, RFC 9110 §5.5). */
bool http_text_ok(const char *p, size_t n);

#endif
