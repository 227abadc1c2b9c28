#include "test/store/fixture.h"

static void put(struct commit *c, const char *id, int64_t revision, const char *color, double size, const char *name)
{
    struct commit_index *x = arena_new(&fixture.arena, struct commit_index);

    index_begin(x, &fixture.arena);
    index_facet(x, S("color"), str_z(color));
    index_number(x, "size", size);
    index_text(x, "name", str_z(name));
    index_unique(x, RES_ALREADY_EXISTS, STR_NONE, "name", str_z(name));
    commit_put(c, &(struct commit_document){.kind = "thing",
                                            .id = str_z(id),
                                            .revision = revision,
                                            .schema = 2,
                                            .json = text("{\"id\":\"%s\"}", id),
                                            .index = x});
}

static void five_things(void)
{
    static const struct {
        const char *id, *color, *name;
        double size;
    } rows[] = {{"a", "red", "delta", 3},
                {"b", "blue", "alpha", 1},
                {"c", "red", "echo", 2},
                {"d", "red", "bravo", 1},
                {"e", "blue", "charlie", 5}};
    struct commit c;

    begin(&c, 0);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        put(&c, rows[i].id, 1, rows[i].color, rows[i].size, rows[i].name);
    commit_ok(&c);
}

/* The ids of a page, one letter each; "-" for one that is gone. */
static const char *ids(const struct page_result *r)
{
    struct page_item item;
    struct buf b;

    buf_init_arena(&b, &fixture.arena, 64);
    for (size_t i = 0; page_item(r, i, &item); i++) {
        buf_str(&b, item.id.p ? item.id : S("-"));
        if (item.json.p)
            assert_true(str_eq(item.json, text("{\"id\":\"" STR_FMT "\"}", STR_ARG(item.id))));
    }
    buf_char(&b, 0);
    return b.p;
}

static struct page_query query(enum page_source source, int64_t offset, int64_t count)
{
    return (struct page_query){.space = space, .kind = "thing", .source = source, .offset = offset, .count = count};
}

static void pages_by_creation(void **state)
{
    struct page_query q = query(PAGE_CREATED, 0, 2);
    const struct page_result *r;
    struct page_item item;

    (void)state;
    five_things();
    r = page(&q);
    assert_string_equal(ids(r), "ab");
    assert_int_equal(r->total, 5);
    assert_int_equal(r->last_ordinal, 5);
    assert_true(page_item(r, 1, &item));
    assert_int_equal(item.ordinal, 2);
    assert_int_equal(item.revision, 1);
    assert_int_equal(item.schema, 2);
    assert_false(page_item(r, 2, &item));
    q.offset = 4;
    assert_string_equal(ids(page(&q)), "e");
    q.offset = 5;
    assert_string_equal(ids(page(&q)), "");
    q = query(PAGE_CREATED, 1, 3);
    q.reverse = true;
    assert_string_equal(ids(page(&q)), "dcb");
    q.count = 0;
    assert_string_equal(ids(page(&q)), "");
}

static void pages_by_a_field(void **state)
{
    struct page_query q = query(PAGE_SORTED, 0, 10);

    (void)state;
    five_things();
    q.field = "size";
    assert_string_equal(ids(page(&q)), "bdcae"); /* equal ones by id */
    q.reverse = true;
    assert_string_equal(ids(page(&q)), "eacdb");
    q.field = "name";
    q.text = true;
    q.reverse = false;
    assert_string_equal(ids(page(&q)), "bdeac");
    q.bare = true;
    q.offset = 1;
    q.count = 2;
    assert_string_equal(ids(page(&q)), "de");
}

static void pages_by_ordinal_and_by_id(void **state)
{
    const int64_t ordinals[] = {5, 3, 9, 1};
    const struct str wanted[] = {S("d"), S("none"), S("a")};
    struct page_query q = query(PAGE_ORDINALS, 0, 0);

    (void)state;
    five_things();
    q.ordinals = ordinals;
    q.n = 4;
    assert_string_equal(ids(page(&q)), "ec-a");
    q.source = PAGE_IDS;
    q.ids = wanted;
    q.n = 3;
    assert_string_equal(ids(page(&q)), "d-a");
}

