/* Passwords of people: argon2id with OWASP's figures (19 MiB, two passes, one lane), on the thread pool, and few at a time:
 * each takes memory and tens of milliseconds of a core. What is kept is libsodium's text form, with salt and figures. */
#ifndef SERVER_IDENTITY_PASSWORD_H
#define SERVER_IDENTITY_PASSWORD_H

#include "server/request.h"

enum {
    PASSWORD_LENGTH_MIN = 12,   /* characters: the length is what counts (NIST SP 800-63B §3.1.1) */
    PASSWORD_LENGTH_MAX = 1024, /* bytes */
    PASSWORDS_MAX = 16          /* under way in a worker; SYS_OVERLOADED beyond */
};

/* What is wrong with a new password, to be said after its name; NULL: nothing. */
const char *password_fault(struct str password);

/* The contract of both is lib/op.h's. `hashed` is borrowed for the call; STR_NONE: no memory. */
typedef void password_hashed(void *arg, struct str hashed);
enum code password_hash(struct worker *w, struct str password, struct ops *asker, password_hashed *then, void *arg);
/* Whether `password` is the one of `hashed`. An empty `hashed`, of somebody unknown, takes as long and never is. */
typedef void password_checked(void *arg, bool same);
enum code password_check(struct worker *w, struct str password, struct str hashed, struct ops *asker,
                         password_checked *then, void *arg);

#endif
