/* The cycle of a change: read, merge, check, prepare, commit, answer; again when somebody else was faster. */
#include "server/crud.h"

#include "lib/clock.h"
#include "lib/id.h"
#include "server/audit.h"
#include "server/dashboard/event.h"
#include "server/idempotency.h"
#include "server/reference.h"
#include "server/settings.h"
#include "server/worker.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { READ_AT_ONCE = STORE_READS_AT_ONCE }; /* references read for `prepare` */

struct attempt {
    struct change change;
    change_gather *gather;
    change_prepare *prepare;
    change_then *then;
    char id[ID_UUID], parent[ID_UUID];
    struct document before;
    struct references refs, old_refs; /* of what will be stored, of what is */
    struct commit commit;
    struct commit_index index;
};

static enum flow begin(struct request *r);

static struct space space_of(const struct request *r)
{
    return (struct space){r->caller.partition, r->caller.tenant};
}

/* Refusals. */

static struct faults *faults_of(struct request *r)
{
    if (r->faults == NULL) {
        r->faults = arena_new(&r->arena, struct faults);
        if (r->faults != NULL)
            faults_init(r->faults, &r->arena);
    }
    return r->faults;
}

enum code change_refuse_field(struct request *r, enum code c, const char *field, const char *fmt, ...)
{
    va_list args;
    char text[300];
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    struct faults *f = faults_of(r);
    if (f == NULL)
        return SYS_OVERLOADED;
    fault_add(f, str_z(field), c == VAL_FAILED ? "VAL_INVALID_FORMAT" : code_name(c), "%s", text);
    return request_refuse(r, c, "%s %s", field, text);
}

enum code change_refuse_state(struct request *r, const char *state, const char *const *actions)
{
    struct buf b;
    struct json_out o;
    buf_init_arena(&b, &r->arena, 96);
    json_out_init(&o, &b);
    json_open(&o, '{');
    json_key(&o, S("currentState"));
    json_put_z(&o, state);
    json_key(&o, S("allowedActions"));
    json_open(&o, '[');
    for (; *actions != NULL; actions++)
        json_put_z(&o, *actions);
    json_close(&o, ']');
    json_close(&o, '}');
    r->details = buf_view(&b);
    return request_refuse(r, RES_INVALID_STATE, "this is not possible while it is %s", state);
}

static enum flow refuse_faults(struct request *r)
{
    request_refuse(r, VAL_FAILED, "%zu fault%s in the request; the first: " STR_FMT " " STR_FMT, r->faults->n,
                   r->faults->n == 1 ? "" : "s", STR_ARG(r->faults->list[0].field),
                   STR_ARG(r->faults->list[0].message));
    return reply_error(r, VAL_FAILED);
}

/* What prepare may ask. */

const struct json *change_member(struct change *c, const char *name)
{
    for (size_t i = 0; i < c->set.n; i++)
        if (str_eqz(c->set.list[i].name, name))
            return c->set.list[i].value;
    return json_get(c->whole, name);
}

const struct json *change_reference(struct change *c, const char *field, bool pin)
{
    struct attempt *a = list_entry(c, struct attempt, change);
    for (size_t i = 0; i < a->refs.n; i++) {
        struct reference *ref = &a->refs.list[i];
        if (!str_eqz(ref->path, field))
            continue;
        if (pin && ref->found != NULL && !ref->pinned) {
            ref->pinned = true;
            commit_expect_revision(c->commit, RES_VERSION_CONFLICT, "pin", ref->row->ref, ref->id, ref->revision);
        }
        return ref->found;
    }
    return NULL;
}

/* Commit. */

static enum flow reply_changed(struct request *r, struct change *c)
{
    if (c->verb == CHANGE_DELETE)
        return reply_empty(r, r->route->status == 0 ? 204 : r->route->status);
    struct document *d = arena_new(&r->arena, struct document);
    if (d == NULL)
        return reply_error(r, SYS_OVERLOADED);
    *d = (struct document){.id = c->id, .json = c->after, .revision = c->revision};
    return crud_answer(r, c->verb == CHANGE_CREATE ? 201 : 200, d);
}

