#include "server/api/orchestrator/version_digest.h"

#include "lib/blob.h"
#include "lib/crypto.h"
#include "lib/work.h"
#include "proto/fetch.h"
#include "server/engine/drain.h"
#include "server/settings.h"
#include "server/worker.h"

#include <stdlib.h>
#include <string.h>

enum { FETCH_MS = 8000 }; /* within the request's own time */

struct hashing { /* what the work gets a copy of */
    char *bytes;
    size_t n;
    char digest[BLOB_DIGEST];
};

struct found { /* c->state: when the change is tried again, nothing is fetched again */
    struct str digest;
    int64_t size;
};

static void hash_work(void *data)
{
    struct hashing *h = data;
    uint8_t sum[CRYPTO_HASH];

    crypto_sha256((struct str){h->bytes, h->n}, sum);
    blob_digest_write(sum, h->digest);
}

static void hash_drop(void *data)
{
    free(((struct hashing *)data)->bytes);
}

static void set(struct change *c, const struct found *f)
{
    overlay_str(&c->set, "digest", f->digest);
    if (json_get(c->whole, "size") == NULL)
        overlay_int(&c->set, "size", f->size);
}

static void hashed(void *arg, void *data)
{
    struct request *r = arg;
    const struct hashing *h = data;
    struct change *c = change_current(r);
    struct found *f = arena_new(&r->arena, struct found);

    if (f == NULL) {
        reply_error(r, SYS_OVERLOADED);
        return;
    }
    *f = (struct found){arena_str(&r->arena, str_z(h->digest)), (int64_t)h->n};
    c->state = f;
    set(c, f);
    change_gathered(r);
}

static enum flow refuse(struct request *r, const char *why)
{
    return reply_error(r,
                       change_refuse_field(r, REL_ARTIFACT_UNREACHABLE, "artifactUrl", "cannot be fetched: %s", why));
}

static void fetched(void *arg, const struct fetch_answer *answer)
{
    static const struct work_kind kind = {.run = hash_work, .drop = hash_drop};
    struct request *r = arg;

    if (answer->fault == FETCH_TOO_LARGE) {
        refuse(r, "it is larger than artifact-max; give its digest");
        return;
    }
    if (answer->fault != FETCH_NONE) {
        refuse(r, answer->message != NULL ? answer->message : fetch_fault_name(answer->fault));
        return;
    }
    if (answer->status != 200) {
        struct str why = arena_printf(&r->arena, "the answer has status %d", answer->status);
        refuse(r, why.p == NULL ? "its answer" : why.p);
        return;
    }
    struct hashing h = {.bytes = malloc(answer->body.n + 1), .n = answer->body.n};
    if (h.bytes != NULL && answer->body.n > 0)
        memcpy(h.bytes, answer->body.p, answer->body.n);
    if (h.bytes == NULL || work_start(&r->worker->loop, &r->ops, &kind, &h, sizeof h, hashed, r) != 0) {
        free(h.bytes);
        reply_error(r, SYS_OVERLOADED);
    }
}

enum flow version_digest_gather(struct request *r, struct change *c)
{
    struct str url = json_str(json_get(c->whole, "artifactUrl"));
    const struct fetch_request request = {
        .method = S("GET"), .url = url, .timeout_ms = FETCH_MS, .max_bytes = (size_t)r->worker->settings->artifact_max};

    if (c->verb != CHANGE_CREATE || json_get(c->whole, "digest") != NULL)
        return NEXT;
    if (c->state != NULL) {
        set(c, c->state);
        return NEXT;
    }
    if (url.n == 0)
        return reply_error(r, change_refuse_field(r, VAL_FAILED, "digest", "or artifactUrl has to be given"));
    if (!fetch_start(drains_fetcher(r->worker->drains), &request, &r->ops, fetched, r))
        return reply_error(r, SYS_OVERLOADED);
    return WAIT;
}
