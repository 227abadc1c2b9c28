#include "lib/archive.h"

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

struct place {
    char folder[64], file[80];
    int fd;
};

/* One ustar header with its data. */
static void add(int fd, const char *name, char type, const char *link, const char *data, unsigned mode)
{
    char block[512] = {0};
    size_t n = strlen(data);
    unsigned sum = 0;

    snprintf(block, 100, "%s", name);
    snprintf(block + 100, 8, "%07o", mode);
    snprintf(block + 108, 8, "%07o", 0u);
    snprintf(block + 116, 8, "%07o", 0u);
    snprintf(block + 124, 12, "%011o", (unsigned)n);
    snprintf(block + 136, 12, "%011o", 1u);
    memset(block + 148, ' ', 8);
    block[156] = type;
    snprintf(block + 157, 100, "%s", link);
    memcpy(block + 257,
           "ustar\0"
           "00",
           8);
    for (size_t i = 0; i < 512; i++)
        sum += (unsigned char)block[i];
    snprintf(block + 148, 8, "%06o", sum);
    assert_int_equal(write(fd, block, 512), 512);
    for (size_t done = 0; done < n; done += 512) {
        memset(block, 0, 512);
        memcpy(block, data + done, n - done < 512 ? n - done : 512);
        assert_int_equal(write(fd, block, 512), 512);
    }
}

static void end(int fd)
{
    char zeros[1024] = {0};

    assert_int_equal(write(fd, zeros, sizeof(zeros)), sizeof(zeros));
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
}

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof(*p));

    strcpy(p->folder, "/tmp/slipway-archive-XXXXXX");
    assert_non_null(mkdtemp(p->folder));
    snprintf(p->file, sizeof(p->file), "%s.tar", p->folder);
    p->fd = open(p->file, O_RDWR | O_CREAT | O_TRUNC, 0600);
    assert_true(p->fd >= 0);
    *state = p;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *walk)
{
    (void)st;
    (void)flag;
    (void)walk;
    return remove(path);
}

static int tear_down(void **state)
{
    struct place *p = *state;

    close(p->fd);
    unlink(p->file);
    nftw(p->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(p);
    return 0;
}

static const struct archive_limits wide = {1 << 20, 100};

static bool holds(const struct place *p, const char *name, const char *text)
{
    char path[200], got[100] = {0};

    snprintf(path, sizeof(path), "%s/%s", p->folder, name);
    int fd = open(path, O_RDONLY);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, got, sizeof(got) - 1);
    close(fd);
    return n >= 0 && strcmp(got, text) == 0;
}

static void files_folders_and_inner_links_are_unpacked(void **state)
{
    struct place *p = *state;
    struct archive_fault fault;
    struct stat st;
    char path[200];

    add(p->fd, "./", '5', "", "", 0755);
    add(p->fd, "./index.html", '0', "", "hello", 0644);
    add(p->fd, "bin/run", '0', "", "#!/bin/sh", 06755);
    add(p->fd, "bin/again", '2', "../index.html", "", 0777);
    end(p->fd);
    assert_true(archive_unpack(p->fd, p->folder, &wide, &fault));
    assert_true(holds(p, "index.html", "hello"));
    assert_true(holds(p, "bin/again", "hello"));
    snprintf(path, sizeof(path), "%s/bin/run", p->folder);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
}

static void what_leaves_the_folder_is_refused(void **state)
{
    static const struct {
        const char *name, *link, *fault;
        char type;
    } cases[] = {
        {"../evil", "", "unsafe name", '0'},
        {"a/../../evil", "", "unsafe name", '0'},
        {"/etc/evil", "", "unsafe name", '0'},
        {"a\\b", "", "unsafe name", '0'},
        {"out", "/etc/passwd", "leads out", '2'},
        {"d/out", "../../etc/passwd", "leads out", '2'},
        {"hard", "index.html", "hard link", '1'},
        {"pipe", "", "neither", '6'},
        {"disk", "", "neither", '4'},
    };
    struct place *p = *state;
    struct archive_fault fault;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(ftruncate(p->fd, 0), 0);
        assert_int_equal(lseek(p->fd, 0, SEEK_SET), 0);
        add(p->fd, cases[i].name, cases[i].type, cases[i].link, "", 0644);
        end(p->fd);
        assert_false(archive_unpack(p->fd, p->folder, &wide, &fault));
        if (strstr(fault.text, cases[i].fault) == NULL)
            fail_msg("%s: %s", cases[i].name, fault.text);
    }
}

static void a_file_is_not_written_through_a_link(void **state)
{
    struct place *p = *state;
    struct archive_fault fault;

    add(p->fd, "real/keep", '0', "", "", 0644);
    add(p->fd, "link", '2', "real", "", 0777);
    add(p->fd, "link/evil", '0', "", "x", 0644);
    end(p->fd);
    assert_false(archive_unpack(p->fd, p->folder, &wide, &fault));
    assert_false(holds(p, "real/evil", "x"));
}

static void limits_on_bytes_and_entries_hold(void **state)
{
    struct place *p = *state;
    struct archive_fault fault;
    const struct archive_limits few_bytes = {4, 100}, few_entries = {1000, 1};

    add(p->fd, "a", '0', "", "12345", 0644);
    add(p->fd, "b", '0', "", "", 0644);
    end(p->fd);
    assert_false(archive_unpack(p->fd, p->folder, &few_bytes, &fault));
    assert_non_null(strstr(fault.text, "larger than 4 bytes"));
    assert_int_equal(lseek(p->fd, 0, SEEK_SET), 0);
    tear_down(state);
    set_up(state);
    p = *state;
    add(p->fd, "a", '0', "", "12345", 0644);
    add(p->fd, "b", '0', "", "", 0644);
    end(p->fd);
    assert_false(archive_unpack(p->fd, p->folder, &few_entries, &fault));
    assert_non_null(strstr(fault.text, "more than 1 entries"));
}

static void what_is_no_archive_is_refused(void **state)
{
    struct place *p = *state;
    struct archive_fault fault;

    assert_int_equal(write(p->fd, "nonsense", 8), 8);
    assert_int_equal(lseek(p->fd, 0, SEEK_SET), 0);
    assert_false(archive_unpack(p->fd, p->folder, &wide, &fault));
    assert_true(fault.text[0] != '\0');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_folders_and_inner_links_are_unpacked, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_leaves_the_folder_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_file_is_not_written_through_a_link, set_up, tear_down),
        cmocka_unit_test_setup_teardown(limits_on_bytes_and_entries_hold, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_archive_is_refused, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