static enum code refuse_taken(struct request *r, const char *field)
{
    r->details = arena_printf(&r->arena, "{\"field\":\"%s\"}", field);
    return change_refuse_field(r, RES_ALREADY_EXISTS, field, "is taken by another %s", r->resource->kind);
}

static enum flow refused(struct request *r, struct attempt *a, const struct commit_result *result)
{
    enum code c = result->code;
    struct str label = arena_str(&r->arena, result->label);
    const char *field = label.p == NULL ? "" : label.p;

    bool moved = c == RES_VERSION_CONFLICT && (str_eqz(label, "revision") || str_eqz(label, "pin"));
    if (c == RES_ALREADY_EXISTS && a->change.chosen != NULL)
        moved = str_eqz(label, a->change.chosen);
    if (moved && a->change.tries < (c == RES_ALREADY_EXISTS ? CHANGE_TRIES_CHOSEN : CHANGE_TRIES))
        return begin(r);
    if (moved && c == RES_VERSION_CONFLICT) {
        request_refuse(r, c, "others change it all the time; try again");
    } else if (c == RES_ALREADY_EXISTS) {
        c = refuse_taken(r, field);
    } else if (c == RES_REFERENCE_UNKNOWN && *field != '\0') {
        c = change_refuse_field(r, c, field, "does not exist");
    } else if (c == RES_IN_USE && str_index(label, '.') > 0) {
        return reference_reply_used(r, label, a->change.id);
    }
    return reply_error(r, c);
}

static void committed(void *arg, const struct commit_result *result)
{
    struct request *r = arg;
    struct attempt *a = r->state;
    if (result->code != OK) {
        refused(r, a, result);
        return;
    }
    a->change.result = result;
    dashboard_nudge_for(r->worker, space_of(r), r->resource->kind);
    if (a->then != NULL)
        a->then(r, &a->change);
    else
        reply_changed(r, &a->change);
}

static struct draft draft_of(const struct change *c)
{
    struct draft draft = {.whole = c->old};
    if (c->verb != CHANGE_DELETE)
        draft = (struct draft){c->whole, c->old, &c->set};
    return draft;
}

/* The id a document names of an environment, release or promotion, or its own when it is one. */
static struct str related(const struct change *c, const char *kind, const char *member)
{
    const struct draft draft = draft_of(c);
    const struct field *row = field_find(c->resource->fields, str_z(member));
    if (strcmp(c->resource->kind, kind) == 0)
        return c->id;
    return row == NULL ? STR_NONE : json_str(draft_member(&draft, row));
}

static void add_audit(struct request *r, struct change *c)
{
    static const char *const verbs[] = {[CHANGE_CREATE] = "created",
                                        [CHANGE_UPDATE] = "updated",
                                        [CHANGE_DELETE] = "deleted",
                                        [CHANGE_ACTION] = "changed"};
    struct str action = str_z(c->action != NULL ? c->action : r->route->action);
    if ((r->route->flags & ROUTE_NO_AUDIT) != 0)
        return;
    if (action.p == NULL)
        action = ARENA_CAT(&r->arena, str_z(c->resource->kind), S("."), str_z(verbs[c->verb]));
    const struct audit_entry entry = {
        .action = action.p == NULL ? "" : action.p,
        .resource = c->resource->kind,
        .resource_id = c->id,
        .environment_id = related(c, "environment", "environmentId"),
        .release_id = related(c, "release", "releaseId"),
        .promotion_id = related(c, "promotion", "promotionId"),
        .before = c->before == NULL ? STR_NONE : c->before->json,
        .after = c->after,
    };
    audit_add(c->commit, r, &entry);
}

/* The document as it will be, with its index. */
static bool put(struct request *r, struct attempt *a)
{
    struct change *c = &a->change;
    const struct draft draft = draft_of(c);
    bool failed;
    c->after = document_render(&r->arena, c->resource->fields, c->whole, c->old, &c->set);
    struct str sealed = document_seal(&r->arena, r->worker->settings->keyring, space_of(r), c->resource, c->id,
                                      c->before == NULL ? STR_NONE : c->before->sealed,
                                      c->verb == CHANGE_ACTION ? NULL : c->patch, &failed);
    if (c->after.p == NULL || failed)
        return false;
    document_index_draft(&a->index, &r->arena, c->resource, &draft);
    commit_put(c->commit, &(struct commit_document){.kind = c->resource->kind,
                                                    .id = c->id,
                                                    .revision = c->revision,
                                                    .schema = document_schema(c->resource),
                                                    .json = c->after,
                                                    .index = &a->index,
                                                    .sealed = sealed});
    return true;
}

