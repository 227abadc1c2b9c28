/* Small texts: times, identifiers, keys, base64url, numbers. What is taken has one written form, which reads back. */
#include "lib/clock.h"
#include "lib/id.h"
#include "lib/must.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void times(struct str text)
{
    char out[CLOCK_TEXT];
    int64_t ms, again;
    if (!clock_parse(text, &ms))
        return;
    clock_text(ms, out);
    must(clock_parse(str_z(out), &again) && again == ms);
}

static void identifiers(struct str text)
{
    char out[ID_UUID];
    struct str prefix;
    unsigned partition;
    if (id_is_uuid(text, out))
        must(str_ieq(str_z(out), text) && id_is_uuid(str_z(out), NULL));
    if (id_key_check(text, &prefix, &partition))
        must(partition < ID_PARTITIONS && str_starts(text, prefix));
}

static void numbers(struct str text)
{
    int64_t i, again;
    struct buf b = {0};
    if (str_i64(text, &i)) {
        buf_i64(&b, i);
        must(str_i64(buf_view(&b), &again) && again == i);
    }
    buf_free(&b);
}

static void base64url(struct str text)
{
    struct buf raw = {0}, again = {0};
    if (buf_unbase64url(&raw, text)) {
        buf_base64url(&again, raw.p, raw.n);
        must(str_eq(buf_view(&again), text));
    } else {
        must(raw.n == 0);
    }
    buf_free(&raw);
    buf_free(&again);
}

static void utf8(struct str text)
{
    size_t good = str_utf8_valid(text);
    must(good <= text.n && str_utf8(str_slice(text, 0, good)));
    must(good == text.n || !str_utf8(text));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const readers[])(struct str) = {times, identifiers, numbers, base64url, utf8};
    for (size_t i = 0; i < ARRAY_LEN(readers); i++)
        readers[i]((struct str){(const char *)data, size});
    return 0;
}
