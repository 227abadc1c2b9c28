#include "lib/blob.h"

#include "lib/crypto.h"
#include "lib/loop.h"

#include <dirent.h>
#include <errno.h>
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
    char folder[64];
    struct loop loop;
    struct blobs *blobs;
    struct ops ops;
    struct blob_upload *upload;
    unsigned rooms, ends;
    enum blob_result result;
    struct blob_ref made;
    uint64_t pieces;
    struct buf handed;
    size_t found;
    bool closed;
    struct blob_read read;
    struct buf bytes;
    bool answered;
};

static void on_room(void *arg)
{
    ((struct fixture *)arg)->rooms++;
}

static void on_piece(void *arg, uint64_t number, struct str bytes)
{
    struct fixture *f = arg;

    assert_int_equal(number, f->pieces);
    f->pieces++;
    buf_str(&f->handed, bytes);
}

static void on_end(void *arg, enum blob_result result, const struct blob_ref *made)
{
    struct fixture *f = arg;

    f->ends++;
    f->result = result;
    f->made = *made;
}

static const struct blob_events events = {on_room, on_piece, on_end};
static const char space[] = "0193f5a0-0000-7000-8000-000000000001";

static struct blob_wish wish(uint64_t limit, enum blob_keep keep)
{
    return (struct blob_wish){.space = str_z(space), .limit = limit, .keep = keep};
}

static void on_closed(void *arg)
{
    ((struct fixture *)arg)->closed = true;
}

static void on_read(void *arg, const struct blob_read *read)
{
    struct fixture *f = arg;

    f->read = *read;
    f->answered = true;
    buf_str(&f->bytes, read->bytes);
}

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    strcpy(f->folder, "/tmp/slipway-blob-XXXXXX");
    assert_non_null(mkdtemp(f->folder));
    assert_int_equal(loop_init(&f->loop), 0);
    ops_init(&f->ops);
    f->blobs = blobs_open(&f->loop, f->folder);
    assert_non_null(f->blobs);
    *state = f;
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
    struct fixture *f = *state;

    blobs_close(f->blobs, on_closed, f);
    while (!f->closed)
        loop_turn(&f->loop, true);
    loop_fini(&f->loop);
    buf_free(&f->bytes);
    buf_free(&f->handed);
    nftw(f->folder, remove_one, 8, FTW_DEPTH | FTW_PHYS);
    free(f);
    return 0;
}

/* Uploads n bytes, byte i being i * 7, in pieces of `step`. */
static void upload(struct fixture *f, size_t n, size_t step)
{
    char *bytes = malloc(n + 1);
    struct buf hex = {0};
    uint8_t sum[CRYPTO_HASH];

    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(i * 7);
    const struct blob_wish w = wish(n, BLOB_KEEP_FILE);
    f->upload = blob_upload_start(f->blobs, &w, &events, f);
    assert_non_null(f->upload);
    for (size_t done = 0; done < n; done += step) {
        unsigned rooms = f->rooms;
        enum blob_result r = blob_upload_add(f->upload, (struct str){bytes + done, n - done < step ? n - done : step});
        assert_true(r == BLOB_OK || r == BLOB_WAIT);
        while (r == BLOB_WAIT && f->rooms == rooms)
            loop_turn(&f->loop, true);
    }
    blob_upload_end(f->upload);
    f->ends = 0;
    while (f->ends == 0)
        loop_turn(&f->loop, true);
    assert_int_equal(f->result, BLOB_OK);
    assert_int_equal(f->made.size, n);
    crypto_sha256((struct str){bytes, n}, sum);
    buf_hex(&hex, sum, sizeof(sum));
    assert_true(str_eq(buf_view(&hex), str_z(f->made.digest + 7)));
    buf_free(&hex);
    free(bytes);
}

static void read_at(struct fixture *f, const struct blob_ref *ref, uint64_t offset)
{
    f->answered = false;
    buf_clear(&f->bytes);
    assert_true(blob_read_start(f->blobs, str_z(space), ref, offset, &f->ops, on_read, f));
    assert_false(f->answered);
    while (!f->answered)
        loop_turn(&f->loop, true);
}

