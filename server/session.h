/* Sessions: connections that live on after their request was admitted. Each `auth-trust` the revocation counter of
 * every partition that has sessions is read; where it moved, the credentials of its sessions are looked up, each once.
 * So a stream whose caller was revoked is told within a second, without a message that could be missed. */
#ifndef SERVER_SESSION_H
#define SERVER_SESSION_H

#include "lib/id.h"
#include "lib/list.h"
#include "server/request.h"

struct sessions; /* of one worker */

struct session {                 /* embedded; zeroed memory is one that is not watched */
    struct list link;            /* private */
    char credential[65], of[65]; /* the end of either, or of what they depend on, ends it */
    char tenant[ID_UUID];
    unsigned partition;
    int64_t revocations;
    void (*revoked)(void *arg);
    void *arg;
};

struct sessions *sessions_new(struct worker *w); /* NULL when memory ran out */
void sessions_free(struct sessions *s);          /* after the last session was unwatched, before the store closes */

/* `revoked` runs once, when the credential was revoked, is over or gone; the session is no longer watched then. It may
 * watch and unwatch any session. A caller without a credential is never revoked. */
void session_watch(struct sessions *all, struct session *s, const struct caller *caller, void (*revoked)(void *arg),
                   void *arg);
void session_unwatch(struct session *s);
static inline bool session_watched(const struct session *s)
{
    return s->link.next != NULL && !list_empty(&s->link);
}

#endif