static void keep_answer(struct request *r, struct attempt *a)
{
    const struct change *c = &a->change;
    bool later = a->then != NULL || c->resource->live != NULL; /* kept as it goes out, when it is known */
    bool said =
        (r->route->flags & ROUTE_SECRET) != 0 || (a->then != NULL && c->verb != CHANGE_CREATE); /* something else */
    if (c->verb == CHANGE_DELETE || said)
        return;
    struct idempotent_answer answer = {
        .status = r->route->status, .data = c->after, .revision = c->revision, .kind = c->resource->kind, .id = c->id};
    if (answer.status == 0)
        answer.status = c->verb == CHANGE_CREATE ? 201 : 200;
    if (c->verb == CHANGE_CREATE)
        answer.location = crud_location(r, c->id);
    if (later)
        idempotency_draft(r, c->commit, &answer);
    else
        idempotency_commit(r, c->commit, &answer);
}

static void expect_references(struct request *r, struct attempt *a)
{
    for (size_t i = 0; i < a->refs.n; i++) {
        const struct reference *ref = &a->refs.list[i];
        bool parent = a->change.resource->parent != NULL && str_eqz(ref->path, a->change.resource->parent_field);
        if (references_has(&a->old_refs, ref))
            continue;
        commit_expect_exists(a->change.commit, parent ? RES_NOT_FOUND : RES_REFERENCE_UNKNOWN, ref->path.p,
                             key_document(&r->arena, space_of(r), ref->row->ref, ref->id));
    }
}

static enum flow commit(struct request *r)
{
    struct attempt *a = r->state;
    struct change *c = &a->change;
    enum code code = a->prepare == NULL ? OK : a->prepare(r, c);
    if (code != OK)
        return reply_error(r, code);
    if (c->verb == CHANGE_DELETE)
        commit_delete(c->commit, c->resource->kind, c->id, c->before->revision);
    else if (!put(r, a))
        return reply_error(r, SYS_OVERLOADED);
    add_audit(r, c);
    keep_answer(r, a);
    code = store_commit(r->worker->store, c->commit, &r->ops, committed, r);
    return code == OK ? WAIT : reply_error(r, code);
}

/* Read. */

struct change *change_current(const struct request *r)
{
    return &((struct attempt *)r->state)->change;
}

enum flow change_gathered(struct request *r)
{
    return commit(r);
}

void change_expect_room(struct request *r, struct commit *c, struct space space, const char *kind)
{
    commit_expect_at_most(c, RES_QUOTA_EXCEEDED, "documents", key_ordinals(&r->arena, space, kind),
                          r->worker->settings->documents_max - 1);
}

static void open_commit(struct request *r, struct attempt *a)
{
    static const unsigned flags[] = {[CHANGE_CREATE] = COMMIT_GROWS,
                                     [CHANGE_UPDATE] = 0,
                                     [CHANGE_DELETE] = COMMIT_ESSENTIAL,
                                     [CHANGE_ACTION] = COMMIT_ESSENTIAL};
    struct change *c = &a->change;
    c->commit = &a->commit;
    commit_begin(c->commit, &r->arena, space_of(r), flags[c->verb]);
    expect_references(r, a);
    if (c->verb == CHANGE_CREATE)
        change_expect_room(r, c->commit, space_of(r), c->resource->kind);
    if (c->verb == CHANGE_DELETE)
        reference_expect_unused(c->commit, &r->arena, space_of(r), c->resource->kind, c->id);
}

static enum flow gather(struct request *r)
{
    struct attempt *a = r->state;
    open_commit(r, a);
    if (a->gather == NULL)
        return commit(r);
    enum flow flow = a->gather(r, &a->change);
    return flow == NEXT ? commit(r) : flow;
}

