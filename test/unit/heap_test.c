#include "lib/heap.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct item {
    int value;
    struct heap_node node;
    int64_t key;
    bool in;
};

static void an_empty_heap_has_no_first(void **state)
{
    (void)state;
    struct heap h = {0};
    assert_null(heap_first(&h));
    assert_null(heap_pop(&h));
}

static void equal_keys_leave_in_the_order_they_came(void **state)
{
    (void)state;
    struct heap h = {0};
    struct item items[100];
    for (int i = 0; i < 100; i++) {
        items[i].value = i;
        heap_push(&h, &items[i].node, i % 3);
    }
    int before = -1;
    for (int i = 0; i < 100; i++) {
        struct item *it = heap_entry(heap_pop(&h), struct item, node);
        assert_true(it->value % 3 > before % 3 || (it->value % 3 == before % 3 && it->value > before) || before < 0);
        before = it->value;
    }
    assert_int_equal(h.n, 0);
}

/* The smallest key is always first, whatever is pushed and removed, and from any place. */
static void the_smallest_is_always_first(void **state)
{
    (void)state;
    enum { ITEMS = 200 };
    static struct item items[ITEMS];
    struct heap h = {0};
    uint32_t r = 99;
    for (int step = 0; step < 20000; step++) {
        r = r * 1664525 + 1013904223;
        struct item *it = &items[(r >> 8) % ITEMS];
        if (it->in)
            heap_remove(&h, &it->node);
        else
            heap_push(&h, &it->node, it->key = (int64_t)(r >> 20) - 2000);
        it->in = !it->in;
        int64_t least = INT64_MAX;
        size_t n = 0;
        for (int i = 0; i < ITEMS; i++) {
            if (!items[i].in)
                continue;
            n++;
            least = items[i].key < least ? items[i].key : least;
        }
        assert_int_equal(h.n, n);
        assert_true(n == 0 ? heap_first(&h) == NULL : heap_first(&h)->key == least);
    }
    int64_t before = INT64_MIN;
    for (struct heap_node *node; (node = heap_pop(&h)) != NULL; before = node->key)
        assert_true(node->key >= before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_heap_has_no_first),
        cmocka_unit_test(equal_keys_leave_in_the_order_they_came),
        cmocka_unit_test(the_smallest_is_always_first),
    };
    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
