/* A stored document: the public JSON of one resource, made from the rows, with its revision and the number of its schema.
 *
 * What is stored is what is answered: canonical JSON (RFC 8785) of every member that is neither live nor secret, so its
 * bytes can be spliced into an envelope, hashed and signed as they stand. Members that are absent are left out, but for
 * nullable ones: those are null.
 *
 * Beside the JSON stand its index entries, computed from the rows as well:
 *   facet   of each FIELD_FILTER member (each element of a list, each member of a map), also of its absence where it is a
 *           scalar, and one that every document has: see filter_facet;
 *   sorted  the number of a FIELD_SORT member (times in ms), or its text; null is the smallest. Not of when it was made:
 *           that order is the ordinals';
 *   unique  the value of a FIELD_UNIQUE member, per parent with FIELD_PER_PARENT. */
#ifndef SERVER_DOCUMENT_H
#define SERVER_DOCUMENT_H

#include "server/resource.h"
#include "server/store/commit.h"

/* The rows of what document_render stamps on a document that can be changed. */
// clang-format off
#define DOCUMENT_STAMPS                                                                                             \
    {"createdAt", FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},                                      \
    {"createdBy", FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},                                       \
    {"updatedAt", FIELD_TIME,   FIELD_READONLY | FIELD_REQUIRED | FIELD_SORT},                                      \
    {"updatedBy", FIELD_STRING, FIELD_READONLY | FIELD_REQUIRED, .max = 255},                                       \
    {"revision",  FIELD_INT,    FIELD_READONLY | FIELD_REQUIRED, .doc = "Counts changes; the ETag."}
// clang-format on

struct document {
    struct str id;
    struct str json;  /* as stored */
    int64_t revision; /* starts at 1 */
    int64_t schema;   /* of `json`; the resource's own after document_parse */
    int64_t ordinal;
    struct str sealed; /* secrets; STR_NONE without, or when they were not read */
    struct str live;   /* members to append when answered: "\"a\":1,\"b\":2"; set by the resource's `live` hook */
};

/* Server-set members, which take the place of what a body says. Later settings win. */
struct overlay {
    struct str name;
    const struct json *value; /* NULL: the member is left out */
};
struct overlays {
    struct arena *arena;
    struct overlay list[32];
    size_t n;
    bool failed; /* memory ran out, or there are too many */
};
void overlay_raw(struct overlays *o, const char *name, struct str json); /* a text; STR_NONE: left out */
/* The tree itself, not a copy; NULL: null. */
void overlay_json(struct overlays *o, const char *name, const struct json *value);
void overlay_str(struct overlays *o, const char *name, struct str value);
void overlay_int(struct overlays *o, const char *name, int64_t value);
void overlay_bool(struct overlays *o, const char *name, bool value);
void overlay_time(struct overlays *o, const char *name, int64_t unix_ms);
void overlay_null(struct overlays *o, const char *name);
void overlay_drop(struct overlays *o, const char *name);

/* A document in the making: each member from `over`, else from `whole`, else, if it is read-only, from `old`; any of them
 * may be NULL. */
struct draft {
    const struct json *whole, *old;
    const struct overlays *over;
};
const struct json *draft_member(const struct draft *d, const struct field *row);

/* The JSON to store. STR_NONE when memory ran out. */
struct str document_render(struct arena *a, const struct field *rows, const struct json *whole, const struct json *old,
                           const struct overlays *over);
/* The members of a stored document that a body may set. */
struct json *document_writable(struct arena *a, const struct field *rows, const struct json *document);
/* The answer: stored JSON with its live members. */
struct str document_answer(struct arena *a, const struct document *d);

/* `json`: the stored JSON, parsed. Memory that runs out fails the commit that uses the index. */
void document_index(struct commit_index *x, struct arena *a, const struct resource *of, const struct json *json);
/* That of what document_render makes of the same draft. */
void document_index_draft(struct commit_index *x, struct arena *a, const struct resource *of, const struct draft *d);

/* Brings an old schema's JSON up to the present one by the `upcast` hook, and parses it. NULL with SYS_OVERLOADED
 * (memory) or SYS_INTERNAL (what is stored cannot be read: a newer server's, or damaged; logged). */
struct json *document_parse(struct arena *a, const struct resource *of, struct document *d, enum code *why);

/* Secrets of a document: a JSON object of the FIELD_SECRET members, those of objects in their objects, sealed for this
 * tenant, kind and id. `patch` is merged into what `sealed` holds (STR_NONE: nothing). STR_NONE when there is nothing
 * to change, or with `failed`. A secret cannot be FIELD_REQUIRED: a change that leaves it alone does not repeat it. */
struct keyring;
struct str document_seal(struct arena *a, const struct keyring *k, struct space s, const struct resource *of,
                         struct str id, struct str sealed, const struct json *patch, bool *failed);
/* NULL: memory ran out, or it cannot be opened (logged). An empty object without secrets. */
struct json *document_unseal(struct arena *a, const struct keyring *k, struct space s, const struct resource *of,
                             struct str id, struct str sealed);

/* Stored JSON, parsed. Its limits are wider than those of a body, so that what was taken can always be read. */
struct json *document_json(struct arena *a, struct str text, struct json_fault *fault);

unsigned document_schema(const struct resource *of);
/* The resource of `kind`, of any dialect; NULL when there is none. */
const struct resource *resource_find(const char *kind);

#endif
