#include "server/engine/seal.h"

#include "lib/keyring.h"
#include "lib/log.h"
#include "server/engine/kind.h"
#include "server/engine/redact.h"
#include "server/event.h"
#include "server/settings.h"
#include "server/worker.h"

static const struct json_limits limits = {.depth = 64, .nodes = 400000};

static void wipe(struct buf *b)
{
    if (b->p != NULL)
        crypto_wipe(b->p, b->n);
}

/* --- inputs --- */

/* The one under which documents seal their secrets, so that sealing anew finds them. */
static struct str inputs_context(struct arena *a, const struct run_origin *origin, const struct template *t)
{
    return arena_printf(a, STR_FMT ":%s:" STR_FMT ":secrets", STR_ARG(origin->tenant), t->kind->name,
                        STR_ARG(origin->id));
}

bool seal_inputs(struct arena *a, const struct keyring *k, const struct run_origin *origin, const struct template *t,
                 const struct json **shown, struct str *sealed)
{
    struct str context = inputs_context(a, origin, t);
    struct buf plain, masked, out;
    struct json_out o;

    *shown = origin->inputs;
    *sealed = STR_NONE;
    if (origin->inputs == NULL)
        return true;
    buf_init_arena(&plain, a, 256);
    json_write(&plain, origin->inputs);
    buf_init_arena(&masked, a, plain.n + 16);
    json_out_init(&o, &masked);
    redact_inputs_write(&o, origin->inputs, t->inputs);
    if (plain.failed || masked.failed || context.p == NULL)
        return false;
    if (str_eq(buf_view(&plain), buf_view(&masked)))
        return true;
    buf_init_arena(&out, a, plain.n + 64);
    keyring_seal(k, context, buf_view(&plain), &out);
    wipe(&plain);
    *shown = json_parse(a, buf_view(&masked), &limits, NULL);
    *sealed = buf_view(&out);
    return !out.failed && *shown != NULL;
}

bool seal_open_inputs(struct run *r, const struct keyring *k, struct str sealed)
{
    struct str context;
    struct buf plain;

    if (sealed.n == 0)
        return true;
    context = inputs_context(r->arena, &r->origin, r->template);
    buf_init_arena(&plain, r->arena, sealed.n);
    if (context.p == NULL)
        return false;
    if (!keyring_unseal(k, context, sealed, &plain, NULL)) {
        log_error("run.sealed", "kind=%s id=" STR_FMT, r->template->kind->name, STR_ARG(r->origin.id));
        return false;
    }
    r->origin.inputs = json_parse(r->arena, buf_view(&plain), &limits, NULL);
    return r->origin.inputs != NULL;
}

/* --- tasks --- */

static void task_context(struct str tenant, struct str task, struct buf *out)
{
    buf_printf(out, STR_FMT ":task:" STR_FMT, STR_ARG(tenant), STR_ARG(task));
}

struct str seal_task(struct arena *a, const struct keyring *k, struct str tenant, struct str task, struct str envelope)
{
    struct str credentials = event_member(envelope, "credentials");
    struct buf context, blob, out;

    if (credentials.n == 0 || str_eqz(credentials, "{}"))
        return envelope;
    buf_init_arena(&context, a, 192);
    task_context(tenant, task, &context);
    buf_init_arena(&blob, a, envelope.n + 64);
    keyring_seal(k, buf_view(&context), envelope, &blob);
    buf_init_arena(&out, a, blob.n * 4 / 3 + 256);
    buf_printf(&out, "{\"assignedAt\":\"" STR_FMT "\",\"id\":\"" STR_FMT "\",\"sealed\":\"",
               STR_ARG(event_member(envelope, "assignedAt")), STR_ARG(task));
    buf_base64url(&out, blob.p, blob.n);
    buf_z(&out, "\"}");
    return context.failed || blob.failed || out.failed ? STR_NONE : buf_view(&out);
}

void seal_open_task(const struct keyring *k, struct str tenant, struct str stored, struct buf *out)
{
    struct str sealed = event_member(stored, "sealed"), task = event_member(stored, "id");
    struct buf context = {0}, blob = {0}, plain = {0};

    if (sealed.n == 0) {
        buf_str(out, stored);
        return;
    }
    task_context(tenant, task, &context);
    if (buf_unbase64url(&blob, sealed) && !context.failed &&
        keyring_unseal(k, buf_view(&context), buf_view(&blob), &plain, NULL)) {
        buf_str(out, buf_view(&plain));
    } else {
        log_error("task.sealed", "task=" STR_FMT, STR_ARG(task));
        buf_str(out, stored);
    }
    wipe(&plain);
    buf_free(&context);
    buf_free(&blob);
    buf_free(&plain);
}

void seal_open_event(struct worker *w, struct str tenant, struct str event, struct buf *out)
{
    struct str task = str_eqz(event_member(event, "type"), "task_assigned") ? event_member(event, "task") : STR_NONE;
    size_t at = task.n == 0 ? event.n : (size_t)(task.p - event.p);

    buf_str(out, str_slice(event, 0, at));
    if (task.n > 0)
        seal_open_task(w->settings->keyring, tenant, task, out);
    buf_str(out, str_slice(event, at + task.n, event.n));
}
