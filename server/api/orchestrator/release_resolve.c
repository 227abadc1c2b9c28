#include "server/api/orchestrator/release_resolve.h"

#include "lib/crypto.h"
#include "server/api/orchestrator/resources.h"
#include "server/reference.h"
#include "server/worker.h"

#include <stdio.h>
#include <stdlib.h>

static struct str member(const struct json *j, const char *name)
{
    return json_str(json_get(j, name));
}

/* --- reading --- */

static enum flow look_up(struct release_parts *p);

/* The newest of the versions that have the tag or digest. */
static void choose(struct release_part *part, const struct reference_users *users)
{
    struct str component = member(part->component, "id");

    for (size_t i = 0; i < users->n; i++) {
        const struct json *v = users->list[i];
        if (!str_eq(member(v, "componentId"), component))
            continue;
        if (part->version == NULL || str_cmp(member(v, "sortKey"), member(part->version, "sortKey")) > 0)
            part->version = v;
    }
}

static enum flow got_versions(struct request *r, const struct reference_users *users)
{
    struct release_parts *p = change_current(r)->state;

    choose(&p->part[p->at++], users);
    return look_up(p);
}

static enum flow look_up(struct release_parts *p)
{
    for (; p->at < p->n; p->at++) {
        struct release_part *part = &p->part[p->at];
        struct str tag = member(part->named, "tag"), digest = member(part->named, "digest");
        if (part->component != NULL && part->version == NULL && tag.n + digest.n > 0)
            return reference_users(p->r, &version_resource, tag.n > 0 ? "tag" : "digest", tag.n > 0 ? tag : digest,
                                   NULL, got_versions);
    }
    return change_gathered(p->r);
}

static const struct json *parsed(struct request *r, const struct redis_value *v)
{
    struct str text = v == NULL ? STR_NONE : redis_text(v);

    return text.n == 0 ? NULL : json_parse(&r->arena, arena_str(&r->arena, text), NULL, NULL);
}

static bool by_id(const struct release_part *part)
{
    return member(part->named, "versionId").n > 0;
}

static void got_documents(void *arg, enum code c, const struct redis_value *v)
{
    struct release_parts *p = arg;

    if (c != OK) {
        reply_error(p->r, c);
        return;
    }
    for (size_t i = 0, at = 0; i < p->n; i++) {
        struct release_part *part = &p->part[i];
        part->component = parsed(p->r, redis_at(v, at++));
        if (!by_id(part))
            continue;
        part->version = parsed(p->r, redis_at(v, at++));
        if (part->version != NULL && !str_eq(member(part->version, "componentId"), member(part->named, "componentId")))
            part->version = NULL;
    }
    look_up(p);
}

static enum flow read_documents(struct release_parts *p)
{
    struct arena *a = &p->r->arena;
    const struct space space = {p->r->caller.partition, p->r->caller.tenant};
    struct store_command commands[2 * RELEASE_COMPONENTS + 1];
    struct str(*argv)[3] = arena_array(a, 2 * p->n, sizeof(*argv));
    size_t n = 0;

    if (argv == NULL)
        return reply_error(p->r, SYS_OVERLOADED);
    for (size_t i = 0; i < p->n; i++)
        for (int k = 0; k <= (int)by_id(&p->part[i]); k++, n++) {
            struct str id = member(p->part[i].named, k == 1 ? "versionId" : "componentId");
            argv[n][0] = S("HGET");
            argv[n][1] = key_document(a, space, k == 1 ? "version" : "component", id);
            argv[n][2] = S("j");
            commands[n] = (struct store_command){3, argv[n]};
        }
    /* One command answers its reply, several an array: a second look at the first makes it always the latter. */
    if (n == 1)
        commands[n++] = commands[0];
    enum code c = store_read(p->r->worker->store, commands, n, &p->r->ops, got_documents, p);
    return c == OK ? WAIT : reply_error(p->r, c);
}

enum flow release_resolve(struct request *r, struct change *c, const struct json *components)
{
    struct release_parts *p = arena_new(&r->arena, struct release_parts);

    if (p == NULL)
        return reply_error(r, SYS_OVERLOADED);
    p->r = r;
    p->change = c;
    c->state = p;
    for (size_t i = 0; i < json_count(components) && i < RELEASE_COMPONENTS; i++)
        p->part[p->n++].named = json_at(components, i);
    return p->n == 0 ? NEXT : read_documents(p);
}

/* --- judging and writing --- */

static enum code check_part(struct request *r, const struct release_parts *p, size_t i)
{
    const struct release_part *part = &p->part[i];
    static const char *const ways[] = {"versionId", "digest", "tag"};
    unsigned given = 0;
    char field[48];

