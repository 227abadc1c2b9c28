#include "server/agent/spool.h"
#include "server/agent/file.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char path[64];
static int dir;

static int folder_make(void **state)
{
    (void)state;
    snprintf(path, sizeof path, "/tmp/spool-test-XXXXXX");
    if (mkdtemp(path) == NULL)
        return -1;
    dir = open(path, O_RDONLY | O_DIRECTORY);
    return dir < 0 ? -1 : 0;
}

static int folder_drop(void **state)
{
    (void)state;
    close(dir);
    file_remove(AT_FDCWD, path);
    return 0;
}

static const struct spool_limits small = {.segment = 100, .total = 1000, .sync = SPOOL_SYNC_NEVER};

static void append(struct spool_writer *w, unsigned from, unsigned to)
{
    for (unsigned i = from; i <= to; i++) {
        char text[24];
        int n = snprintf(text, sizeof text, "record %u", i);
        assert_int_equal(spool_append(w, (struct str){text, (size_t)n}), 0);
    }
}

static void expect(struct spool_reader *r, unsigned from, unsigned to)
{
    for (unsigned i = from; i <= to; i++) {
        struct str record;
        char text[24];
        snprintf(text, sizeof text, "record %u", i);
        assert_int_equal(r->fresh, i);
        assert_int_equal(spool_read(r, &record), SPOOL_RECORD);
        assert_true(str_eqz(record, text));
    }
}

static void nothing(struct spool_reader *r)
{
    struct str record;
    assert_int_equal(spool_read(r, &record), SPOOL_NOTHING);
}

static unsigned segments(void)
{
    unsigned n = 0;
    for (unsigned i = 1; i < 1000; i++) {
        char name[32];
        snprintf(name, sizeof name, "%020u.s1", i);
        n += faccessat(dir, name, F_OK, 0) == 0;
    }
    return n;
}

static void records_come_out_as_they_went_in_over_many_segments(void **state)
{
    (void)state;
    struct spool_writer w;
    struct spool_reader r;
    assert_int_equal(spool_reader_open(&r, dir), 0);
    nothing(&r);
    assert_int_equal(spool_writer_open(&w, dir, &small), 0);
    for (unsigned i = 1; i <= 40; i++) {
        append(&w, i, i);
        assert_int_equal(spool_flush(&w), 0);
        expect(&r, i, i);
        nothing(&r);
    }
    assert_true(segments() > 4);
    assert_int_equal(spool_writer_close(&w), 0);
    spool_reader_close(&r);
}

static void what_is_acknowledged_goes_and_is_not_read_again(void **state)
{
    (void)state;
    struct spool_writer w;
    struct spool_reader r;
    assert_int_equal(spool_writer_open(&w, dir, &small), 0);
    append(&w, 1, 40);
    spool_flush(&w);
    unsigned before = segments();
    assert_int_equal(spool_reader_open(&r, dir), 0);
    expect(&r, 1, 30);
    spool_ack(&r, 20);
    assert_true(segments() < before);
    expect(&r, 31, 31);
    spool_rewind(&r);
    expect(&r, 21, 40);
    nothing(&r);
    spool_ack(&r, 40);
    assert_int_equal(segments(), 1);
    spool_reader_close(&r);
    append(&w, 41, 42);
    spool_flush(&w);
    assert_int_equal(spool_reader_open(&r, dir), 0);
    expect(&r, 41, 42);
    spool_reader_close(&r);
    spool_writer_close(&w);
}

static void a_full_spool_has_no_room_until_the_reader_acknowledges(void **state)
{
    (void)state;
    struct spool_writer w;
    struct spool_reader r;
    unsigned n = 0;
    assert_int_equal(spool_writer_open(&w, dir, &small), 0);
    while (spool_room(&w, 32)) {
        n++;
        append(&w, n, n);
        spool_flush(&w);
    }
    assert_in_range(n, 30, 70);
    assert_int_equal(spool_reader_open(&r, dir), 0);
    expect(&r, 1, n);
    assert_false(spool_room(&w, 32));
    spool_ack(&r, n / 2);
    assert_true(spool_room(&w, 32));
    spool_reader_close(&r);
    spool_writer_close(&w);
}

/* Cuts the last segment at every length: whole records stay, a writer goes on behind them. */
static void a_torn_end_is_not_there_and_is_written_over(void **state)
{
    (void)state;
    struct spool_limits large = spool_limits_default;
    struct spool_writer w;
    struct spool_reader r;
    for (off_t cut = 0; cut <= 3 * (8 + 8); cut++) {
        file_remove(AT_FDCWD, path);
        assert_int_equal(mkdir(path, 0700), 0);
        close(dir);
        dir = open(path, O_RDONLY | O_DIRECTORY);
        assert_int_equal(spool_writer_open(&w, dir, &large), 0);
        append(&w, 1, 3);
        spool_writer_close(&w);
        int fd = openat(dir, "00000000000000000001.s1", O_WRONLY);
        assert_int_equal(ftruncate(fd, cut), 0);
        close(fd);
        unsigned whole = (unsigned)(cut / 16);
        assert_int_equal(spool_reader_open(&r, dir), 0);
        expect(&r, 1, whole);
        nothing(&r);
        assert_int_equal(spool_writer_open(&w, dir, &large), 0);
        assert_int_equal(w.next, whole + 1);
        append(&w, whole + 1, whole + 2);
        spool_flush(&w);
        if (cut % 16 == 0)
            expect(&r, whole + 1, whole + 2); /* a reader that saw half a record reads on after a rewind only */
        spool_rewind(&r);
        expect(&r, 1, whole + 2);
        spool_writer_close(&w);
        spool_reader_close(&r);
    }
}

