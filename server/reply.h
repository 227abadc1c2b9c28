/* Between steps.c, reply.c, auth.c and idempotency.c; handlers use server/request.h. */
#ifndef SERVER_REPLY_H
#define SERVER_REPLY_H

#include "server/request.h"

/* The admission that ran beside a reading handler came back: sends the held answer, if there is one already. */
void reply_release(struct request *r);
/* Forgets a held answer: the admission was refused, and the refusal is the answer. */
void reply_forget(struct request *r);
/* Sends the answer that waited for its idempotency record. */
void reply_kept(struct request *r, int status, const char *type, struct str body);

/* Once the caller is known, or needs not be: 404, 405, OPTIONS and faults of the query string; NEXT when the route is
 * there. */
enum flow request_routable(struct request *r);

/* [{"field":…,"message":…,"code":…},…] */
void reply_faults(struct json_out *o, const struct faults *faults);
/* A list of entity tags (RFC 9110 §8.8.3) names `tag` (without quotes), or is `*`. `weak`: W/ counts as well. */
bool reply_tag_listed(struct str list, struct str tag, bool weak);

#endif
