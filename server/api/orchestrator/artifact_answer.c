#include "server/api/orchestrator/artifact_answer.h"

#include "proto/http.h"

// clang-format off
const struct field artifact_query[] = {
    {"download", FIELD_BOOL, .preset = "false", .doc = "The bytes, and not what is known of them; so does an Accept that takes no JSON."},
    {0}};
// clang-format on

static bool takes_json(struct str accept)
{
    if (str_trim(accept).n == 0)
        return true;
    while (accept.p != NULL) {
        struct str item = str_cut(&accept, ','), media = str_trim(str_cut(&item, ';'));
        if (str_ieq(media, S("application/json")) || str_ieq(media, S("*/*")) || str_ieq(media, S("application/*")))
            return true;
    }
    return false;
}

bool artifact_wants_bytes(const struct request *r)
{
    return json_bool(json_get(r->parameters, "download"), false) || !takes_json(http_header(r->head, S("accept")));
}

void artifact_disposition(struct request *r, struct str name)
{
    reply_header(r, "Content-Disposition",
                 arena_printf(&r->arena, "attachment; filename=\"" STR_FMT "\"", STR_ARG(name)));
}
