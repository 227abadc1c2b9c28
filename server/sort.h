/* The order of a list: up to three fields of the rows, `-` for descending, and the id as the last tie-breaker (in the
 * direction of the last field), so that it is total and stable. Absent and null are the smallest value. */
#ifndef SERVER_SORT_H
#define SERVER_SORT_H

#include "lib/field.h"

enum { SORT_FIELDS = 3 };

struct sort {
    struct {
        const struct field *row;
        struct str path;
        bool descending;
    } by[SORT_FIELDS];
    size_t n;
};
/* "orderIndex,-createdAt". Fault VAL_INVALID_SORT at "query.<parameter>", naming the fields that can be sorted by. */
bool sort_parse(struct arena *a, const struct field *rows, struct str text, const char *parameter,
                struct faults *faults, struct sort *out);
/* Whether the field is when the document was made, in either spelling: ordinals have that order, no index. */
bool sort_is_creation(struct str path);
/* The order is that of creation, which ordinals answer: no two documents have the same, so what follows is moot. */
bool sort_by_creation(const struct sort *s);

/* What is kept of a document to order it: a few values, copied into the arena. */
struct sort_key {
    int64_t ordinal;
    struct str id;
    struct sort_value {
        enum json_type type; /* null, bool, real, string */
        double number;
        struct str text;
    } values[SORT_FIELDS];
};
bool sort_key(struct arena *a, const struct sort *s, const struct json *document, struct sort_key *out);
int sort_compare(const struct sort *s, const struct sort_key *a, const struct sort_key *b);
void sort_keys(const struct sort *s, struct sort_key *keys, size_t n);

#endif