static void facets_and_further_fields(void **state)
{
    const struct str facets[] = {S("color=red"), S("color=green"), S("color=blue")};
    static const char *const extra[] = {"h", "none", NULL};
    struct page_query q = query(PAGE_NONE, 0, 0);
    const struct page_result *r;
    struct page_item item;
    struct commit c;

    (void)state;
    five_things();
    begin(&c, 0);
    commit_field(&c, "thing", S("a"), S("h"), S("head"));
    commit_ok(&c);
    q.facets = facets;
    q.facet_count = 3;
    r = page(&q);
    assert_int_equal(r->count, 0);
    assert_int_equal(r->total, 5);
    assert_memory_equal(redis_text(redis_at(redis_at(r->facets, 0), 1)).p, "\x1a", 1); /* 1, 3 and 4 */
    assert_int_equal(redis_at(r->facets, 1)->count, 0);
    assert_memory_equal(redis_text(redis_at(redis_at(r->facets, 2), 1)).p, "\x24", 1); /* 2 and 5 */
    q = query(PAGE_CREATED, 0, 1);
    q.extra = extra;
    r = page(&q);
    assert_true(page_item(r, 0, &item));
    assert_string_equal(redis_text(redis_at(item.extra, 0)).p, "head");
    assert_true(redis_is_nil(redis_at(item.extra, 1)));
}

static void an_empty_kind_has_empty_pages(void **state)
{
    struct page_query q = query(PAGE_CREATED, 0, 10);
    const struct page_result *r = page(&q);

    (void)state;
    assert_int_equal(r->count, 0);
    assert_int_equal(r->total, 0);
    assert_int_equal(r->last_ordinal, 0);
    assert_int_equal(redis_number("DBSIZE"), 0); /* looking makes nothing */
}

/* --- random changes against a model --- */

enum { IDS = 40, STEPS = 1500, COLORS = 5, NAMES = 60, BATCH = 4 };
static const char *const colors[COLORS] = {"red", "green", "blue", "black", "white"};

/* SEED=n replays and varies. */
static uint64_t seed;
static unsigned pick(unsigned below)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(seed >> 33) % below;
}

struct thing {
    int64_t revision, ordinal; /* 0: there is none */
    unsigned color, name;
    int size;
};
static struct thing things[IDS];
static int64_t last_ordinal;

static struct str id_of(unsigned i)
{
    return text("id%02u", i);
}
static struct str name_of(unsigned n)
{
    return text("name%02u", n);
}

static unsigned name_holder(const struct thing *all, unsigned name)
{
    for (unsigned i = 0; i < IDS; i++)
        if (all[i].revision && all[i].name == name)
            return i;
    return IDS;
}

/* A few puts and deletes in one commit; the model says whether it goes through. */
static void random_commit(void)
{
    struct thing next[IDS];
    int64_t next_ordinal = last_ordinal;
    bool ok = true;
    struct commit c;

    memcpy(next, things, sizeof next);
    begin(&c, 0);
    for (unsigned n = 1 + pick(BATCH); n > 0; n--) {
        unsigned i = pick(IDS);
        struct thing *t = &next[i];

        if (pick(3) == 0) {
            int64_t revision = pick(8) ? 0 : t->revision + (int64_t)pick(2);

            commit_delete(&c, "thing", id_of(i), revision);
            ok &= t->revision > 0 && (revision == 0 || revision == t->revision);
            if (ok)
                *t = (struct thing){0};
        } else {
            struct thing new = {.color = pick(COLORS), .name = pick(NAMES), .size = (int)pick(9)};
            unsigned holder = name_holder(next, new.name);

            put(&c, id_of(i).p, t->revision + 1, colors[new.color], new.size, name_of(new.name).p);
            ok &= holder == IDS || holder == i;
            new.revision = t->revision + 1;
            new.ordinal = t->revision ? t->ordinal : ++next_ordinal;
            if (ok)
                *t = new;
        }
        if (!ok)
            break;
    }
    assert_int_equal(commit(&c)->code == OK, ok);
    if (ok) {
        memcpy(things, next, sizeof next);
        last_ordinal = next_ordinal;
    }
}

static bool has_bit(const struct redis_value *chunks, int64_t ordinal)
{
    char number[24];
    struct str bits;
    size_t at = (size_t)(ordinal % KEY_CHUNK) / 8;

    snprintf(number, sizeof number, "%lld", (long long)(ordinal / KEY_CHUNK));
    bits = redis_text(redis_field(chunks, str_z(number)));
    return at < bits.n && (bits.p[at] >> (ordinal % 8) & 1);
}

