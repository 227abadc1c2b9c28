#include "server/engine/job_step.h"

/* No step type is carried out by a job yet. */
enum code job_step_work(struct worker *w, const struct job_step *step, struct ops *asker, job_step_then *then,
                        void *arg)
{
    (void)w;
    (void)step;
    (void)asker;
    (void)then;
    (void)arg;
    return SYS_OVERLOADED;
}