static void found_references(void *arg, enum code code, const struct redis_value *v)
{
    struct request *r = arg;
    struct attempt *a = r->state;
    for (size_t i = 0; code == OK && i < a->refs.n && i < READ_AT_ONCE; i++) {
        const struct redis_value *reply = a->refs.n == 1 ? v : redis_at(v, i);
        struct reference *ref = &a->refs.list[i];
        struct document d = {.id = ref->id, .json = arena_str(&r->arena, redis_text(redis_at(reply, 0)))};
        const struct resource *of = resource_find(ref->row->ref);
        if (redis_is_nil(redis_at(reply, 0)) || of == NULL)
            continue;
        ref->revision = redis_int(redis_at(reply, 1), 0);
        d.schema = redis_int(redis_at(reply, 2), 1);
        ref->found = document_parse(&r->arena, of, &d, &code);
    }
    if (code != OK)
        reply_error(r, code);
    else
        gather(r);
}

/* The documents that references name, in one trip; only prepare and gather look at them. */
static enum flow read_references(struct request *r)
{
    struct attempt *a = r->state;
    struct store_command commands[READ_AT_ONCE];
    size_t n = a->refs.n < READ_AT_ONCE ? a->refs.n : READ_AT_ONCE;

    if (n == 0 || (a->prepare == NULL && a->gather == NULL))
        return gather(r);
    for (size_t i = 0; i < n; i++) {
        struct str *argv = arena_array(&r->arena, 5, sizeof *argv);
        if (argv == NULL)
            return reply_error(r, SYS_OVERLOADED);
        const struct reference *ref = &a->refs.list[i];
        argv[0] = S("HMGET");
        argv[1] = key_document(&r->arena, space_of(r), ref->row->ref, ref->id);
        argv[2] = S("j");
        argv[3] = S("r");
        argv[4] = S("sv");
        commands[i] = (struct store_command){5, argv};
    }
    enum code c = store_read(r->worker->store, commands, n, &r->ops, found_references, r);
    return c == OK ? WAIT : reply_error(r, c);
}

/* Members the server sets wherever the rows have them. */
static void set_common(struct request *r, struct change *c)
{
    static const struct {
        const char *name;
        enum { TENANT, TIME, CALLER } what;
        bool at_creation;
    } stamps[] = {{"tenantId", TENANT, false},  {"tenant_id", TENANT, false}, {"createdAt", TIME, true},
                  {"created_at", TIME, true},   {"createdBy", CALLER, true},  {"created_by", CALLER, true},
                  {"updatedAt", TIME, false},   {"updated_at", TIME, false},  {"updatedBy", CALLER, false},
                  {"updated_by", CALLER, false}};
    const struct field *rows = c->resource->fields;
    bool create = c->verb == CHANGE_CREATE;
    c->set = (struct overlays){.arena = &r->arena};
    overlay_str(&c->set, "id", c->id);
    if (create && c->resource->parent != NULL)
        overlay_str(&c->set, c->resource->parent_field, str_z(((struct attempt *)r->state)->parent));
    for (size_t i = 0; i < ARRAY_LEN(stamps); i++) {
        if ((stamps[i].at_creation && !create) || field_find(rows, str_z(stamps[i].name)) == NULL)
            continue;
        if (stamps[i].what == TIME)
            overlay_time(&c->set, stamps[i].name, c->now_ms);
        else
            overlay_str(&c->set, stamps[i].name, stamps[i].what == TENANT ? r->caller.tenant : r->caller.id);
    }
    if (field_find(rows, S("revision")) != NULL)
        overlay_int(&c->set, "revision", c->revision);
}

/* The parent's id is not in the body, so it is no reference of `whole`. */
static void add_parent(struct attempt *a)
{
    const struct resource *of = a->change.resource;
    if (of->parent == NULL || a->change.verb != CHANGE_CREATE)
        return;
    const struct field *row = field_find(of->fields, str_z(of->parent_field));
    a->refs.list[a->refs.n++] = (struct reference){.row = row, .path = str_z(of->parent_field), .id = str_z(a->parent)};
}

