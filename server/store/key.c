#include "server/store/key.h"

#include <string.h>

/* "{pNN}:what", and ":part" for each part that is not empty. Every request makes keys, so this is done without printf. */
static struct str join(struct arena *a, unsigned partition, const char *what, const struct str *parts, size_t n)
{
    struct buf b;
    size_t room = 8 + strlen(what);

    for (size_t i = 0; i < n; i++)
        room += 1 + parts[i].n;
    buf_init_arena(&b, a, room + 1);
    buf_str(&b, S("{p"));
    buf_char(&b, (char)('0' + partition / 10));
    buf_char(&b, (char)('0' + partition % 10));
    buf_str(&b, S("}:"));
    buf_z(&b, what);
    for (size_t i = 0; i < n; i++) {
        if (parts[i].n == 0)
            continue;
        buf_char(&b, ':');
        buf_str(&b, parts[i]);
    }
    buf_char(&b, '\0'); /* as arena_printf ends its texts; not counted */
    return b.failed ? STR_NONE : (struct str){b.p, b.n - 1};
}

static struct str in_space(struct arena *a, struct space s, const char *what, const char *kind, struct str rest)
{
    const struct str parts[] = {s.tenant, str_z(kind), rest};

    return s.tenant.p && rest.p ? join(a, s.partition, what, parts, ARRAY_LEN(parts)) : STR_NONE;
}

static struct str of_tenant(struct arena *a, struct space s, const char *what, struct str rest)
{
    const struct str parts[] = {s.tenant, rest};

    return s.tenant.p && rest.p ? join(a, s.partition, what, parts, ARRAY_LEN(parts)) : STR_NONE;
}

static struct str of_partition(struct arena *a, unsigned partition, const char *what)
{
    return join(a, partition, what, NULL, 0);
}

struct str key_meta(struct arena *a, unsigned partition)
{
    return of_partition(a, partition, "meta");
}
struct str key_dirty(struct arena *a, unsigned partition)
{
    return of_partition(a, partition, "dirty");
}
struct str key_timers(struct arena *a, unsigned partition)
{
    return of_partition(a, partition, "t");
}
struct str key_queue(struct arena *a, unsigned partition)
{
    return of_partition(a, partition, "q");
}
struct str key_liveness(struct arena *a, unsigned partition)
{
    return of_partition(a, partition, "gl");
}

struct str key_document(struct arena *a, struct space s, const char *kind, struct str id)
{
    return id.n ? in_space(a, s, "d", kind, id) : STR_NONE;
}

struct str key_last_ordinal(struct arena *a, struct space s, const char *kind)
{
    return in_space(a, s, "n", kind, S(""));
}

struct str key_ordinals(struct arena *a, struct space s, const char *kind)
{
    return in_space(a, s, "o", kind, S(""));
}

struct str key_facet(struct arena *a, struct space s, const char *kind, struct str facet)
{
    return facet.n ? in_space(a, s, "f", kind, facet) : STR_NONE;
}

struct str key_sorted(struct arena *a, struct space s, const char *kind, const char *field)
{
    return in_space(a, s, "z", kind, str_z(field));
}

struct str key_unique(struct arena *a, struct space s, const char *kind, struct str parent, const char *field)
{
    struct str rest = parent.n ? arena_printf(a, STR_FMT ":%s", STR_ARG(parent), field) : str_z(field);

    return in_space(a, s, "u", kind, rest);
}

struct str key_channel(struct arena *a, struct space s, struct str channel)
{
    return of_tenant(a, s, "e", channel);
}
struct str key_channel_seq(struct arena *a, struct space s, struct str channel)
{
    return of_tenant(a, s, "es", channel);
}

struct str key_log(struct arena *a, struct space s, const char *kind, struct str run, struct str node, unsigned attempt)
{
    if (!run.n || !node.n)
        return STR_NONE;
    return in_space(a, s, "l", kind, arena_printf(a, STR_FMT ":" STR_FMT ":%u", STR_ARG(run), STR_ARG(node), attempt));
}

struct str key_log_meta(struct arena *a, struct space s, const char *kind, struct str run, struct str node,
                        unsigned attempt)
{
    struct str log = key_log(a, s, kind, run, node, attempt);

    return log.p ? arena_printf(a, STR_FMT ":m", STR_ARG(log)) : STR_NONE;
}

