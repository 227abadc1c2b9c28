#include "server/dashboard/figures.h"

#include "server/store/key.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    arena_fini(&arena);
    return 0;
}

static const struct redis_value *text(const char *p, size_t n)
{
    struct redis_value *v = arena_new(&arena, struct redis_value);
    *v = (struct redis_value){.type = REDIS_STRING, .text = {p, n}};
    return v;
}

/* One chunk, of the first 8 ordinals. */
static const struct redis_value *facet(const char *bits)
{
    struct redis_value *v = arena_new(&arena, struct redis_value);
    const struct redis_value **items = arena_array(&arena, 2, sizeof *items);
    items[0] = text("0", 1);
    items[1] = text(bits, 1);
    *v = (struct redis_value){.type = REDIS_ARRAY, .count = 2, .items = items};
    return v;
}

static const struct redis_value nothing = {.type = REDIS_ARRAY};

static void every_figure_has_a_group_a_name_and_what_it_needs(void **state)
{
    (void)state;
    for (size_t i = 0; i < figures_count(); i++) {
        const struct figure *row = &figures_table[i];
        bool documented = false;
        assert_non_null(row->group);
        assert_non_null(row->kind);
        assert_true(row->how == FIGURE_ALL || row->facet != NULL);
        for (size_t k = 0; k < i; k++)
            assert_false(strcmp(row->group, figures_table[k].group) == 0 &&
                         strcmp(row->name, figures_table[k].name) == 0);
        for (const struct field *group = figures_rows; group->name != NULL; group++)
            for (const struct field *f = group->fields; f != NULL && f->name != NULL; f++)
                documented = documented || (strcmp(group->name, row->group) == 0 && strcmp(f->name, row->name) == 0);
        assert_true(documented);
    }
    assert_null(figures_table[figures_count()].name);
}

static void a_facet_is_counted_without_what_is_left_out(void **state)
{
    (void)state;
    const struct figure row = {"estate", "agentsOnline",  FIGURE_FACET,
                               "agent",  "status=online", "lifecycleState=revoked"};
    assert_int_equal(figure_value(&arena, &row, facet("\x0f"), NULL), 4);
    assert_int_equal(figure_value(&arena, &row, facet("\x0f"), &nothing), 4);
    assert_int_equal(figure_value(&arena, &row, facet("\x0f"), facet("\x05")), 2);
    assert_int_equal(figure_value(&arena, &row, &nothing, facet("\xff")), 0);
}

static void an_answer_that_is_a_number_is_taken_as_it_is(void **state)
{
    (void)state;
    const struct figure row = {"estate", "targetsTotal", FIGURE_ALL, "target", NULL, NULL};
    const struct redis_value seven = {.type = REDIS_INTEGER, .integer = 7};
    assert_int_equal(figure_value(&arena, &row, &seven, NULL), 7);
}

/* The members, as an object. */
static struct str written(const struct figures *f, const struct figures *before, struct str scope, bool *some)
{
    struct json_out o;
    struct buf b;
    buf_init_arena(&b, &arena, 512);
    json_out_init(&o, &b);
    json_open(&o, '{');
    *some = figures_write(&o, f, before, scope);
    json_close(&o, '}');
    assert_false(b.failed);
    return buf_view(&b);
}

static void is(struct str s, const char *z)
{
    assert_string_equal(arena_z(&arena, s), z);
}

static void only_what_changed_is_told(void **state)
{
    (void)state;
    struct figure_card old[] = {{S("a"), S("{\"environmentId\":\"a\"}")}, {S("b"), S("{\"environmentId\":\"b\"}")}};
    struct figure_card new[] = {{S("b"), S("{\"environmentId\":\"b\",\"x\":1}")},
                                {S("c"), S("{\"environmentId\":\"c\"}")}};
    struct figures before = {.cards = old, .n = 2}, now = {.cards = new, .n = 2};
    bool some;
    is(written(&before, &before, STR_NONE, &some), "{}");
    assert_false(some);
    now.value[0] = 3;
    now.value[1] = 2;
    now.value[5] = 1;
    is(written(&now, &before, STR_NONE, &some),
       "{\"releaseOperations\":{\"inFlight\":3,\"queued\":2},\"deployments\":{\"running\":1},\"environments\":["
       "{\"environmentId\":\"b\",\"x\":1},{\"environmentId\":\"c\"}],\"removedEnvironments\":[\"a\"]}");
    assert_true(some);
}

static void who_sees_some_environments_is_shown_their_cards_alone(void **state)
{
    (void)state;
    struct figure_card cards[] = {{S("a"), S("{\"environmentId\":\"a\"}")}, {S("b"), S("{\"environmentId\":\"b\"}")}};
    struct figures f = {.cards = cards, .n = 2}, gone = {.n = 0};
    bool some;
    is(written(&f, NULL, S("b,c"), &some), "{\"environments\":[{\"environmentId\":\"b\"}]}");
    is(written(&f, NULL, S("-"), &some), "{\"environments\":[]}");
    is(written(&gone, &f, S("a"), &some), "{\"removedEnvironments\":[\"a\"]}");
    f.value[0] = 1;
    is(written(&gone, &f, S("c"), &some), "{}");
    assert_false(some);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_figure_has_a_group_a_name_and_what_it_needs),
        cmocka_unit_test_setup_teardown(a_facet_is_counted_without_what_is_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_that_is_a_number_is_taken_as_it_is, setup, teardown),
        cmocka_unit_test_setup_teardown(only_what_changed_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(who_sees_some_environments_is_shown_their_cards_alone, setup, teardown),
    };
    return cmocka_run_group_tests_name("figures", tests, NULL, NULL);
}
