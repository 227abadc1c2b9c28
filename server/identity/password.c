#include "server/identity/password.h"

#include "lib/crypto.h"
#include "lib/work.h"
#include "server/worker.h"

#include <string.h>

/* Of no password: what a guess at somebody unknown is compared with. */
static const char nobody[] = "$argon2id$v=19$m=19456,t=2,p=1$"
                             "AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/* Long enough, and the first that anybody tries. Compared in lower case. */
static const char *const common[] = {"password1234",     "password12345",    "password123456",
                                     "passwordpassword", "123456789012",     "1234567890123",
                                     "12345678901234",   "123456123456",     "qwertyuiop12",
                                     "qwertyuiop123",    "qwertyuiop[]",     "qwerty123456",
                                     "1q2w3e4r5t6y",     "1qaz2wsx3edc",     "administrator",
                                     "administrator1",   "changemechangeme", "changeme1234",
                                     "letmeinletmein",   "welcome12345",     "iloveyou1234",
                                     "abcdefghijkl",     "abcdefghijklm",    "aaaaaaaaaaaa",
                                     "000000000000",     "111111111111",     "correcthorsebatterystaple"};

const char *password_fault(struct str password)
{
    if (password.n > PASSWORD_LENGTH_MAX)
        return "is longer than 1,024 bytes";
    if (!str_utf8(password))
        return "is not UTF-8";
    if (str_utf8_length(password) < PASSWORD_LENGTH_MIN)
        return "is shorter than 12 characters";
    for (size_t i = 0; i < ARRAY_LEN(common); i++)
        if (str_ieq(password, str_z(common[i])))
            return "is one of those that are tried first";
    return NULL;
}

struct job {
    struct worker *worker;
    size_t n;
    bool done;
    char hashed[CRYPTO_PASSWORD];
    char password[PASSWORD_LENGTH_MAX];
    password_hashed *then_hashed;
    password_checked *then_checked;
    void *arg;
};

static void hash(void *data)
{
    struct job *job = data;
    job->done = crypto_password_hash((struct str){job->password, job->n}, job->hashed);
}

static void check(void *data)
{
    struct job *job = data;
    job->done = crypto_password_check((struct str){job->password, job->n}, job->hashed);
}

static void drop(void *data)
{
    struct job *job = data;
    job->worker->passwords--;
}

static void hash_done(void *arg, void *data)
{
    struct job *job = data;
    (void)arg;
    job->then_hashed(job->arg, job->done ? str_z(job->hashed) : STR_NONE);
}

static void check_done(void *arg, void *data)
{
    struct job *job = data;
    (void)arg;
    job->then_checked(job->arg, job->done);
}

static enum code start(struct job *job, struct str password, const struct work_kind *kind,
                       void (*done)(void *arg, void *data), struct ops *asker)
{
    struct worker *w = job->worker;
    if (w->passwords >= PASSWORDS_MAX)
        return SYS_OVERLOADED;
    job->n = password.n;
    memcpy(job->password, password.p, password.n);
    int error = work_start(&w->loop, asker, kind, job, sizeof *job, done, NULL);
    crypto_wipe(job->password, sizeof job->password);
    w->passwords += error == 0;
    return error == 0 ? OK : SYS_OVERLOADED;
}

enum code password_hash(struct worker *w, struct str password, struct ops *asker, password_hashed *then, void *arg)
{
    static const struct work_kind kind = {hash, drop};
    struct job job = {.worker = w, .then_hashed = then, .arg = arg};
    return password.n > PASSWORD_LENGTH_MAX ? SYS_INTERNAL : start(&job, password, &kind, hash_done, asker);
}

enum code password_check(struct worker *w, struct str password, struct str hashed, struct ops *asker,
                         password_checked *then, void *arg)
{
    static const struct work_kind kind = {check, drop};
    struct job job = {.worker = w, .then_checked = then, .arg = arg};
    bool known = hashed.n > 0 && str_copy(job.hashed, sizeof job.hashed, hashed) && password.n <= PASSWORD_LENGTH_MAX;
    if (!known) {
        str_copy(job.hashed, sizeof job.hashed, str_z(nobody));
        password = S("");
    }
    return start(&job, password, &kind, check_done, asker);
}