static enum flow have_whole(struct request *r)
{
    struct attempt *a = r->state;
    struct change *c = &a->change;
    a->refs = a->old_refs = (struct references){NULL, 0};
    set_common(r, c);
    if (c->whole != NULL && (!references_of(&r->arena, c->resource->fields, c->whole, &a->refs) ||
                             !references_of(&r->arena, c->resource->fields, c->old, &a->old_refs)))
        return reply_error(r, SYS_OVERLOADED);
    add_parent(a);
    return read_references(r);
}

/* The whole after a change: what is stored, with the patch over it, by the rules of creation. */
static enum flow merge(struct request *r, struct change *c)
{
    const struct field *rows = c->resource->fields;
    struct faults *faults = faults_of(r);
    struct json *before = document_writable(&r->arena, rows, c->old);
    struct json *merged = before == NULL ? NULL : json_merge(&r->arena, before, c->patch);
    if (faults == NULL || merged == NULL)
        return reply_error(r, SYS_OVERLOADED);
    field_check_immutable(rows, c->old, c->patch, faults);
    c->whole = field_check(rows, merged, FIELD_CREATE, faults);
    if (faults->n > 0)
        return refuse_faults(r);
    return c->whole == NULL ? reply_error(r, SYS_OVERLOADED) : have_whole(r);
}

static enum flow have_before(struct request *r, struct document *d, const struct json *parsed)
{
    struct attempt *a = r->state;
    struct change *c = &a->change;
    enum code code = request_check_revision(r, d->revision);
    if (code != OK)
        return reply_error(r, code);
    a->before = *d;
    c->before = &a->before;
    c->old = parsed;
    c->id = a->before.id;
    c->revision = d->revision + 1;
    if (c->verb == CHANGE_UPDATE)
        return merge(r, c);
    c->whole = c->verb == CHANGE_ACTION ? parsed : NULL;
    return have_whole(r);
}

static enum flow begin(struct request *r)
{
    struct attempt *a = r->state;
    struct change *c = &a->change;
    c->tries++;
    c->chosen = NULL;
    c->now_ms = store_now_ms(r->worker->store);
    if (c->verb != CHANGE_CREATE)
        return crud_read(r, c->resource, crud_id(r), have_before);
    if (c->resource->parent != NULL && !id_is_uuid(r->params[0], a->parent))
        return reply_error(r, RES_NOT_FOUND);
    id_uuid(c->now_ms, a->id);
    c->id = str_z(a->id);
    c->whole = c->patch;
    c->revision = 1;
    return have_whole(r);
}

static enum flow start(struct request *r, enum change_verb verb, change_gather *gathering, change_prepare *prepare,
                       const char *action, change_then *then)
{
    struct attempt *a = arena_new(&r->arena, struct attempt);
    if (a == NULL)
        return reply_error(r, SYS_OVERLOADED);
    a->change = (struct change){.verb = verb, .resource = r->resource, .patch = r->json, .action = action};
    a->gather = gathering;
    a->prepare = prepare;
    a->then = then;
    r->state = a;
    return begin(r);
}

enum flow crud_commit(struct request *r, enum change_verb verb, change_prepare *prepare, const char *action,
                      change_then *then)
{
    return start(r, verb, verb == CHANGE_ACTION ? NULL : r->resource->gather, prepare, action, then);
}

enum flow crud_action(struct request *r, change_gather *gathering, change_prepare *prepare, const char *action,
                      change_then *then)
{
    return start(r, CHANGE_ACTION, gathering, prepare, action, then);
}

enum flow crud_change(struct request *r, change_prepare *prepare, const char *action)
{
    return crud_commit(r, CHANGE_ACTION, prepare, action, NULL);
}

enum flow crud_create(struct request *r)
{
    return crud_commit(r, CHANGE_CREATE, r->resource->prepare, NULL, NULL);
}

enum flow crud_update(struct request *r)
{
    return crud_commit(r, CHANGE_UPDATE, r->resource->prepare, NULL, NULL);
}

enum flow crud_delete(struct request *r)
{
    return crud_commit(r, CHANGE_DELETE, r->resource->prepare, NULL, NULL);
}
