#include "server/event.h"

#include "lib/member.h"
#include "proto/sse.h"
#include "proto/ws.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct str prefix = {"{\"seq\":", 7};

bool event_next(struct str *events, struct str *event, int64_t *seq)
{
    if (events->n == 0)
        return false;
    struct str behind = *events, line = str_cut(&behind, '\n'), rest = str_slice(line, prefix.n, line.n);
    int64_t n;
    if (!str_starts(line, prefix))
        return false;
    if (!str_i64(str_cut(&rest, ','), &n) || n < 1)
        return false;
    *events = behind;
    *event = line;
    *seq = n;
    return true;
}

struct str event_member(struct str event, const char *name)
{
    for (struct member m = members_of(event); member_next(&m);) {
        if (!str_eqz(m.name, name))
            continue;
        return m.value.p[0] == '"' ? str_slice(m.value, 1, m.value.n - 1) : m.value;
    }
    return STR_NONE;
}

static bool listed(struct str list, struct str word)
{
    while (list.n > 0)
        if (str_eq(str_cut(&list, ','), word))
            return true;
    return false;
}

static int level_rank(struct str level)
{
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    for (size_t i = 0; i < ARRAY_LEN(levels); i++)
        if (str_eqz(level, levels[i]))
            return (int)i;
    return -1;
}

bool event_passes(struct str event, struct str filter)
{
    if (filter.n <= 2)
        return true;
    struct str types = str_cut(&filter, '|'), nodes = str_cut(&filter, '|');
    struct str level = str_cut(&filter, '|'), environments = filter;
    if (environments.n > 0 && !listed(environments, event_member(event, "environmentId")))
        return false;
    if (types.n > 0 && !listed(types, event_member(event, "type")))
        return false;
    if (nodes.n > 0) {
        struct str node = event_member(event, "nodeId");
        if (node.p == NULL)
            node = event_member(event, "taskId");
        if (node.p != NULL && !listed(nodes, node))
            return false;
    }
    if (level.n > 0) {
        int rank = level_rank(event_member(event, "level"));
        if (rank >= 0 && rank < level_rank(level))
            return false;
    }
    return true;
}

bool event_lets(struct str filter, const char *type)
{
    struct str types = str_cut(&filter, '|');
    return types.n == 0 || listed(types, str_z(type));
}

static void put_ws(struct buf *out, struct str message)
{
    uint8_t head[WS_HEAD_MAX];
    buf_add(out, head, ws_write_head(head, WS_TEXT, message.n));
    buf_str(out, message);
}

void event_encode(struct buf *out, enum encoding encoding, struct deflate *deflate, int64_t epoch, int64_t seq,
                  struct str event)
{
    char id[48];
    switch (encoding) {
    case ENCODE_JSON:
        buf_str(out, event);
        buf_char(out, '\n');
        break;
    case ENCODE_WS:
        put_ws(out, event);
        break;
    case ENCODE_PACKED:
        ws_write_packed(out, deflate, WS_TEXT, event);
        break;
    case ENCODE_SSE:
        snprintf(id, sizeof(id), "%" PRId64 ":%" PRId64, epoch, seq);
        sse_write(out, str_z(id), STR_NONE, event);
        break;
    }
}

void event_encode_control(struct buf *out, enum encoding encoding, struct deflate *deflate, struct str message)
{
    if (encoding == ENCODE_SSE)
        sse_write(out, STR_NONE, STR_NONE, message);
    else
        event_encode(out, encoding, deflate, 0, 0, message);
}

static bool is_word(struct str s)
{
    if (s.n == 0 || s.n > 64)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'))
            return false;
    }
    return true;
}

static int by_text(const void *a, const void *b)
{
    return str_cmp(*(const struct str *)a, *(const struct str *)b);
}

static bool put_list(struct str list, struct buf *out)
{
    struct str words[64];
    size_t n = 0;
    while (list.n > 0) {
        struct str word = str_trim(str_cut(&list, ','));
        if (!is_word(word) || n == ARRAY_LEN(words))
            return false;
        words[n++] = word;
    }
    qsort(words, n, sizeof(words[0]), by_text);
    for (size_t i = 0; i < n; i++) {
        if (i > 0 && str_eq(words[i], words[i - 1]))
            continue;
        if (i > 0)
            buf_char(out, ',');
        buf_str(out, words[i]);
    }
    return true;
}

bool event_filter(struct str types, struct str nodes, struct str level, struct buf *out, const char **fault)
{
    size_t start = out->n;
    *fault = "types";
    if (!put_list(types, out))
        return false;
    buf_char(out, '|');
    *fault = "nodeIds";
    if (!put_list(nodes, out))
        return false;
    buf_char(out, '|');
    *fault = "level";
    if (level.n > 0 && level_rank(level) < 0)
        return false;
    buf_str(out, level);
    *fault = "types";
    return out->n - start <= EVENT_FILTER_MAX;
}
