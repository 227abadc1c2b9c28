/* Artifacts: the files that belong to a deployment job or to a step of a workflow run (spec §8.4, §6.4).
 *
 * Those of a job are not stored: they are functions of its plan, which never changes, and (the log) of its channel once the
 * job has ended; so each is the same bytes whenever it is read.
 *
 *     compose.lock.yml   every component pinned to its digest; the last line is the SHA-256 of all bytes before it
 *     version.json       the sticker as the targets get it, but for who wrote it and when
 *     manifest.json      what goes where: release, strategy, every target with what it had before, and the two above
 *     deploy.log         what the tasks printed and how they ended, in the order in which it happened
 *
 * Those of a step were uploaded by its agent: bytes in the store of blobs, a record in the hash key_artifacts of the run. */
#ifndef SERVER_ARTIFACT_H
#define SERVER_ARTIFACT_H

#include "lib/blob.h"
#include "lib/json.h"

struct arena;
struct run;

enum job_artifact { JOB_LOCK, JOB_STICKER, JOB_MANIFEST, JOB_LOG, JOB_ARTIFACTS };

struct artifact {
    const char *name, *type, *content_type;
    char id[ID_UUID];
    char hash[BLOB_DIGEST];
    int64_t created_ms;
    struct str bytes; /* in the arena, or the caller's */
};

/* One of the first three of a job that has started. False: memory. */
bool artifact_render(struct arena *a, const struct run *job, enum job_artifact which, struct artifact *out);
/* deploy.log, from its text (not copied); of a job that has ended. */
void artifact_of_log(const struct run *job, struct str text, struct artifact *out);
/* Adds an event of the job's channel to the text: a line of a task, a beginning or an end; or nothing. False: that was the
 * end, of the job or of what a log may have. */
bool artifact_log_event(struct buf *text, const struct run *job, struct str event);

/* "txt" -> text/plain and so on, by the end of a name; application/octet-stream. */
const char *artifact_content_type(struct str name);
/* 1 to 128 letters, digits, `.`, `_`, `-`, not beginning with a dot. */
bool artifact_name_valid(struct str name);

#endif
