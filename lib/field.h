/* Declared fields: what a JSON object may hold. The same rows validate what comes in, order and render what goes out,
 * say what can be filtered and sorted, and describe themselves as JSON Schema.
 *
 * Rows end with {0}. Order in the source is for readers; output is in RFC 8785 member order. */
#ifndef LIB_FIELD_H
#define LIB_FIELD_H

#include "lib/json.h"

enum field_type {
    FIELD_NONE,
    FIELD_STRING,  /* min, max: code points; pattern: see below */
    FIELD_INT,     /* min, max; both 0: any int64 */
    FIELD_NUMBER,  /* min, max as whole bounds */
    FIELD_BOOL,
    FIELD_UUID,    /* lower-cased on the way in; `ref` names the kind it refers to */
    FIELD_TIME,    /* RFC 3339 in; UTC with milliseconds and Z out */
    FIELD_ENUM,    /* choices */
    FIELD_OBJECT,  /* fields: its rows; NULL: any object */
    FIELD_MAP,     /* object of any names (1..max_key code points) to `item` values; min, max: members */
    FIELD_LIST,    /* of `item` (with `fields` or `choices` for objects and enums); min, max: elements */
    FIELD_ANY      /* any JSON value */
};

enum field_flag {
    FIELD_REQUIRED = 1,
    FIELD_READONLY = 2,  /* set by the server; ignored in a body */
    FIELD_IMMUTABLE = 4, /* may be given at creation only; a differing later value is a fault */
    FIELD_NULLABLE = 8,
    FIELD_FILTER = 16,   /* equality has an index */
    FIELD_SORT = 32,     /* order has an index */
    FIELD_UNIQUE = 64,   /* unique per tenant and kind (per parent with FIELD_PER_PARENT) */
    FIELD_PER_PARENT = 128,
    FIELD_SECRET = 256,  /* taken, sealed, never rendered */
    FIELD_LIVE = 512,    /* not stored: appended when the document is answered */
    FIELD_UNIQUE_ITEMS = 1024,
    FIELD_WRITEONLY = 2048, /* an alias or a command: taken, not rendered */
    FIELD_SEARCH = 4096  /* may be filtered, but has no index: documents are examined */
};

struct field {
    const char *name;
    enum field_type type;
    unsigned flags;
    int64_t min, max;
    const char *pattern;         /* a POSIX extended regular expression without back-references; anchored as written */
    const char *const *choices;  /* ends with NULL */
    const struct field *fields;
    enum field_type item;
    const char *ref;
    const char *preset;          /* JSON text of the default; NULL: absent */
    const char *doc;
};

/* One fault, in the words of the published codes: "VAL_REQUIRED", "VAL_INVALID_TYPE", "VAL_INVALID_FORMAT",
 * "VAL_INVALID_ENUM", "VAL_OUT_OF_RANGE", "VAL_TOO_LONG", "VAL_UNKNOWN_FIELD", "VAL_INVALID_FILTER", "VAL_INVALID_SORT". */
struct fault {
    struct str field; /* "config.variables.x", "nodes[2].id", "query.pageSize" */
    struct str message;
    const char *code;
};
struct faults { /* collects up to 100; lives in the arena */
    struct arena *arena;
    struct fault list[100];
    size_t n;
    bool more;
};
void faults_init(struct faults *f, struct arena *a);
void fault_add(struct faults *f, struct str field, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

enum field_mode {
    FIELD_CREATE, /* required fields must be there, defaults are filled in */
    FIELD_CHANGE, /* a merge patch: nothing is required, null takes a nullable field away */
    FIELD_WHOLE   /* a stored or rendered document: unknown or missing members are faults (tests) */
};
/* Checks `body` against the rows and answers a normalised tree in the arena (defaults filled, read-only members dropped,
 * UUIDs and times in their one form), or NULL when memory ran out. All faults are reported, not the first. */
struct json *field_check(const struct field *rows, const struct json *body, enum field_mode mode, struct faults *faults);

const struct field *field_find(const struct field *rows, struct str name); /* dotted paths go into objects and maps */
/* JSON Schema 2020-12 of the rows as an object schema. `input`: as a body (no read-only members). */
void field_schema(struct json_out *o, const struct field *rows, bool input);

#endif