    for (size_t k = 0; k < ARRAY_LEN(ways); k++)
        given += json_get(part->named, ways[k]) != NULL;
    snprintf(field, sizeof(field), "components[%zu]", i);
    if (given != 1)
        return change_refuse_field(r, VAL_FAILED, field, "must have exactly one of versionId, digest and tag");
    for (size_t k = 0; k < i; k++)
        if (str_eq(member(p->part[k].named, "componentId"), member(part->named, "componentId")))
            return change_refuse_field(r, VAL_FAILED, field, "names a component that is there already");
    if (part->component == NULL) {
        snprintf(field, sizeof(field), "components[%zu].componentId", i);
        return change_refuse_field(r, REL_COMPONENT_UNKNOWN, field, "does not exist");
    }
    if (part->version == NULL)
        return change_refuse_field(r, REL_TAG_UNRESOLVED, field, "names no version of component " STR_FMT,
                                   STR_ARG(member(part->component, "name")));
    return OK;
}

static void write_part(struct json_out *o, const struct release_part *part)
{
    struct str role = member(part->named, "role"), image = member(part->component, "imageRepository");
    static const char *const of_version[] = {"semver", "tag"};

    json_open(o, '{');
    json_key(o, S("componentId"));
    json_put_str(o, member(part->component, "id"));
    json_key(o, S("digest"));
    json_put_str(o, member(part->version, "digest"));
    if (image.n > 0) {
        json_key(o, S("imageRepository"));
        json_put_str(o, image);
    }
    json_key(o, S("name"));
    json_put_str(o, member(part->component, "name"));
    json_key(o, S("role"));
    json_put_str(o, role.n > 0 ? role : S("primary"));
    for (size_t i = 0; i < ARRAY_LEN(of_version); i++) {
        struct str text = member(part->version, of_version[i]);
        if (text.n > 0) {
            json_key(o, str_z(of_version[i]));
            json_put_str(o, text);
        }
    }
    json_key(o, S("versionId"));
    json_put_str(o, member(part->version, "id"));
    json_close(o, '}');
}

static void set_list(struct change *c, struct arena *a, const char *name, const struct str *list, size_t n)
{
    struct json_out o;
    struct buf b;

    buf_init_arena(&b, a, 256);
    json_out_init(&o, &b);
    json_open(&o, '[');
    for (size_t i = 0; i < n; i++)
        json_put_str(&o, list[i]);
    json_close(&o, ']');
    overlay_raw(&c->set, name, b.failed ? STR_NONE : buf_view(&b));
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

/* The release's identity: SHA-256 over its digests, sorted, a newline behind each. */
static void set_content(struct request *r, struct change *c, struct str *digests, size_t n)
{
    struct crypto_sha256 hash;
    uint8_t sum[CRYPTO_HASH];
    struct buf b;

    qsort(digests, n, sizeof(*digests), by_text);
    crypto_sha256_init(&hash);
    for (size_t i = 0; i < n; i++) {
        crypto_sha256_add(&hash, digests[i].p, digests[i].n);
        crypto_sha256_add(&hash, "\n", 1);
    }
    crypto_sha256_end(&hash, sum);
    buf_init_arena(&b, &r->arena, 80);
    buf_z(&b, "sha256:");
    buf_hex(&b, sum, sizeof(sum));
    overlay_str(&c->set, "contentHash", b.failed ? STR_NONE : buf_view(&b));
    set_list(c, &r->arena, "digests", digests, n);
}

enum code release_resolved(struct request *r, struct change *c)
{
    const struct release_parts *p = c->state;
    struct str ids[RELEASE_COMPONENTS], digests[RELEASE_COMPONENTS];
    struct json_out o;
    struct buf b;

    for (size_t i = 0; i < p->n; i++) {
        enum code code = check_part(r, p, i);
        if (code != OK)
            return code;
        ids[i] = member(p->part[i].component, "id");
        digests[i] = member(p->part[i].version, "digest");
    }
    buf_init_arena(&b, &r->arena, 1024);
    json_out_init(&o, &b);
    json_open(&o, '[');
    for (size_t i = 0; i < p->n; i++)
        write_part(&o, &p->part[i]);
    json_close(&o, ']');
    overlay_raw(&c->set, "components", b.failed ? STR_NONE : buf_view(&b));
    set_list(c, &r->arena, "componentIds", ids, p->n);
    set_content(r, c, digests, p->n);
    return b.failed ? SYS_OVERLOADED : OK;
}