static void bytes_come_back_under_their_digest(void **state)
{
    struct fixture *f = *state;
    const size_t n = 3 * BLOB_PIECE + 17;

    upload(f, n, 100000);
    for (size_t at = 0; at < n; at += BLOB_PIECE) {
        read_at(f, &f->made, at);
        assert_int_equal(f->read.result, BLOB_OK);
        assert_int_equal(f->read.size, n);
        assert_int_equal(f->bytes.n, n - at < BLOB_PIECE ? n - at : BLOB_PIECE);
        for (size_t i = 0; i < f->bytes.n; i += 997)
            assert_int_equal((unsigned char)f->bytes.p[i], (unsigned char)((at + i) * 7));
    }
    read_at(f, &f->made, n);
    assert_int_equal(f->bytes.n, 0);
}

static void empty_and_equal_blobs_are_fine(void **state)
{
    struct fixture *f = *state;

    upload(f, 0, 1);
    upload(f, 5, 2);
    upload(f, 5, 5);
    read_at(f, &f->made, 0);
    assert_int_equal(f->bytes.n, 5);
    struct blob_ref second = f->made;
    upload(f, 5, 1);
    assert_string_equal(f->made.digest, second.digest);
    assert_string_not_equal(f->made.id, second.id);
    blob_remove(f->blobs, str_z(space), &second);
    read_at(f, &second, 0);
    assert_int_equal(f->read.result, BLOB_UNKNOWN);
    read_at(f, &f->made, 0); /* the other of the same bytes stays */
    assert_int_equal(f->bytes.n, 5);
}

static void wait_for_the_end(struct fixture *f)
{
    f->ends = 0;
    while (f->ends == 0)
        loop_turn(&f->loop, true);
}

static void other_bytes_than_wished_for_leave_nothing(void **state)
{
    struct fixture *f = *state;
    struct blob_wish w = wish(10, BLOB_KEEP_FILE);
    const char *other = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    w.digest = str_z(other);
    f->upload = blob_upload_start(f->blobs, &w, &events, f);
    assert_int_equal(blob_upload_add(f->upload, S("123")), BLOB_OK);
    blob_upload_end(f->upload);
    wait_for_the_end(f);
    assert_int_equal(f->result, BLOB_OTHER);
    assert_string_not_equal(f->made.digest, other);
    read_at(f, &f->made, 0);
    assert_int_equal(f->read.result, BLOB_UNKNOWN);
}

static void pieces_can_be_handed_on_instead(void **state)
{
    struct fixture *f = *state;
    const struct blob_wish w = wish(3 * BLOB_PIECE, BLOB_HAND_ON);
    char *bytes = calloc(1, 2 * BLOB_PIECE);

    f->upload = blob_upload_start(f->blobs, &w, &events, f);
    memset(bytes, 'a', BLOB_PIECE);
    memset(bytes + BLOB_PIECE, 'b', BLOB_PIECE);
    assert_int_equal(blob_upload_add(f->upload, (struct str){bytes, BLOB_PIECE - 1}), BLOB_OK);
    assert_int_equal(blob_upload_add(f->upload, (struct str){bytes + BLOB_PIECE - 1, 2}), BLOB_OK); /* cut at a piece */
    assert_int_equal(blob_upload_add(f->upload, (struct str){bytes + BLOB_PIECE + 1, BLOB_PIECE - 1}), BLOB_WAIT);
    while (f->pieces == 0)
        loop_turn(&f->loop, true);
    loop_turn(&f->loop, false);
    assert_int_equal(f->rooms, 0); /* the first piece is not taken yet */
    blob_upload_taken(f->upload);
    assert_int_equal(f->rooms, 1);
    blob_upload_end(f->upload);
    while (f->pieces == 1)
        loop_turn(&f->loop, true);
    blob_upload_taken(f->upload);
    if (f->ends == 0)
        wait_for_the_end(f);
    assert_int_equal(f->result, BLOB_OK);
    assert_int_equal(f->pieces, 2);
    assert_int_equal(f->handed.n, 2 * BLOB_PIECE);
    assert_memory_equal(f->handed.p, bytes, f->handed.n);
    read_at(f, &f->made, 0);
    assert_int_equal(f->read.result, BLOB_UNKNOWN); /* no file */
    free(bytes);
}

