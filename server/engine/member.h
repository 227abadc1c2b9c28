/* Members of the documents and frames of runs. What says nothing is left out: an empty text, a time of 0. */
#ifndef SERVER_ENGINE_MEMBER_H
#define SERVER_ENGINE_MEMBER_H

#include "lib/json.h"

struct step;
struct step_attempt;

void member_text(struct json_out *o, const char *name, struct str text);
void member_raw(struct json_out *o, const char *name, struct str json);
void member_time(struct json_out *o, const char *name, int64_t ms);
void member_duration(struct json_out *o, int64_t from_ms, int64_t to_ms); /* `duration`, in seconds */
/* These are always there. */
void member_int(struct json_out *o, const char *name, int64_t v);
void member_seconds(struct json_out *o, const char *name, int64_t ms);

/* `error` of a step that failed: {message, retriable, type}. */
void member_error(struct json_out *o, const struct step *s);
/* An element of `attempts`. */
void member_attempt(struct json_out *o, const struct step_attempt *a);

#endif
