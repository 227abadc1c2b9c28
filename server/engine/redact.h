/* What must not be shown: values whose names say that they are secrets. */
#ifndef SERVER_ENGINE_REDACT_H
#define SERVER_ENGINE_REDACT_H

#include "lib/json.h"

#define REDACTED "***"

/* Contains, in any case and with any of `-_.` between: password passwd passphrase secret token apikey credential
 * privatekey accesskey authorization cookie. */
bool redact_name(struct str name);
/* The tree with every value under such a name replaced by "***", nulls and booleans excepted. */
void redact_write(struct json_out *o, const struct json *j);

/* A run's inputs: also those that the template declares as secret-ref. */
void redact_inputs_write(struct json_out *o, const struct json *inputs, const struct json *declared);
/* The texts below such names, at most `most`; `n` counts on. They are borrowed from the tree. */
void redact_collect(const struct json *j, struct str *out, size_t most, size_t *n);

#endif
