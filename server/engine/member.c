#include "server/engine/member.h"

#include "server/engine/run.h"

void member_text(struct json_out *o, const char *name, struct str text)
{
    if (text.n > 0) {
        json_key(o, str_z(name));
        json_put_str(o, text);
    }
}

void member_raw(struct json_out *o, const char *name, struct str json)
{
    if (json.n > 0) {
        json_key(o, str_z(name));
        json_put_raw(o, json);
    }
}

void member_time(struct json_out *o, const char *name, int64_t ms)
{
    if (ms > 0) {
        json_key(o, str_z(name));
        json_put_time(o, ms);
    }
}

void member_duration(struct json_out *o, int64_t from_ms, int64_t to_ms)
{
    if (from_ms > 0 && to_ms >= from_ms)
        member_seconds(o, "duration", to_ms - from_ms);
}

void member_int(struct json_out *o, const char *name, int64_t v)
{
    json_key(o, str_z(name));
    json_put_int(o, v);
}

void member_seconds(struct json_out *o, const char *name, int64_t ms)
{
    json_key(o, str_z(name));
    json_put_real(o, (double)ms / 1000);
}

void member_error(struct json_out *o, const struct step *s)
{
    if (s->error_type.n == 0)
        return;
    json_key(o, S("error"));
    json_open(o, '{');
    json_key(o, S("message"));
    json_put_str(o, s->message.p == NULL ? S("") : s->message);
    json_key(o, S("retriable"));
    json_put_bool(o, s->retriable);
    member_text(o, "type", s->error_type);
    json_close(o, '}');
}

void member_attempt(struct json_out *o, const struct step_attempt *a)
{
    json_open(o, '{');
    member_int(o, "attempt", a->attempt);
    if (a->error_type.n > 0) {
        json_key(o, S("error"));
        json_open(o, '{');
        member_text(o, "message", a->message);
        member_text(o, "type", a->error_type);
        json_close(o, '}');
    }
    member_time(o, "finishedAt", a->finished_ms);
    member_text(o, "lateResult", a->late);
    member_time(o, "startedAt", a->started_ms);
    member_text(o, "status", str_z(step_status_name(a->status)));
    json_close(o, '}');
}