struct str key_audit(struct arena *a, struct space s)
{
    return of_tenant(a, s, "a", S(""));
}
struct str key_audit_seq(struct arena *a, struct space s)
{
    return of_tenant(a, s, "an", S(""));
}
struct str key_audit_checkpoints(struct arena *a, struct space s)
{
    return of_tenant(a, s, "ac", S(""));
}

struct str key_audit_unsealed(struct arena *a, unsigned partition)
{
    return of_partition(a, partition, "ad");
}

struct str key_audit_sealed(struct arena *a, struct space s)
{
    return of_tenant(a, s, "as", S(""));
}

struct str key_idempotency(struct arena *a, struct space s, struct str caller, const char *route, struct str hash)
{
    if (!caller.n || !hash.n)
        return STR_NONE;
    return of_tenant(a, s, "i", ARENA_CAT(a, caller, S(":"), str_z(route), S(":"), hash));
}

struct str key_credential(struct arena *a, unsigned partition, struct str hash)
{
    return hash.n ? arena_printf(a, "{p%02u}:k:" STR_FMT, partition, STR_ARG(hash)) : STR_NONE;
}

struct str key_user_grants(struct arena *a, struct space s, struct str user)
{
    return of_tenant(a, s, "ug", user);
}

struct str key_guesses(struct arena *a, unsigned partition, struct str hash)
{
    return hash.n ? arena_printf(a, "{p%02u}:lg:" STR_FMT, partition, STR_ARG(hash)) : STR_NONE;
}

struct str key_assertion(struct arena *a, unsigned partition, struct str hash)
{
    return hash.n ? arena_printf(a, "{p%02u}:ja:" STR_FMT, partition, STR_ARG(hash)) : STR_NONE;
}

struct str key_tenants(struct arena *a, unsigned partition)
{
    return of_partition(a, partition, "tn");
}

struct str key_tenant(struct arena *a, struct space s)
{
    return of_tenant(a, s, "kt", S(""));
}

struct str key_rate(struct arena *a, struct space s, struct str caller)
{
    return of_tenant(a, s, "b", caller);
}
struct str key_inbox(struct arena *a, struct space s, struct str run)
{
    return of_tenant(a, s, "in", run);
}
struct str key_seen(struct arena *a, struct space s, struct str run)
{
    return of_tenant(a, s, "ids", run);
}
struct str key_lease(struct arena *a, struct space s, struct str run)
{
    return of_tenant(a, s, "le", run);
}
struct str key_waiting(struct arena *a, struct space s)
{
    return of_tenant(a, s, "w", S(""));
}
struct str key_roster(struct arena *a, struct space s)
{
    return of_tenant(a, s, "g", S(""));
}
struct str key_tasks(struct arena *a, struct space s, struct str agent)
{
    return of_tenant(a, s, "gt", agent);
}
struct str key_environment_releases(struct arena *a, struct space s)
{
    return of_tenant(a, s, "er", S(""));
}
struct str key_environment_holders(struct arena *a, struct space s)
{
    return of_tenant(a, s, "pd", S(""));
}
struct str key_promotions_active(struct arena *a, struct space s)
{
    return of_tenant(a, s, "pk", S(""));
}
struct str key_promotions_pending(struct arena *a, struct space s, struct str environment)
{
    return of_tenant(a, s, "pp", environment);
}
struct str key_promotions_awaiting(struct arena *a, struct space s, struct str environment)
{
    return of_tenant(a, s, "pw", environment);
}
struct str key_promotions_approved(struct arena *a, struct space s, struct str environment)
{
    return of_tenant(a, s, "pq", environment);
}
struct str key_promotions_ended(struct arena *a, struct space s, const char *status)
{
    return of_tenant(a, s, "pe", str_z(status));
}

struct str key_target_facts(struct arena *a, struct space s)
{
    return of_tenant(a, s, "ts", S(""));
}

struct str key_blob(struct arena *a, struct space s, struct str digits)
{
    return digits.n ? of_tenant(a, s, "bm", digits) : STR_NONE;
}

struct str key_blob_bytes(struct arena *a, struct space s, struct str blob_id)
{
    return blob_id.n ? of_tenant(a, s, "bc", blob_id) : STR_NONE;
}

struct str key_blob_usage(struct arena *a, struct space s)
{
    return of_tenant(a, s, "bu", S(""));
}

struct str key_artifacts(struct arena *a, struct space s, const char *kind, struct str run)
{
    return run.n ? in_space(a, s, "ra", kind, run) : STR_NONE;
}
