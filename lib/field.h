/* Declared fields: what a JSON object may hold. The same rows validate what comes in, order and render what goes out,
 * say what can be filtered and sorted, and describe themselves as JSON Schema.
 *
 * Rows end with {0}. Order in the source is for readers; output is in RFC 8785 member order. */
#ifndef LIB_FIELD_H
#define LIB_FIELD_H

#include "lib/json.h"

enum field_type {
    FIELD_NONE,
    FIELD_STRING, /* min, max: code points (max 0: FIELD_TEXT_MAX); pattern: see below */
    FIELD_INT,    /* min, max; both 0: any int64 */
    FIELD_NUMBER, /* min, max as whole bounds */
    FIELD_BOOL,
    FIELD_UUID,   /* lower-cased on the way in; `ref` names the kind it refers to */
    FIELD_TIME,   /* RFC 3339 in; UTC with milliseconds and Z out */
    FIELD_ENUM,   /* choices */
    FIELD_OBJECT, /* fields: its rows; NULL: any object */
    FIELD_MAP,    /* object of any names (1..FIELD_NAME_MAX code points) to `item` values; min, max: members */
    FIELD_LIST,   /* of `item`; min, max: elements. Items of both use `fields`, `choices`, `pattern`, `item_max` */
    FIELD_ANY     /* any JSON value */
};

/* Where rows say nothing. */
enum {
    FIELD_TEXT_MAX = 65536,
    FIELD_ITEM_MAX = 1024,
    FIELD_NAME_MAX = 128,
    FIELD_ITEMS_MAX = 1000,
    FIELD_FAULTS_MAX = 100
};

enum field_flag {
    FIELD_REQUIRED = 1,  /* with FIELD_READONLY: always there in what the server says, never asked for */
    FIELD_READONLY = 2,  /* set by the server; ignored in a body */
    FIELD_IMMUTABLE = 4, /* may be given at creation only; a differing later value is a fault */
    FIELD_NULLABLE = 8,
    FIELD_FILTER = 16, /* equality has an index */
    FIELD_SORT = 32,   /* order has an index */
    FIELD_UNIQUE = 64, /* unique per tenant and kind (per parent with FIELD_PER_PARENT) */
    FIELD_PER_PARENT = 128,
    FIELD_SECRET = 256, /* taken, sealed, never rendered */
    FIELD_LIVE = 512,   /* not stored: appended when the document is answered */
    FIELD_UNIQUE_ITEMS = 1024,
    FIELD_WRITEONLY = 2048, /* an alias or a command: taken, not rendered */
    FIELD_SEARCH = 4096,    /* may be filtered, but has no index: documents are examined */
    FIELD_ALWAYS = 8192,    /* need not be given, but is there in every answer: the server fills it in */
    FIELD_SCOPE = 16384     /* names what the object belongs to, for rights that are narrowed to it (server/scope.h) */
};

struct field {
    const char *name;
    enum field_type type;
    unsigned flags;
    int64_t min, max;
    const char *pattern;        /* a POSIX extended regular expression without back-references; anchored as written */
    const char *const *choices; /* ends with NULL */
    const struct field *fields;
    enum field_type item;
    const char *ref;
    const char *preset; /* JSON text of the default; NULL: absent */
    const char *doc;
    int64_t item_max;  /* code points of text items of a list or map; 0: FIELD_ITEM_MAX */
    const char *alias; /* this is another name of that member: taken, and known by that name from then on */
};

/* The codes of faults, and what each says; ends with a NULL code. Published with the codes of refusals. */
extern const struct fault_code {
    const char *code, *doc;
} fault_codes[];

/* One fault. */
struct fault {
    struct str field; /* "config.variables.x", "nodes[2].id", "query.pageSize" */
    struct str message;
    const char *code;
};
struct faults { /* collects up to FIELD_FAULTS_MAX; lives in the arena, and is not copied */
    struct arena *arena;
    struct fault *list, first[2]; /* list: `first`, until there are more */
    size_t n, room;
    bool more; /* than there was room for */
};
void faults_init(struct faults *f, struct arena *a);
void fault_add(struct faults *f, struct str field, const char *code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

enum field_mode {
    FIELD_CREATE, /* required fields must be there, defaults are filled in */
    FIELD_CHANGE, /* a merge patch (RFC 7396): nothing is required, null takes a member away that is not required */
    FIELD_WHOLE   /* as the server answers: read-only members belong, secrets do not, what is always there must be */
};
/* Checks `body` against the rows and answers a normalised tree in the arena (defaults filled, read-only members
 * dropped, aliases resolved, UUIDs and times in their one form), or NULL when memory ran out. All faults are reported,
 * not the first; what was faulty is not in the tree. It shares scalars with `body`, which lives as long. */
struct json *field_check(const struct field *rows, const struct json *body, enum field_mode mode,
                         struct faults *faults);
/* Members of `patch` (checked, FIELD_CHANGE) that are immutable and differ from those of `before`. */
void field_check_immutable(const struct field *rows, const struct json *before, const struct json *patch,
                           struct faults *faults);

/* Dotted paths go into objects with rows, and name a map with any one name behind it: "labels.role" is the row
 * `labels`.
 */
const struct field *field_find(const struct field *rows, struct str name);
/* The rows' indexes in RFC 8785 member order, ending with -1. Made once per thread. NULL: memory ran out. */
const int *field_order(const struct field *rows);

/* JSON Schema 2020-12 of the rows as an object schema. `input`: as a body (no read-only members). */
void field_schema(struct json_out *o, const struct field *rows, bool input);
/* The same in the reading of a mode: FIELD_CHANGE for the body of a change. */
void field_schema_mode(struct json_out *o, const struct field *rows, enum field_mode mode);
/* The schema of one row's value; a parameter's, for example. */
void field_schema_value(struct json_out *o, const struct field *row, enum field_mode mode);

#endif
