#include "server/engine/seal.h"

#include "lib/keyring.h"
#include "server/engine/kind.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define TENANT "0190a0b0-0000-7000-8000-000000000002"
#define RUN    "0190a0b0-0000-7000-8000-000000000001"
#define TASK   RUN ":build:1"

struct fixture {
    struct arena arena;
    char folder[64], path[96], error[256];
    struct keyring *ring;
    const struct template *t;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    arena_init(&f->arena, 0);
    assert_true(crypto_init());
    snprintf(f->folder, sizeof f->folder, "/tmp/slipway-seal-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    snprintf(f->path, sizeof f->path, "%s/keyring", f->folder);
    f->ring = keyring_open(f->path, true, f->error);
    assert_non_null(f->ring);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    keyring_free(f->ring);
    unlink(f->path);
    rmdir(f->folder);
    arena_fini(&f->arena);
    free(f);
    return 0;
}

static struct json *parse(struct fixture *f, const char *text)
{
    struct json *j = json_parse(&f->arena, str_z(text), NULL, NULL);

    assert_non_null(j);
    return j;
}

static struct run_origin origin_of(struct fixture *f, const char *inputs)
{
    f->t =
        template_parse(&f->arena,
                       parse(f, "{\"inputs\":[{\"name\":\"vault\",\"type\":\"secret-ref\"}],\"nodes\":[{\"id\":\"a\","
                                "\"type\":\"script\",\"config\":{\"command\":[\"true\"]}}],\"edges\":[]}"),
                       NULL);
    assert_non_null(f->t);
    return (struct run_origin){
        .id = S(RUN), .tenant = S(TENANT), .template_version = 1, .inputs = inputs == NULL ? NULL : parse(f, inputs)};
}

static struct str text_of(struct fixture *f, const struct json *j)
{
    struct buf b;

    buf_init_arena(&b, &f->arena, 64);
    json_write(&b, j);
    return buf_view(&b);
}

static void inputs_without_secrets_stand_as_they_are(void **state)
{
    struct fixture *f = *state;
    struct run_origin origin = origin_of(f, "{\"word\":\"hello\"}");
    const struct json *shown;
    struct str sealed;

    assert_true(seal_inputs(&f->arena, f->ring, &origin, f->t, &shown, &sealed));
    assert_ptr_equal(shown, origin.inputs);
    assert_null(sealed.p);
    origin = origin_of(f, NULL);
    assert_true(seal_inputs(&f->arena, f->ring, &origin, f->t, &shown, &sealed));
    assert_null(shown);
    assert_null(sealed.p);
}

static void secret_inputs_are_masked_and_come_back(void **state)
{
    struct fixture *f = *state;
    struct run_origin origin =
        origin_of(f, "{\"db\":{\"password\":\"hunter22\"},\"vault\":\"vault/key\",\"word\":\"hello\"}");
    const struct json *shown;
    struct str sealed;
    struct run *r;

    assert_true(seal_inputs(&f->arena, f->ring, &origin, f->t, &shown, &sealed));
    assert_true(str_eqz(text_of(f, shown), "{\"db\":{\"password\":\"***\"},\"vault\":\"***\",\"word\":\"hello\"}"));
    assert_true(sealed.n > 0);
    assert_true(str_find(sealed, S("hunter22")) < 0);
    origin.inputs = shown;
    r = run_new(&f->arena, f->t, &origin);
    assert_true(seal_open_inputs(r, f->ring, sealed));
    assert_true(str_eqz(text_of(f, r->origin.inputs),
                        "{\"db\":{\"password\":\"hunter22\"},\"vault\":\"vault/key\",\"word\":\"hello\"}"));
}

static void what_was_sealed_elsewhere_does_not_open(void **state)
{
    struct fixture *f = *state;
    struct run_origin origin = origin_of(f, "{\"password\":\"hunter22\"}");
    const struct json *shown;
    struct str sealed;
    struct run *r;

    assert_true(seal_inputs(&f->arena, f->ring, &origin, f->t, &shown, &sealed));
    origin.id = S("0190a0b0-0000-7000-8000-000000000009");
    r = run_new(&f->arena, f->t, &origin);
    assert_false(seal_open_inputs(r, f->ring, sealed));
    assert_true(seal_open_inputs(r, f->ring, STR_NONE)); /* a run from before */
}

static void an_old_key_still_opens(void **state)
{
    struct fixture *f = *state;
    struct run_origin origin = origin_of(f, "{\"password\":\"hunter22\"}");
    const struct json *shown;
    struct str sealed;

    assert_true(seal_inputs(&f->arena, f->ring, &origin, f->t, &shown, &sealed));
    assert_true(keyring_rotate(f->ring, f->error));
    assert_true(seal_open_inputs(run_new(&f->arena, f->t, &origin), f->ring, sealed));
}

#define ENVELOPE                                                                                                       \
    "{\"assignedAt\":\"2026-11-28T10:00:00.000Z\",\"credentials\":{\"TOKEN\":\"hunter22\"},\"id\":\"" TASK             \
    "\",\"payload\":{\"command\":[\"login\",\"hunter22\"]},\"type\":\"execute-command\"}"

static struct str opened(struct fixture *f, const char *tenant, struct str stored)
{
    struct buf b;

    buf_init_arena(&b, &f->arena, 64);
    seal_open_task(f->ring, str_z(tenant), stored, &b);
    return buf_view(&b);
}

static void a_task_with_credentials_is_sealed_whole(void **state)
{
    struct fixture *f = *state;
    struct str stored = seal_task(&f->arena, f->ring, S(TENANT), S(TASK), S(ENVELOPE));
    const struct json *j = json_parse(&f->arena, stored, NULL, NULL);

    assert_true(str_find(stored, S("hunter22")) < 0);
    assert_true(str_find(stored, S("login")) < 0);
    assert_true(str_eqz(json_str(json_get(j, "assignedAt")), "2026-11-28T10:00:00.000Z"));
    assert_true(str_eqz(json_str(json_get(j, "id")), TASK));
    assert_true(str_eqz(opened(f, TENANT, stored), ENVELOPE));
    assert_true(str_eq(opened(f, "0190a0b0-0000-7000-8000-00000000000a", stored), stored));
}

static void a_task_without_credentials_is_not(void **state)
{
    struct fixture *f = *state;
    struct str envelope = S("{\"credentials\":{},\"id\":\"" TASK "\",\"payload\":{}}");

    assert_true(str_eq(seal_task(&f->arena, f->ring, S(TENANT), S(TASK), envelope), envelope));
    assert_true(str_eq(opened(f, TENANT, envelope), envelope));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(inputs_without_secrets_stand_as_they_are), TEST(secret_inputs_are_masked_and_come_back),
        TEST(what_was_sealed_elsewhere_does_not_open),  TEST(an_old_key_still_opens),
        TEST(a_task_with_credentials_is_sealed_whole),  TEST(a_task_without_credentials_is_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
