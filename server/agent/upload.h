/* Files that a step leaves behind: what a command has put into the folder `artifacts` of its work folder goes to the server
 * when it has ended, however, as artifacts of the step. Plain files only, at most UPLOAD_MOST, of names as in
 * server/artifact.h, each at most as large as deploy.json's artifactMax. What cannot be left is said in the task's log; it
 * is no failure of the step. */
#ifndef SERVER_AGENT_UPLOAD_H
#define SERVER_AGENT_UPLOAD_H

#include "server/agent/protocol.h"

#define UPLOAD_FOLDER "artifacts"

enum { UPLOAD_MOST = 100 };

struct upload_job {
    const struct task *task;
    struct arena *arena;
    int dir;                                  /* the task's folder */
    void (*say)(void *arg, const char *text); /* a line for the log */
    bool (*stopped)(void *arg);               /* the task is to end: leave the rest */
    void *arg;
};
/* Blocks until all is done. Fine when there is no such folder. */
void upload_artifacts(const struct upload_job *job);

#endif