static int64_t count_bits(const struct redis_value *chunks)
{
    int64_t n = 0;

    for (size_t i = 1; i < chunks->count; i += 2) {
        struct str bits = redis_text(chunks->items[i]);

        assert_true(bits.n > 0 && bits.p[bits.n - 1] != 0); /* trimmed */
        for (size_t k = 0; k < bits.n; k++)
            n += __builtin_popcount((unsigned char)bits.p[k]);
    }
    return n;
}

static void compare_facets(void)
{
    struct page_query q = query(PAGE_NONE, 0, 0);
    struct str facets[COLORS];
    const struct page_result *r;

    for (unsigned k = 0; k < COLORS; k++)
        facets[k] = text("color=%s", colors[k]);
    q.facets = facets;
    q.facet_count = COLORS;
    r = page(&q);
    assert_int_equal(r->last_ordinal, last_ordinal);
    for (unsigned k = 0; k < COLORS; k++) {
        int64_t wanted = 0;

        for (unsigned i = 0; i < IDS; i++)
            if (things[i].revision && things[i].color == k) {
                wanted++;
                assert_true(has_bit(redis_at(r->facets, k), things[i].ordinal));
            }
        assert_int_equal(count_bits(redis_at(r->facets, k)), wanted);
    }
}

/* What a page should show: the model's order by one of the fields. */
static int compare_things(const struct thing *a, const struct thing *b, enum page_source source, bool by_name)
{
    if (source == PAGE_CREATED)
        return a->ordinal < b->ordinal ? -1 : 1;
    if (by_name)
        return a->name < b->name ? -1 : 1;
    return a->size != b->size ? a->size - b->size : a < b ? -1 : 1; /* ids are in the order of the array */
}

static void compare_order(enum page_source source, bool by_name, bool reverse)
{
    struct page_query q = query(source, 0, 100);
    const struct page_result *r;
    struct page_item item;
    const struct thing *last = NULL;
    size_t i;

    q.field = by_name ? "name" : "size";
    q.text = by_name;
    q.reverse = reverse;
    r = page(&q);
    for (i = 0; page_item(r, i, &item); i++) {
        const struct thing *t = &things[atoi(item.id.p + 2)];

        assert_int_equal(item.revision, t->revision);
        assert_int_equal(item.ordinal, t->ordinal);
        if (last)
            assert_true((compare_things(last, t, source, by_name) < 0) == !reverse);
        last = t;
    }
    assert_int_equal(i, r->total);
}

static void compare_uniques(void)
{
    const struct redis_value *all = redis_do("HGETALL " P "u:" TENANT ":thing:name");
    size_t wanted = 0;

    for (unsigned i = 0; i < IDS; i++)
        if (things[i].revision) {
            wanted++;
            assert_true(str_eq(redis_text(redis_field(all, name_of(things[i].name))), id_of(i)));
        }
    assert_int_equal(all->count, 2 * wanted);
}

static void indexes_agree_with_their_model(void **state)
{
    (void)state;
    seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : 1;
    memset(things, 0, sizeof things);
    redis_do("SET " P "n:" TENANT ":thing 2000"); /* the edge of a chunk lies ahead */
    last_ordinal = 2000;
    for (int step = 1; step <= STEPS; step++) {
        random_commit();
        if (step % 50)
            continue;
        compare_facets();
        compare_uniques();
        for (int reverse = 0; reverse < 2; reverse++) {
            compare_order(PAGE_CREATED, false, reverse);
            compare_order(PAGE_SORTED, false, reverse);
            compare_order(PAGE_SORTED, true, reverse);
        }
        arena_reset(&fixture.arena);
    }
    assert_true(last_ordinal > KEY_CHUNK);
}

#define TEST(name) cmocka_unit_test_setup(name, fixture_clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_by_creation),
        TEST(pages_by_a_field),
        TEST(pages_by_ordinal_and_by_id),
        TEST(facets_and_further_fields),
        TEST(an_empty_kind_has_empty_pages),
        TEST(indexes_agree_with_their_model),
    };

    return cmocka_run_group_tests(tests, fixture_open, fixture_close);
}
