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
    char digest[BLOB_DIGEST];
    uint64_t size;
    struct blob_read read;
    struct buf bytes;
    bool answered;
};

static void on_room(void *arg)
{
    ((struct fixture *)arg)->rooms++;
}

static void on_end(void *arg, enum blob_result result, const char *digest, uint64_t size)
{
    struct fixture *f = arg;

    f->ends++;
    f->result = result;
    f->size = size;
    memcpy(f->digest, digest, sizeof(f->digest));
}

static const struct blob_events events = {on_room, on_end};

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

    while (loop_busy(&f->loop) > 0)
        loop_turn(&f->loop, true);
    blobs_close(f->blobs);
    loop_fini(&f->loop);
    buf_free(&f->bytes);
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
    f->upload = blob_upload_start(f->blobs, n, &events, f);
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
    assert_int_equal(f->size, n);
    crypto_sha256((struct str){bytes, n}, sum);
    buf_hex(&hex, sum, sizeof(sum));
    assert_true(str_eq(buf_view(&hex), str_z(f->digest + 7)));
    buf_free(&hex);
    free(bytes);
}

static void read_at(struct fixture *f, struct str digest, uint64_t offset)
{
    f->answered = false;
    buf_clear(&f->bytes);
    assert_true(blob_read_start(f->blobs, digest, offset, &f->ops, on_read, f));
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
        read_at(f, str_z(f->digest), at);
        assert_int_equal(f->read.result, BLOB_OK);
        assert_int_equal(f->read.size, n);
        assert_int_equal(f->bytes.n, n - at < BLOB_PIECE ? n - at : BLOB_PIECE);
        for (size_t i = 0; i < f->bytes.n; i += 997)
            assert_int_equal((unsigned char)f->bytes.p[i], (unsigned char)((at + i) * 7));
    }
    read_at(f, str_z(f->digest), n);
    assert_int_equal(f->bytes.n, 0);
}

static void empty_and_equal_blobs_are_fine(void **state)
{
    struct fixture *f = *state;

    upload(f, 0, 1);
    upload(f, 5, 2);
    upload(f, 5, 5);
    read_at(f, str_z(f->digest), 0);
    assert_int_equal(f->bytes.n, 5);
    blob_remove(f->blobs, str_z(f->digest));
    read_at(f, str_z(f->digest), 0);
    assert_int_equal(f->read.result, BLOB_UNKNOWN);
}

static void more_than_the_limit_is_refused(void **state)
{
    struct fixture *f = *state;

    f->upload = blob_upload_start(f->blobs, 4, &events, f);
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

    f->upload = blob_upload_start(f->blobs, 10 * BLOB_PIECE, &events, f);
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

    snprintf(path, sizeof(path), "%s/new", f->folder);
    assert_int_equal(rmdir(path), 0);
    f->upload = blob_upload_start(f->blobs, 10, &events, f);
    blob_upload_add(f->upload, S("123"));
    blob_upload_end(f->upload);
    while (f->ends == 0)
        loop_turn(&f->loop, true);
    assert_int_equal(f->result, BLOB_FAILED);
}

static void only_digests_name_blobs(void **state)
{
    struct fixture *f = *state;

    assert_false(blob_read_start(f->blobs, S("sha256:../../etc/passwd"), 0, &f->ops, on_read, f));
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
        cmocka_unit_test_setup_teardown(more_than_the_limit_is_refused, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_dropped_upload_leaves_no_file, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_disk_that_fails_ends_the_upload, set_up, tear_down),
        cmocka_unit_test_setup_teardown(only_digests_name_blobs, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
