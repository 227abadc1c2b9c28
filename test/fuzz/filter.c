/* Filters and orders of lists: any text is taken or refused with faults, and a filter that was taken says the same of
 * every document before and after it is split into what the indexes answer and the rest. */
#include "server/filter.h"

#include "lib/must.h"
#include "server/sort.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const states[] = {"active", "idle", "gone", NULL};

// clang-format off
static const struct field rows[] = {
    {"id",     FIELD_UUID,   FIELD_READONLY | FIELD_SEARCH},
    {"name",   FIELD_STRING, FIELD_FILTER | FIELD_SORT, .max = 200},
    {"state",  FIELD_ENUM,   FIELD_FILTER, .choices = states},
    {"n",      FIELD_INT,    FIELD_FILTER | FIELD_SORT},
    {"ratio",  FIELD_NUMBER, FIELD_SEARCH},
    {"on",     FIELD_BOOL,   FIELD_FILTER},
    {"owner",  FIELD_UUID,   FIELD_FILTER | FIELD_NULLABLE},
    {"at",     FIELD_TIME,   FIELD_FILTER | FIELD_SORT},
    {"tags",   FIELD_LIST,   FIELD_FILTER, .item = FIELD_STRING},
    {"labels", FIELD_MAP,    FIELD_FILTER, .item = FIELD_STRING},
    {"dark",   FIELD_STRING},
    {0}};
// clang-format on

static const struct str documents[] = {
    S("{}"),
    S("{\"name\":\"a\",\"state\":\"active\",\"n\":1,\"on\":true,\"owner\":null,\"tags\":[\"x\",\"y\"]}"),
    S("{\"name\":\"ab\",\"state\":\"idle\",\"n\":-5,\"ratio\":0.5,\"on\":false,\"labels\":{\"role\":\"db\"}}"),
    S("{\"id\":\"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\",\"at\":\"2026-11-28T17:50:00.000Z\",\"tags\":[],\"n\":7}"),
    S("{\"name\":\"\",\"owner\":\"f81d4fae-7dec-11d0-a765-00a0c91e6bf6\",\"labels\":{},\"dark\":\"d\",\"state\":"
      "\"gone\"}"),
};

static void try_filter(struct arena *a, struct str text)
{
    struct faults faults;
    const struct filter *f = NULL, *facets, *rest;
    faults_init(&faults, a);
    if (!filter_parse(a, rows, text, &faults, &f)) {
        must(faults.n > 0);
        return;
    }
    must(faults.n == 0 && filter_split(a, f, &facets, &rest));
    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        const struct json *d = json_parse(a, documents[i], NULL, NULL);
        must(filter_match(f, d) == (filter_match(facets, d) && filter_match(rest, d)));
    }
}

static void try_sort(struct arena *a, struct str text)
{
    struct faults faults;
    struct sort sort;
    struct sort_key keys[ARRAY_LEN(documents)];
    faults_init(&faults, a);
    if (!sort_parse(a, rows, text, "sort", &faults, &sort)) {
        must(faults.n > 0);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(documents); i++) {
        must(sort_key(a, &sort, json_parse(a, documents[i], NULL, NULL), &keys[i]));
        keys[i].ordinal = (int64_t)i;
        keys[i].id = arena_printf(a, "%zu", i);
    }
    sort_keys(&sort, keys, ARRAY_LEN(keys));
    for (size_t i = 1; i < ARRAY_LEN(keys); i++)
        must(sort_compare(&sort, &keys[i - 1], &keys[i]) < 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    arena_init(&a, 0);
    try_filter(&a, (struct str){(const char *)data, size});
    try_sort(&a, (struct str){(const char *)data, size});
    arena_fini(&a);
    return 0;
}
