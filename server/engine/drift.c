#include "server/engine/drift.h"

static const struct json *component(const struct json *components, struct str name)
{
    for (size_t i = 0; i < json_count(components); i++)
        if (str_eq(json_str(json_get(json_at(components, i), "name")), name))
            return json_at(components, i);
    return NULL;
}

static void difference(struct json_out *o, size_t *n, const char *kind, const struct json *name,
                       const struct json *expected, const struct json *actual)
{
    json_open(o, '{');
    json_key(o, S("actual"));
    json_put(o, actual);
    json_key(o, S("component"));
    json_put(o, name);
    json_key(o, S("expected"));
    json_put(o, expected);
    json_key(o, S("kind"));
    json_put_z(o, kind);
    json_close(o, '}');
    ++*n;
}

static void components(struct json_out *o, size_t *n, const struct json *expected, const struct json *actual)
{
    for (size_t i = 0; i < json_count(expected); i++) {
        const struct json *name = json_get(json_at(expected, i), "name");
        const struct json *digest = json_get(json_at(expected, i), "digest");
        const struct json *there = component(actual, json_str(name));

        if (there == NULL)
            difference(o, n, "missing", name, digest, NULL);
        else if (!str_eq(json_str(json_get(there, "digest")), json_str(digest)))
            difference(o, n, "digest_mismatch", name, digest, json_get(there, "digest"));
    }
    for (size_t i = 0; i < json_count(actual); i++) {
        const struct json *name = json_get(json_at(actual, i), "name");

        if (component(expected, json_str(name)) == NULL)
            difference(o, n, "unexpected", name, NULL, json_get(json_at(actual, i), "digest"));
    }
}

static void stickers(struct json_out *o, size_t *n, const struct json *expected, const struct json *actual)
{
    if (!json_is(expected, JSON_OBJECT))
        return;
    if (!json_is(actual, JSON_OBJECT))
        difference(o, n, "sticker_missing", NULL, expected, NULL);
    else if (!json_equal(expected, actual))
        difference(o, n, "config_mismatch", NULL, expected, actual);
}

size_t drift_differences(struct json_out *o, const struct json *facts, const struct json *found)
{
    const struct json *release = json_get(facts, "release");
    size_t n = 0;

    json_open(o, '[');
    if (json_is(release, JSON_OBJECT)) {
        if (!str_eq(json_str(json_get(found, "current")), json_str(json_get(release, "name"))))
            difference(o, &n, "config_mismatch", NULL, json_get(release, "name"), json_get(found, "current"));
        stickers(o, &n, json_get(facts, "sticker"), json_get(found, "sticker"));
        components(o, &n, json_get(release, "components"), json_get(found, "components"));
    }
    json_close(o, ']');
    return n;
}

static void put_components(struct json_out *o, const struct json *list)
{
    json_key(o, S("components"));
    json_open(o, '[');
    for (size_t i = 0; i < json_count(list); i++) {
        json_open(o, '{');
        json_key(o, S("digest"));
        json_put(o, json_get(json_at(list, i), "digest"));
        json_key(o, S("name"));
        json_put(o, json_get(json_at(list, i), "name"));
        json_close(o, '}');
    }
    json_close(o, ']');
}

void drift_expected(struct json_out *o, const struct json *release)
{
    json_open(o, '{');
    put_components(o, json_get(release, "components"));
    json_key(o, S("releaseId"));
    json_put(o, json_get(release, "id"));
    json_key(o, S("releaseName"));
    json_put(o, json_get(release, "name"));
    json_close(o, '}');
}

void drift_actual(struct json_out *o, const struct json *found)
{
    json_open(o, '{');
    put_components(o, json_get(found, "components"));
    json_key(o, S("current"));
    json_put(o, json_get(found, "current"));
    json_key(o, S("releaseId"));
    json_put(o, json_path(found, S("sticker.release.id")));
    json_close(o, '}');
}
