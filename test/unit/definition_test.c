#include "server/engine/definition.h"

#include "server/engine/kind.h"
#include "server/engine/template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct definitions all;
static struct arena arena;

static int setup(void **state)
{
    (void)state;
    arena_init(&arena, 0);
    definitions_init(&all);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    definitions_fini(&all);
    arena_fini(&arena);
    return 0;
}

/* A workflow of one step, with so many bytes of command. */
static struct str text_of(int i, size_t bytes)
{
    struct buf b;

    buf_init_arena(&b, &arena, bytes + 128);
    buf_printf(&b, "{\"name\":\"w%d\",\"nodes\":[{\"id\":\"a\",\"type\":\"script\",\"config\":{\"script\":\"", i);
    for (size_t n = 0; n < bytes; n++)
        buf_char(&b, 'x');
    buf_z(&b, "\"}}]}");
    return buf_view(&b);
}

static void the_same_text_is_parsed_once(void **state)
{
    (void)state;
    struct definition *first = definition_take(&all, &workflow_kind, text_of(1, 10));
    struct definition *other = definition_take(&all, &workflow_kind, text_of(2, 10));
    assert_non_null(first);
    assert_non_null(other);
    assert_ptr_equal(definition_take(&all, &workflow_kind, text_of(1, 10)), first);
    assert_ptr_not_equal(first, other);
    assert_true(str_eqz(first->template->name, "w1"));
    assert_true(str_eqz(other->template->name, "w2"));
    definition_drop(&all, first);
    definition_drop(&all, first);
    definition_drop(&all, other);
    assert_ptr_equal(definition_take(&all, &workflow_kind, text_of(1, 10)), first); /* kept */
    definition_drop(&all, first);
}

static void a_changed_text_is_another_definition(void **state)
{
    (void)state;
    struct definition *one = definition_take(&all, &workflow_kind, text_of(1, 10));
    struct definition *two = definition_take(&all, &workflow_kind, text_of(1, 11));
    assert_ptr_not_equal(one->template, two->template);
    definition_drop(&all, one);
    definition_drop(&all, two);
}

static void what_is_held_stays_and_the_oldest_gives_way(void **state)
{
    (void)state;
    struct definition *held[DEFINITIONS];
    for (int i = 0; i < DEFINITIONS; i++)
        assert_non_null(held[i] = definition_take(&all, &workflow_kind, text_of(i, 10)));
    assert_null(definition_take(&all, &workflow_kind, text_of(DEFINITIONS, 10)));
    definition_drop(&all, held[3]);
    definition_drop(&all, held[2]);
    assert_ptr_equal(definition_take(&all, &workflow_kind, text_of(DEFINITIONS, 10)), held[2]); /* in its place */
    assert_true(str_eqz(held[3]->template->name, "w3"));
    for (int i = 0; i < DEFINITIONS; i++)
        if (i != 3)
            definition_drop(&all, held[i]);
}

static void those_that_nobody_holds_are_bounded_in_bytes(void **state)
{
    (void)state;
    size_t kept = 0;
    for (int i = 0; i < 8; i++) {
        struct definition *d = definition_take(&all, &workflow_kind, text_of(i, DEFINITIONS_BYTES / 8));
        assert_non_null(d);
        definition_drop(&all, d);
    }
    for (size_t i = 0; i < DEFINITIONS; i++)
        kept += all.list[i].arena.used;
    assert_true(kept > 0 && kept <= DEFINITIONS_BYTES);
    struct definition *huge = definition_take(&all, &workflow_kind, text_of(9, DEFINITIONS_BYTES));
    assert_non_null(huge); /* while it is held */
    definition_drop(&all, huge);
    assert_int_equal(huge->used, 0);
}

static void what_cannot_be_parsed_is_not_kept(void **state)
{
    (void)state;
    assert_null(definition_take(&all, &workflow_kind, S("")));
    assert_null(definition_take(&all, &workflow_kind, STR_NONE));
    assert_null(definition_take(&all, &workflow_kind, S("{\"nodes\":[]}")));
    for (size_t i = 0; i < DEFINITIONS; i++)
        assert_int_equal(all.list[i].used, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_same_text_is_parsed_once, setup, teardown),
        cmocka_unit_test_setup_teardown(a_changed_text_is_another_definition, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_held_stays_and_the_oldest_gives_way, setup, teardown),
        cmocka_unit_test_setup_teardown(those_that_nobody_holds_are_bounded_in_bytes, setup, teardown),
        cmocka_unit_test_setup_teardown(what_cannot_be_parsed_is_not_kept, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
