/* Parts of the OpenAPI document. Between openapi.c (the whole, components) and openapi_operation.c (one operation). */
#ifndef SERVER_OPENAPI_PART_H
#define SERVER_OPENAPI_PART_H

#include "server/openapi.h"

struct code_set {
    bool has[CODES];
};

/* One method of one path. */
struct operation {
    const struct dialect *dialect;
    const struct resource *resource;
    const struct route *route;
    enum method method;
};

void operation_write(struct json_out *o, const struct operation *op);
/* Which codes it may answer with, by its rows. */
void operation_codes(const struct operation *op, struct code_set *out);

/* Error answers that are the same for many operations: #/components/responses/<name>. Ends with a NULL name. */
struct shared_response {
    const char *name;
    enum code codes[8]; /* ends with OK */
};
extern const struct shared_response shared_responses[];
/* Are `codes` just those that `set` has for the status? */
bool response_matches(const struct code_set *set, int status, const enum code *codes);
/* The response's members: description, headers, content. */
void error_response_write(struct json_out *o, const struct dialect *d, const struct code_set *codes, int status,
                          bool page); /* page: shown to people as HTML, but for refusals from below */

enum schema_use { SCHEMA_DATA, SCHEMA_CREATE, SCHEMA_CHANGE };
/* "Environment", "EnvironmentCreate", "EnvironmentChange" */
void schema_name(struct buf *b, const struct resource *r, enum schema_use use);
void schema_ref(struct json_out *o, const struct resource *r, enum schema_use use);
/* Does an operation of the resource need the component? */
bool schema_used(const struct resource *r, enum schema_use use);

/* Shorthand. */
void put_z(struct json_out *o, const char *key, const char *value);
void put_raw(struct json_out *o, const char *key, const char *json);
void open_key(struct json_out *o, const char *key, char bracket);

#endif
