#include "server/engine/drain_private.h"

#include "server/settings.h"
#include "server/worker.h"

int64_t retention_at(const struct drains *ds, const struct run *r)
{
    int64_t keep_ms = r->template->kind->keep_ms;

    return r->finished_ms == 0 ? 0 : r->finished_ms + (keep_ms > 0 ? keep_ms : ds->worker->settings->run_keep);
}

void retention_write(struct drain *d, struct commit *c)
{
    const char *kind = d->place.kind->name;
    struct str channel = place_channel(&d->arena, &d->place);

    for (int i = 0; i < d->r->template->n; i++)
        for (int64_t attempt = 1; attempt <= d->r->steps[i].attempt; attempt++) {
            struct str node = d->r->template->nodes[i].id;

            commit_remove(c, key_log(&d->arena, d->place.space, kind, d->place.id, node, (unsigned)attempt));
            commit_remove(c, key_log_meta(&d->arena, d->place.space, kind, d->place.id, node, (unsigned)attempt));
        }
    commit_remove(c, key_channel(&d->arena, d->place.space, channel));
    commit_remove(c, key_channel_seq(&d->arena, d->place.space, channel));
    commit_remove(c, key_artifacts(&d->arena, d->place.space, kind, d->place.id)); /* the bytes: blob_settle */
    commit_remove(c, key_inbox(&d->arena, d->place.space, d->place.id));
    commit_remove(c, key_seen(&d->arena, d->place.space, d->place.id));
    commit_expire(c, key_lease(&d->arena, d->place.space, d->place.id), 60000); /* it is still ours */
    commit_timer(c, kind, d->place.id, 0);
    commit_delete(c, kind, d->place.id, 0);
}