static void a_changed_byte_is_noticed(void **state)
{
    (void)state;
    struct spool_writer w;
    struct str record;
    assert_int_equal(spool_writer_open(&w, dir, &spool_limits_default), 0);
    append(&w, 1, 2);
    spool_writer_close(&w);
    for (off_t at = 4; at < 16; at++) {
        int fd = openat(dir, "00000000000000000001.s1", O_RDWR);
        char was, is;
        assert_int_equal(pread(fd, &was, 1, at), 1);
        is = (char)(was ^ 1);
        assert_int_equal(pwrite(fd, &is, 1, at), 1);
        struct spool_reader r;
        assert_int_equal(spool_reader_open(&r, dir), 0);
        assert_int_equal(spool_read(&r, &record), SPOOL_BROKEN);
        spool_reader_close(&r);
        assert_int_equal(pwrite(fd, &was, 1, at), 1);
        close(fd);
    }
}

static void a_lost_note_of_acknowledgements_repeats_only_what_is_left(void **state)
{
    (void)state;
    struct spool_writer w;
    struct spool_reader r;
    assert_int_equal(spool_writer_open(&w, dir, &small), 0);
    append(&w, 1, 40);
    spool_flush(&w);
    assert_int_equal(spool_reader_open(&r, dir), 0);
    expect(&r, 1, 40);
    spool_ack(&r, 25);
    spool_reader_close(&r);
    file_remove(dir, "acked");
    assert_int_equal(spool_reader_open(&r, dir), 0);
    unsigned from = (unsigned)r.fresh;
    assert_in_range(from, 10, 26);
    expect(&r, from, 40);
    spool_reader_close(&r);
    spool_writer_close(&w);
}

/* Numbers that were acknowledged are never given again, even when the records are gone with the power. */
static void acknowledged_numbers_are_used_up(void **state)
{
    (void)state;
    struct spool_writer w;
    struct spool_reader r;
    assert_int_equal(spool_writer_open(&w, dir, &spool_limits_default), 0);
    append(&w, 1, 5);
    spool_writer_close(&w);
    assert_int_equal(spool_reader_open(&r, dir), 0);
    expect(&r, 1, 5);
    spool_ack(&r, 5);
    spool_reader_close(&r);
    int fd = openat(dir, "00000000000000000001.s1", O_WRONLY);
    assert_int_equal(ftruncate(fd, 20), 0);
    close(fd);
    assert_int_equal(spool_writer_open(&w, dir, &spool_limits_default), 0);
    assert_int_equal(w.next, 6);
    append(&w, 6, 7);
    spool_flush(&w);
    assert_int_equal(spool_reader_open(&r, dir), 0);
    expect(&r, 6, 7);
    spool_reader_close(&r);
    spool_writer_close(&w);
}

/* Another process writes and is killed; what it flushed is there, in order, and nothing else. */
static void a_killed_writer_leaves_whole_records(void **state)
{
    (void)state;
    struct spool_reader r;
    struct str record;
    assert_int_equal(spool_reader_open(&r, dir), 0);
    unsigned read = 0;
    for (int round = 0; round < 3; round++) {
        pid_t pid = fork();
        if (pid == 0) {
            struct spool_writer w;
            if (spool_writer_open(&w, dir, &(struct spool_limits){4096, 1 << 20, SPOOL_SYNC_NEVER}) != 0)
                _exit(1);
            for (;;) {
                char text[24];
                int n = snprintf(text, sizeof text, "record %u", (unsigned)w.next);
                if (spool_room(&w, 100))
                    spool_append(&w, (struct str){text, (size_t)n});
                spool_flush(&w);
            }
        }
        for (unsigned until = read + 2000; read < until;)
            if (spool_read(&r, &record) == SPOOL_RECORD) {
                char text[24];
                snprintf(text, sizeof text, "record %u", ++read);
                assert_true(str_eqz(record, text));
                if (read % 100 == 0)
                    spool_ack(&r, read);
            }
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        while (spool_read(&r, &record) == SPOOL_RECORD)
            read++;
        assert_int_equal(r.fresh, read + 1);
        spool_ack(&r, read);
        spool_rewind(&r);
    }
    spool_reader_close(&r);
}

static void records_have_a_size(void **state)
{
    (void)state;
    struct spool_writer w;
    static char large[SPOOL_RECORD_MAX + 1];
    assert_int_equal(spool_writer_open(&w, dir, &spool_limits_default), 0);
    assert_int_not_equal(spool_append(&w, STR_NONE), 0);
    assert_int_not_equal(spool_append(&w, (struct str){large, sizeof large}), 0);
    assert_int_equal(spool_append(&w, (struct str){large, SPOOL_RECORD_MAX}), 0);
    spool_writer_close(&w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, folder_make, folder_drop)
    const struct CMUnitTest tests[] = {
        T(records_come_out_as_they_went_in_over_many_segments),
        T(what_is_acknowledged_goes_and_is_not_read_again),
        T(a_full_spool_has_no_room_until_the_reader_acknowledges),
        T(a_torn_end_is_not_there_and_is_written_over),
        T(a_changed_byte_is_noticed),
        T(a_lost_note_of_acknowledgements_repeats_only_what_is_left),
        T(acknowledged_numbers_are_used_up),
        T(a_killed_writer_leaves_whole_records),
        T(records_have_a_size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
