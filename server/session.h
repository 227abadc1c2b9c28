/* Sessions: connections that live on after their request was admitted. Each `auth-trust` the revocation counter of
 * every partition that has sessions is read; where it moved, the credentials of its sessions are looked up with all that
 * they depend on, each once. So a stream whose caller was revoked, or may do less than when it began, is told within a
 * second, without a message that could be missed. */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include "lib/list.h"
#include "server/request.h"

struct sessions; /* of one worker */

struct session { /* embedded, private; zeroed memory is one that is not watched */
    struct list link;
    const struct caller *caller;
    int64_t revocations;
    int64_t expires_ms; /* of the credential, as it was looked up last; 0: not looked up yet, or never */
    void (*revoked)(void *arg);
    void *arg;
};

struct sessions *sessions_new(struct worker *w); /* NULL when memory ran out */
void sessions_free(struct sessions *s);          /* after the last session was unwatched, before the store closes */

/* `revoked` runs once, when the credential or something that it depends on was revoked, is over or gone, its tenant was
 * suspended, or its user lost a permission that the caller has; the session is no longer watched then. It may watch and
 * unwatch any session. The caller must live as long as it is watched; one without a credential is never revoked. */
void session_watch(struct sessions *all, struct session *s, const struct caller *caller, void (*revoked)(void *arg),
                   void *arg);
void session_unwatch(struct session *s);
static inline bool session_watched(const struct session *s)
{
    return s->link.next != NULL && !list_empty(&s->link);
}

#endif
