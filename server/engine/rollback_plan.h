/* What a rollback would do, out of the plan of the job that would do it (job_start.h). Pure.
 *
 *     {affectedTargets: [{id, name}], fromReleaseId|null, fromReleaseName|null, partial,
 *      steps: [{fromRelease: {id, name}|null, order, targetId, targetName, toRelease: {id, name}|null}],
 *      toReleaseId|null, toReleaseName|null, warnings: ["..."]}
 *
 * toRelease null: the target goes back to nothing. toReleaseId null: the targets go back to different releases. partial: a
 * target keeps what is taken back elsewhere, or the targets do not come to one release; then the environment's release stays
 * what it is, and so do the job and the promotion that are taken back. */
#ifndef SERVER_ENGINE_ROLLBACK_PLAN_H
#define SERVER_ENGINE_ROLLBACK_PLAN_H

#include "lib/json.h"

enum { ROLLBACK_WARNINGS = 100 }; /* told one by one; further ones are counted */

struct rollback_plan {
    struct str text; /* as above, RFC 8785 order */
    bool partial;
    const struct json *to;        /* the RELEASE all targets come to; NULL: none */
    const struct json **releases; /* each RELEASE that a target comes to, once */
    size_t n_releases;
    size_t affected;
};
/* `from`: {id, name} of what is taken back; NULL: unknown. subset: the caller chose the targets, so others may keep it.
 * False: no memory. */
bool rollback_plan(struct arena *a, const struct json *job_plan, const struct json *from, bool subset,
                   struct rollback_plan *out);

#endif
