/* What lib/json.c and lib/json_parse.c know of a node; nobody else looks inside. */
#ifndef LIB_JSON_INTERNAL_H
#define LIB_JSON_INTERNAL_H

#include "lib/json.h"

struct json_member {
    struct str name;
    struct json *value;
};

struct json {
    enum json_type type;
    uint32_t room; /* elements or members there is memory for */
    size_t n;      /* bytes of a string, elements, members */
    union {
        bool truth;
        int64_t whole;
        double real;
        const char *text; /* NUL-terminated */
        struct json **elements;
        struct json_member *members;
    };
    uint32_t *slots; /* of an object with many members: where each is, by its name; NULL while they are few */
};

extern struct json json_null, json_true, json_false; /* nobody changes a scalar, so one of each does */

struct json *json_node(struct arena *a, enum json_type type, size_t n); /* not filled in; NULL: no memory */

/* Makes the n members that were just put into `object` to be found by name. false: no memory, or *twice is the name of
 * two of them. */
bool json_settle(struct arena *a, struct json *object, struct str *twice);

#endif
