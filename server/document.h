/* A stored document: the public JSON of one resource, made from the rows, with its revision and the number of its schema.
 *
 * What is stored is what is answered: canonical JSON (RFC 8785) of every member that is neither live nor secret, so its bytes
 * can be spliced into an envelope, hashed and signed as they stand. Members that are absent are left out, but for nullable
 * ones: those are null. Every document has `id` and, where the rows name them, `tenantId`, the parent's id, `createdAt`,
 * `updatedAt`, `createdBy`, `updatedBy` and `revision`, which document_render sets.
 *
 * Beside the JSON stand its index entries, computed from the rows as well:
 *   facet   "<field>=<value>" of each FIELD_FILTER member (each element of a list, "<field>.<name>=<value>" of a map),
 *           "<field>!" where it is absent or null, and "*" for every document;
 *   sorted  the number of a FIELD_SORT member (times in ms), or its text;
 *   unique  the value of a FIELD_UNIQUE member, per parent with FIELD_PER_PARENT. */
#ifndef SERVER_DOCUMENT_H
#define SERVER_DOCUMENT_H

#include "server/resource.h"

enum { DOCUMENT_FACET_MAX = 255 }; /* bytes of a facet's value; rows that may be filtered bound their strings by it */

struct document {
    struct str id;
    struct str json;   /* as stored */
    int64_t revision;  /* starts at 1 */
    int64_t schema;    /* of `json`, brought up to the resource's own by document_upcast */
    int64_t ordinal;
    struct str sealed; /* secrets; STR_NONE without */
    struct str live;   /* members to append when answered: "\"a\":1,\"b\":2"; set by the resource's `live` hook */
};

/* Server-set members that take the place of what a body says. Later settings win; a value is JSON text. */
struct overlay {
    struct str name, value; /* value STR_NONE: the member is left out */
};
struct overlays {
    struct arena *arena;
    struct overlay *list;
    size_t n, room;
    bool failed;
};
void overlay_raw(struct overlays *o, const char *name, struct str json);
void overlay_str(struct overlays *o, const char *name, struct str value);
void overlay_int(struct overlays *o, const char *name, int64_t value);
void overlay_bool(struct overlays *o, const char *name, bool value);
void overlay_time(struct overlays *o, const char *name, int64_t unix_ms);
void overlay_null(struct overlays *o, const char *name);
void overlay_drop(struct overlays *o, const char *name);

/* The JSON to store: the members of `whole` (valid by the rows) under those of `over`. STR_NONE when memory ran out. */
struct str document_render(struct arena *a, const struct field *rows, const struct json *whole,
                           const struct overlays *over);
/* The answer: stored JSON with its live members. */
struct str document_answer(struct arena *a, const struct document *d);

enum index_type { INDEX_FACET = 'f', INDEX_SORTED = 'z', INDEX_UNIQUE = 'u' };
struct index_entry {
    enum index_type type;
    struct str name;  /* facet: whole; sorted: field; unique: "<field>" or "<parent id>:<field>" */
    struct str value; /* sorted texts and unique values */
    double number;    /* sorted numbers; value.p is NULL then */
};
struct index {
    struct index_entry *entries;
    size_t n;
    bool failed; /* memory ran out */
};
/* `doc`: the stored JSON, parsed. */
void document_index(struct arena *a, const struct resource *of, const struct json *doc, struct index *out);
/* The facet of a value as it is stored under `path`; for null `<path>!`. STR_NONE for values that have none. */
struct str document_facet(struct arena *a, struct str path, const struct json *value);

/* Brings an old schema's JSON up to the resource's present one through its `upcast` hook. False: it cannot be read. */
bool document_upcast(struct arena *a, const struct resource *of, struct document *d);

/* The resource of `kind`, by the table in server/api/resources.c; NULL when there is none. */
const struct resource *resource_find(struct str kind);

#endif