static void on_found(void *arg, const struct blob_found *found, size_t n)
{
    struct fixture *f = arg;

    f->found = n;
    f->answered = true;
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(found[i].space, space);
        assert_string_equal(found[i].ref.digest, f->made.digest);
        assert_string_equal(found[i].ref.id, f->made.id);
    }
}

static size_t scan(struct fixture *f, unsigned part, int64_t age_ms)
{
    f->answered = false;
    assert_true(blob_scan_start(f->blobs, part, age_ms, 10, &f->ops, on_found, f));
    while (!f->answered)
        loop_turn(&f->loop, true);
    return f->found;
}

static void a_scan_finds_what_is_old_enough(void **state)
{
    struct fixture *f = *state;
    char digits[3] = {0};

    upload(f, 5, 5);
    memcpy(digits, f->made.digest + 7, 2);
    unsigned part = (unsigned)strtoul(digits, NULL, 16);
    assert_int_equal(scan(f, part, 0), 1);
    assert_int_equal(scan(f, part, 3600000), 0);
    assert_int_equal(scan(f, (part + 1) % 256, 0), 0);
}

static void more_than_the_limit_is_refused(void **state)
{
    struct fixture *f = *state;

    const struct blob_wish w = wish(4, BLOB_KEEP_FILE);

    f->upload = blob_upload_start(f->blobs, &w, &events, f);
    assert_int_equal(blob_upload_add(f->upload, S("1234")), BLOB_OK);
    assert_int_equal(blob_upload_add(f->upload, S("5")), BLOB_TOO_LARGE);
    blob_upload_drop(f->upload);
}

static void a_dropped_upload_leaves_no_file(void **state)
{
    struct fixture *f = *state;
    char path[100];
    struct dirent *entry;
    unsigned files = 0;
    char *bytes = calloc(1, BLOB_PIECE);
    const struct blob_wish w = wish(10 * BLOB_PIECE, BLOB_KEEP_FILE);

    f->upload = blob_upload_start(f->blobs, &w, &events, f);
    blob_upload_add(f->upload, (struct str){bytes, BLOB_PIECE}); /* now a piece is under way */
    blob_upload_drop(f->upload);
    free(bytes);
    while (loop_busy(&f->loop) > 0)
        loop_turn(&f->loop, true);
    assert_int_equal(f->ends, 0);
    snprintf(path, sizeof(path), "%s/new", f->folder);
    DIR *dir = opendir(path);
    while ((entry = readdir(dir)) != NULL)
        files += entry->d_name[0] != '.';
    closedir(dir);
    assert_int_equal(files, 0);
}

static void a_disk_that_fails_ends_the_upload(void **state)
{
    struct fixture *f = *state;
    char path[100];
    const struct blob_wish w = wish(10, BLOB_KEEP_FILE);

    snprintf(path, sizeof(path), "%s/new", f->folder);
    assert_int_equal(rmdir(path), 0);
    f->upload = blob_upload_start(f->blobs, &w, &events, f);
    blob_upload_add(f->upload, S("123"));
    blob_upload_end(f->upload);
    while (f->ends == 0)
        loop_turn(&f->loop, true);
    assert_int_equal(f->result, BLOB_FAILED);
}

static void only_digests_name_blobs(void **state)
{
    struct fixture *f = *state;

    struct blob_ref ref = {.digest = "sha256:../../etc/passwd", .id = "1"};
    struct blob_wish w = wish(10, BLOB_KEEP_FILE);

    assert_false(blob_read_start(f->blobs, str_z(space), &ref, 0, &f->ops, on_read, f));
    strcpy(ref.digest, "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_false(blob_read_start(f->blobs, S("../etc"), &ref, 0, &f->ops, on_read, f));
    w.space = S("new");
    assert_null(blob_upload_start(f->blobs, &w, &events, f));
    assert_false(blob_digest_valid(S("sha256:")));
    assert_false(blob_digest_valid(S("sha256:"
                                     "E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855")));
    assert_true(blob_digest_valid(S("sha256:"
                                    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(bytes_come_back_under_their_digest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empty_and_equal_blobs_are_fine, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_bytes_than_wished_for_leave_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pieces_can_be_handed_on_instead, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_scan_finds_what_is_old_enough, set_up, tear_down),
        cmocka_unit_test_setup_teardown(more_than_the_limit_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_dropped_upload_leaves_no_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_disk_that_fails_ends_the_upload, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_digests_name_blobs, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
