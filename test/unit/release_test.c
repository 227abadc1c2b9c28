#include "server/agent/release.h"

#include "lib/crypto.h"

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
static int archive_of(const struct fixture *f, const char *name, const char *text, char digest[80])
{
    char path[200], block[2048] = {0};
    uint8_t sum[CRYPTO_HASH];
    unsigned check = 0;
    struct buf hex = {0};

    snprintf(path, sizeof(path), "%s/artifact.tar", f->base);
    snprintf(block, 100, "%s", name);
    snprintf(block + 100, 8, "%07o", 0644u);
    snprintf(block + 124, 12, "%011o", (unsigned)strlen(text));
    memset(block + 148, ' ', 8);
    block[156] = '0';
    memcpy(block + 257,
           "ustar\0"
           "00",
           8);
    for (size_t i = 0; i < 512; i++)
        check += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", check);
    snprintf(block + 512, 512, "%s", text);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
    crypto_sha256((struct str){block, sizeof(block)}, sum);
    buf_hex(&hex, sum, sizeof(sum));
    snprintf(digest, 80, "sha256:" STR_FMT, STR_ARG(buf_view(&hex)));
    buf_free(&hex);
    return fd;
}

static void unpack(struct fixture *f, const char *name, const char *text)
{
    char digest[80];
    int fd = archive_of(f, "index.html", text, digest);

    if (!release_unpack(&f->place, name, fd, str_z(digest), &wide, &f->fault))
        fail_msg("%s", f->fault.text);
    close(fd);
}

static void assert_serves(const struct fixture *f, const char *text)
{
    char path[200], got[100] = {0};

    snprintf(path, sizeof(path), "%s/current/index.html", f->root);
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

static void another_digest_is_refused_and_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    char digest[80];
    int fd = archive_of(f, "index.html", "1", digest);

    digest[10] = digest[10] == '0' ? '1' : '0';
    assert_false(release_unpack(&f->place, "one", fd, str_z(digest), &wide, &f->fault));
    assert_non_null(strstr(f->fault.text, "the artifact has digest sha256:"));
    assert_false(release_exists(&f->place, "one"));
    close(fd);
}

static void a_damaged_archive_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    char digest[80];
    int fd = archive_of(f, "../evil", "1", digest);

    assert_false(release_unpack(&f->place, "one", fd, str_z(digest), &wide, &f->fault));
    assert_false(release_exists(&f->place, "one"));
    assert_false(release_exists(&f->place, ".new-one"));
    close(fd);
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
    assert_true(release_prune(&f->place, 1, &f->fault));
    assert_true(release_exists(&f->place, "a"));
    assert_false(release_exists(&f->place, "b"));
    assert_false(release_exists(&f->place, "c"));
    assert_true(release_exists(&f->place, "d"));
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
    assert_true(release_name_safe(S("v1.2.3-rc_1")));
    assert_false(release_open(&other, "relative/path", &f->fault));
    assert_false(release_open(&other, "/", &f->fault));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_release_is_unpacked_switched_to_and_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(another_digest_is_refused_and_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_archive_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_a_crash_left_is_cleared, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_one_deployment_at_a_time_holds_the_folder, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pruning_keeps_the_current_and_the_newest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_sticker_is_written_whole_and_read_back, set_up, tear_down),
        cmocka_unit_test_setup_teardown(unsafe_names_and_paths_are_refused, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
