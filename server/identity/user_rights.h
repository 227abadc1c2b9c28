/* Who may change people: nobody gives, and nobody takes away, what they do not have. A change of a user needs a caller with
 * everything that the user has before it and after it, groups included; so somebody who manages the tenant and nothing else
 * cannot touch an administrator: not remove, suspend, rename or give a new password. The same holds for groups, and for the
 * roles of an invitation.
 *
 * And nobody takes the tenant out of their own hands: who acts in a user's name (signed in, by a grant or by a key of
 * that user) and manages the tenant does not remove or suspend that user, nor take `tenant:manage` from it. So one who
 * can manage the tenant is always left, and whoever is taken off was taken off by another. */
#ifndef SERVER_IDENTITY_USER_RIGHTS_H
#define SERVER_IDENTITY_USER_RIGHTS_H

#include "server/crud.h"

enum { USER_GROUPS_MAX = 16 };

/* Adds what roles may, names between commas; what is none may nothing. */
void rights_add(struct permission_set *rights, struct str roles);
/* What the roles of a document's member may; NULL: nothing. */
struct permission_set rights_of(struct request *r, const struct json *roles);
/* PERM_DENIED, and `what` says who has or gets it ("this user has"), when the caller lacks some of `rights`. */
enum code rights_refuse(struct request *r, const struct permission_set *rights, const char *what);

/* What groups add, read anew for each try of a change. */
struct user_rights {
    struct str before, after; /* roles, between commas */
    struct request *request;  /* private from here */
    void (*then)(struct request *r);
    struct str *groups; /* keys of their records: those from before, then the others */
    size_t old_count, count;
};
/* For `gather`. NEXT: there is nothing to read. WAIT: `then` runs on a live request, or an error is answered. */
enum flow user_rights_read(struct request *r, struct user_rights *out, void (*then)(struct request *r));
/* For `prepare`, with what was read. The commit then expects the groups to be as they were. */
enum code user_rights_check(struct request *r, struct change *c, const struct user_rights *rights);
/* Whether they manage the tenant. */
bool user_rights_manage(const struct permission_set *rights);
/* The refusal of a change by which a user's own hold on the tenant would end. */
enum code user_rights_refuse_own(struct request *r);

#endif
