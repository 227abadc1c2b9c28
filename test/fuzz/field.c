/* Bodies against rows of every type: any JSON is checked, in each mode, and what comes out without faults passes the
 * same check again unchanged. */
#include "lib/field.h"

#include "lib/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const colours[] = {"red", "green", NULL};

// clang-format off
static const struct field inner[] = {
    {"id",   FIELD_STRING, FIELD_REQUIRED, .min = 1, .max = 8, .pattern = "^[a-z]+$"},
    {"n",    FIELD_INT,    0,              .min = -5, .max = 5},
    {0},
};
static const struct field rows[] = {
    {"s",    FIELD_STRING, FIELD_REQUIRED,     .min = 1, .max = 10},
    {"i",    FIELD_INT,    FIELD_NULLABLE,     .preset = "3"},
    {"r",    FIELD_NUMBER, 0,                  .min = -1, .max = 1},
    {"b",    FIELD_BOOL,   0,                  .preset = "true"},
    {"u",    FIELD_UUID,   FIELD_NULLABLE},
    {"t",    FIELD_TIME,   0},
    {"e",    FIELD_ENUM,   0,                  .choices = colours},
    {"o",    FIELD_OBJECT, 0,                  .fields = inner},
    {"any",  FIELD_ANY,    0},
    {"free", FIELD_OBJECT, 0},
    {"m",    FIELD_MAP,    0,                  .max = 4, .item = FIELD_STRING},
    {"l",    FIELD_LIST,   FIELD_UNIQUE_ITEMS, .max = 4, .item = FIELD_OBJECT, .fields = inner},
    {"el",   FIELD_LIST,   0,                  .max = 4, .item = FIELD_ENUM, .choices = colours},
    {"ro",   FIELD_STRING, FIELD_READONLY},
    {"x",    FIELD_STRING, FIELD_SECRET},
    {0},
};
// clang-format on

static void check(struct arena *a, const struct json *body, enum field_mode mode)
{
    struct faults faults;
    faults_init(&faults, a);
    const struct json *first = field_check(rows, body, mode, &faults);
    must(first != NULL);
    for (size_t i = 0; i < faults.n; i++)
        must(faults.list[i].code != NULL && faults.list[i].message.n > 0 && str_utf8(faults.list[i].field));
    if (faults.n > 0)
        return;
    const struct json *second = field_check(rows, first, mode, &faults);
    must(second != NULL && faults.n == 0 && json_equal(first, second));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena a;
    arena_init(&a, 0);
    const struct json *body = json_parse(&a, (struct str){(const char *)data, size}, NULL, NULL);
    if (body != NULL) {
        check(&a, body, FIELD_CREATE);
        check(&a, body, FIELD_CHANGE);
        check(&a, body, FIELD_WHOLE);
    }
    arena_fini(&a);
    return 0;
}
