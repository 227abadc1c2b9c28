#include "server/agent/release.h"

#include "test/unit/tar.h"

#include <fcntl.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    char base[64], root[96];
    struct release_place place;
    struct archive_fault fault;
};

static const struct archive_limits wide = {1 << 20, 100};

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st;
    (void)flag;
    (void)walk;
    return remove(path);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    strcpy(f->base, "/tmp/slipway-release-XXXXXX");
    assert_non_null(mkdtemp(f->base));
    snprintf(f->root, sizeof(f->root), "%s/srv/site", f->base);
    if (!release_open(&f->place, f->root, &f->fault))
        fail_msg("%s", f->fault.text);
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    release_close(&f->place);
    nftw(f->base, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* An archive of one file `name` holding `text`, and its digest. */
static int archive_of(const struct fixture *f, const char *name, const char *text, char digest[TAR_DIGEST])
{
    char path[200];
    size_t n;

    snprintf(path, sizeof(path), "%s/artifact.tar", f->base);
    free(tar_make(path, &(struct tar_entry){.name = name, .text = text}, 1, digest, &n));
    return open(path, O_RDONLY);
}

static bool add(struct fixture *f, const char *name, const char *file, const char *text)
{
    char digest[TAR_DIGEST];
    int fd = archive_of(f, file, text, digest);
    struct release_part part = {S("site"), str_z(digest)};
    bool fine = release_begin(&f->place, name, &f->fault) &&
                release_add(&f->place, name, part.name, fd, &wide, &f->fault) &&
                release_finish(&f->place, name, S("id"), &part, 1, &f->fault);

    close(fd);
    return fine;
}

static void unpack(struct fixture *f, const char *name, const char *text)
{
    if (!add(f, name, "index.html", text))
        fail_msg("%s", f->fault.text);
}

static enum release_state compare(struct fixture *f, const char *name, const char *component, const char *text)
{
    char digest[TAR_DIGEST];
    int fd = archive_of(f, "index.html", text, digest);

    close(fd);
    return release_compare(&f->place, name, &(struct release_part){str_z(component), str_z(digest)}, 1);
}

static void assert_serves(const struct fixture *f, const char *text)
{
    char path[200], got[100] = {0};

    snprintf(path, sizeof(path), "%s/current/site/index.html", f->root);
    int fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    assert_true(read(fd, got, sizeof(got) - 1) >= 0);
    close(fd);
    assert_string_equal(got, text);
}

static void a_release_is_unpacked_switched_to_and_back(void **state)
{
    struct fixture *f = *state;
    char name[RELEASE_NAME];

    assert_true(release_current(&f->place, name, &f->fault));
    assert_string_equal(name, "");
    unpack(f, "one", "1");
    unpack(f, "two", "2");
    assert_true(release_switch(&f->place, "one", &f->fault));
    assert_serves(f, "1");
    assert_true(release_switch(&f->place, "two", &f->fault));
    assert_serves(f, "2");
    assert_true(release_switch(&f->place, "one", &f->fault));
    assert_serves(f, "1");
    assert_true(release_current(&f->place, name, &f->fault));
    assert_string_equal(name, "one");
    assert_true(release_clear(&f->place, &f->fault));
    assert_true(release_current(&f->place, name, &f->fault));
    assert_string_equal(name, "");
    assert_false(release_switch(&f->place, "three", &f->fault));
}

static void a_release_is_known_by_its_parts(void **state)
{
    struct fixture *f = *state;
    char path[300];

    assert_int_equal(compare(f, "one", "site", "1"), RELEASE_ABSENT);
    unpack(f, "one", "1");
    assert_int_equal(compare(f, "one", "site", "1"), RELEASE_SAME);
    assert_int_equal(compare(f, "one", "site", "2"), RELEASE_OTHER);
    assert_int_equal(compare(f, "one", "other", "1"), RELEASE_OTHER);
    assert_int_equal(release_compare(&f->place, "one", NULL, 0), RELEASE_OTHER);
    snprintf(path, sizeof(path), "%s/releases/one/.slipway-release.json", f->root);
    assert_int_equal(truncate(path, 5), 0);
    assert_int_equal(compare(f, "one", "site", "1"), RELEASE_DAMAGED);
    unlink(path);
    assert_int_equal(compare(f, "one", "site", "1"), RELEASE_DAMAGED);
}

static void a_release_of_the_same_name_is_replaced_as_a_whole(void **state)
{
    struct fixture *f = *state;
    char path[300];
    struct stat st;

    unpack(f, "one", "1");
    assert_true(release_switch(&f->place, "one", &f->fault));
    unpack(f, "one", "another");
    assert_serves(f, "another");
    snprintf(path, sizeof(path), "%s/releases/.new-one", f->root);
    assert_int_equal(stat(path, &st), -1);
}

static void a_damaged_archive_gives_no_release(void **state)
{
    struct fixture *f = *state;

    assert_false(add(f, "one", "../evil", "1"));
    assert_false(release_exists(&f->place, "one"));
    release_drop(&f->place, "one");
    assert_false(release_exists(&f->place, ".new-one"));
}

static void a_switch_under_way_is_undone(void **state)
{
    struct fixture *f = *state;
    struct release_switching s = {.from = "one", .to = "two", .sticker = S("{\"a\":1}")}, got;
    struct buf sticker = {0};
    struct arena a;

    arena_init(&a, 0);
    unpack(f, "one", "1");
    unpack(f, "two", "2");
    assert_false(release_get_switching(&f->place, &a, &got, &f->fault));
    assert_string_equal(f->fault.text, "");
    assert_true(release_put_switching(&f->place, &s, &f->fault));
    assert_true(release_switch(&f->place, "two", &f->fault));
    assert_true(release_get_switching(&f->place, &a, &got, &f->fault));
    assert_string_equal(got.from, "one");
    assert_string_equal(got.to, "two");
    assert_true(release_undo_switching(&f->place, &got, &f->fault));
    assert_serves(f, "1");
    assert_true(release_read_sticker(f->root, &sticker, &f->fault));
    assert_true(str_eqz(buf_view(&sticker), "{\"a\":1}"));
    assert_false(release_get_switching(&f->place, &a, &got, &f->fault));
    buf_clear(&sticker);
    s = (struct release_switching){.to = "two"};
    assert_true(release_put_switching(&f->place, &s, &f->fault));
    assert_true(release_get_switching(&f->place, &a, &got, &f->fault));
    assert_true(release_undo_switching(&f->place, &got, &f->fault)); /* there was neither release nor sticker */
    assert_true(release_read_sticker(f->root, &sticker, &f->fault));
    assert_int_equal(sticker.n, 0);
    buf_free(&sticker);
    arena_fini(&a);
}

static void assert_observed(struct fixture *f, const char *want)
{
    struct buf b = {0};
    struct json_out o;

    json_out_init(&o, &b);
    json_open(&o, '{');
    assert_true(release_observe(f->root, &o, &f->fault));
    json_close(&o, '}');
    assert_true(str_eqz(buf_view(&b), want));
    buf_free(&b);
}

static void what_is_really_there_is_told(void **state)
{
    struct fixture *f = *state;
    char digest[TAR_DIGEST], want[300], path[300];

    assert_observed(f, "{\"components\":[],\"current\":null}");
    unpack(f, "one", "1");
    close(archive_of(f, "index.html", "1", digest));
    assert_true(release_switch(&f->place, "one", &f->fault));
    snprintf(want, sizeof(want), "{\"components\":[{\"digest\":\"%s\",\"name\":\"site\"}],\"current\":\"one\"}",
             digest);
    assert_observed(f, want);
    snprintf(path, sizeof(path), "%s/releases/one/extra", f->root);
    assert_int_equal(mkdir(path, 0755), 0);
    snprintf(path, sizeof(path), "%s/releases/one/site", f->root);
    nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    assert_observed(f, "{\"components\":[{\"digest\":null,\"name\":\"extra\"}],\"current\":\"one\"}");
}

static void what_a_crash_left_is_cleared(void **state)
{
    struct fixture *f = *state;
    char path[200];
    struct stat st;

    snprintf(path, sizeof(path), "%s/releases/.new-one", f->root);
    assert_int_equal(mkdir(path, 0755), 0);
    release_close(&f->place);
    assert_true(release_open(&f->place, f->root, &f->fault));
    assert_int_equal(stat(path, &st), -1);
    unpack(f, "one", "1");
}

static void only_one_deployment_at_a_time_holds_the_folder(void **state)
{
    struct fixture *f = *state;
    struct release_place other;

    assert_false(release_open(&other, f->root, &f->fault));
    assert_non_null(strstr(f->fault.text, "another deployment"));
    release_close(&f->place);
    assert_true(release_open(&other, f->root, &f->fault));
    release_close(&other);
    assert_true(release_open(&f->place, f->root, &f->fault));
}

static void pruning_keeps_the_current_and_the_newest(void **state)
{
    struct fixture *f = *state;
    static const char *const names[] = {"a", "b", "c", "d"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        unpack(f, names[i], names[i]);
    assert_true(release_switch(&f->place, "a", &f->fault));
    assert_true(release_prune(&f->place, 2, "b", &f->fault));
    assert_true(release_exists(&f->place, "b")); /* the oldest, but spared */
    assert_false(release_exists(&f->place, "c"));
    assert_true(release_prune(&f->place, 1, "", &f->fault));
    assert_true(release_exists(&f->place, "a"));
    assert_false(release_exists(&f->place, "b"));
    assert_true(release_exists(&f->place, "d"));
    assert_true(release_prune(&f->place, 0, "d", &f->fault));
    assert_false(release_exists(&f->place, "d"));
    assert_serves(f, "a");
}

static void a_sticker_is_written_whole_and_read_back(void **state)
{
    struct fixture *f = *state;
    struct buf got = {0};

    assert_true(release_read_sticker(f->root, &got, &f->fault));
    assert_int_equal(got.n, 0);
    assert_true(release_write_sticker(&f->place, S("{\"version\":\"1.0\"}"), &f->fault));
    assert_true(release_write_sticker(&f->place, S("{\"version\":\"1.1\"}"), &f->fault));
    assert_true(release_read_sticker(f->root, &got, &f->fault));
    assert_true(str_eqz(buf_view(&got), "{\"version\":\"1.1\"}"));
    buf_free(&got);
}

static void unsafe_names_and_paths_are_refused(void **state)
{
    struct fixture *f = *state;
    struct release_place other;

    assert_false(release_name_safe(S("")));
    assert_false(release_name_safe(S(".new-x")));
    assert_false(release_name_safe(S("a/b")));
    assert_false(release_name_safe(S("..")));
    assert_true(release_name_safe(S("v1.2.3-rc_1+build.7")));
    assert_false(release_open(&other, "relative/path", &f->fault));
    assert_false(release_open(&other, "/", &f->fault));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_release_is_unpacked_switched_to_and_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_release_is_known_by_its_parts, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_release_of_the_same_name_is_replaced_as_a_whole, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_archive_gives_no_release, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_switch_under_way_is_undone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_really_there_is_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_crash_left_is_cleared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_one_deployment_at_a_time_holds_the_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pruning_keeps_the_current_and_the_newest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sticker_is_written_whole_and_read_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unsafe_names_and_paths_are_refused, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
