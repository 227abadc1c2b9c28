#include "server/agent/mask.h"
#include "server/agent/protocol.h"

#include <stdlib.h>
#include <string.h>

/* A trie node with its failure link. Children are a list, as nearly every node has one; the root has a table. */
struct node {
    uint32_t child, sibling, fail;
    uint32_t longest; /* bytes of the longest form that ends here, this node's own or one down the failure links */
    uint32_t depth;
    unsigned char byte;
};

struct mask {
    struct node *nodes;
    uint32_t n, cap;
    uint32_t first[256]; /* the root's children */
    size_t longest, skipped;
    bool failed;
};

static uint32_t child_of(const struct mask *m, uint32_t at, unsigned char byte)
{
    if (at == 0)
        return m->first[byte];
    uint32_t c = m->nodes[at].child;
    while (c != 0 && m->nodes[c].byte != byte)
        c = m->nodes[c].sibling;
    return c;
}

static uint32_t node_new(struct mask *m, uint32_t parent, unsigned char byte)
{
    if (m->n == m->cap) {
        uint32_t cap = m->cap * 2;
        struct node *grown = cap <= MASK_NODES ? realloc(m->nodes, cap * sizeof *grown) : NULL;
        if (grown == NULL) {
            m->failed = true;
            return 0;
        }
        m->nodes = grown;
        m->cap = cap;
    }
    uint32_t c = m->n++;
    m->nodes[c] = (struct node){.byte = byte, .depth = m->nodes[parent].depth + 1};
    if (parent == 0) {
        m->first[byte] = c;
    } else {
        m->nodes[c].sibling = m->nodes[parent].child;
        m->nodes[parent].child = c;
    }
    return c;
}

static void form_add(struct mask *m, struct str form)
{
    if (form.n < PROTOCOL_SECRET_MIN || m->failed)
        return;
    uint32_t at = 0;
    for (size_t i = 0; i < form.n && !m->failed; i++) {
        unsigned char byte = (unsigned char)form.p[i];
        uint32_t c = child_of(m, at, byte);
        at = c != 0 ? c : node_new(m, at, byte);
    }
    if (m->failed)
        return;
    m->nodes[at].longest = (uint32_t)form.n;
    if (form.n > m->longest)
        m->longest = form.n;
}

/* Of the base64 text of `lead` unknown bytes, the secret and unknown bytes: the characters that the secret alone
 * decides. */
static void base64_add(struct mask *m, struct str secret, unsigned lead, struct buf *b)
{
    buf_clear(b);
    buf_add(b, "\0\0", lead);
    buf_str(b, secret);
    size_t raw = b->n;
    if (!buf_reserve(b, 2 * raw + 8)) { /* now the text behind can be made from the bytes before without moving them */
        m->failed = true;
        return;
    }
    buf_base64(b, b->p, raw);
    size_t from = (8 * lead + 5) / 6, to = 8 * raw / 6;
    struct str form = {b->p + raw + from, to - from};
    form_add(m, form);
    for (size_t i = 0; i < form.n; i++) {
        char *c = b->p + raw + from + i;
        *c = *c == '+' ? '-' : *c == '/' ? '_' : *c;
    }
    form_add(m, form);
}

static bool is_unreserved(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("-._~", c) != NULL);
}

/* kept: bytes that stay as they are beside the unreserved ones. */
static void percent_add(struct mask *m, struct str secret, const char *digits, const char *kept, bool plus,
                        struct buf *b)
{
    buf_clear(b);
    for (size_t i = 0; i < secret.n; i++) {
        unsigned char c = (unsigned char)secret.p[i];
        if (plus && c == ' ') {
            buf_char(b, '+');
        } else if (is_unreserved(c) || (c != 0 && strchr(kept, c) != NULL)) {
            buf_char(b, (char)c);
        } else {
            buf_char(b, '%');
            buf_char(b, digits[c >> 4]);
            buf_char(b, digits[c & 15]);
        }
    }
    m->failed |= b->failed;
    form_add(m, buf_view(b));
}

static void add_json(struct mask *m, struct str secret, bool slash, struct buf *b)
{
    static const char plain[] = "\"\\\b\f\n\r\t/", escaped[] = "\"\\bfnrt/";
    buf_clear(b);
    for (size_t i = 0; i < secret.n; i++) {
        char c = secret.p[i];
        const char *at = c != '\0' && (c != '/' || slash) ? strchr(plain, c) : NULL;
        if (at != NULL)
            buf_char(b, '\\');
        buf_char(b, at != NULL ? escaped[at - plain] : c);
    }
    m->failed |= b->failed;
    form_add(m, buf_view(b));
}

static void forms_add(struct mask *m, struct str text, struct buf *b)
{
    if (str_index(text, '\n') < 0)
        form_add(m, text);
    for (unsigned lead = 0; lead < 3; lead++)
        base64_add(m, text, lead, b);
    for (int lower = 0; lower < 2; lower++) {
        const char *digits = lower ? "0123456789abcdef" : "0123456789ABCDEF";
        percent_add(m, text, digits, "", false, b);
        percent_add(m, text, digits, "!'()*", false, b);
        percent_add(m, text, digits, "*", true, b);
        percent_add(m, text, digits, "/", false, b);
    }
    add_json(m, text, false, b);
    add_json(m, text, true, b);
}

static void secret_add(struct mask *m, struct str secret)
{
    if (secret.n < PROTOCOL_SECRET_MIN) {
        m->skipped += secret.n > 0;
        return;
    }
    if (secret.n > MASK_SECRET) {
        m->failed = true;
        return;
    }
    struct buf b = {0};
    forms_add(m, secret, &b);
    for (struct str rest = secret; rest.p != NULL;) {
        struct str line = str_cut(&rest, '\n');
        if (str_ends(line, S("\r")))
            line.n--;
        if (line.n >= PROTOCOL_SECRET_MIN && line.n < secret.n)
            forms_add(m, line, &b);
    }
    if (b.p != NULL)
        explicit_bzero(b.p, b.cap);
    buf_free(&b);
}

static uint32_t step(const struct mask *m, uint32_t at, unsigned char byte)
{
    for (;;) {
        uint32_t c = child_of(m, at, byte);
        if (c != 0 || at == 0)
            return c;
        at = m->nodes[at].fail;
    }
}

/* Breadth first, so that what a link points to is finished before it is used. */
static bool links_make(struct mask *m)
{
    uint32_t *queue = calloc(m->n, sizeof *queue), head = 0, tail = 0;
    if (queue == NULL)
        return false;
    for (unsigned byte = 0; byte < 256; byte++)
        if (m->first[byte] != 0)
            queue[tail++] = m->first[byte];
    while (head < tail) {
        uint32_t at = queue[head++];
        for (uint32_t c = m->nodes[at].child; c != 0; c = m->nodes[c].sibling) {
            struct node *child = &m->nodes[c];
            child->fail = step(m, m->nodes[at].fail, child->byte);
            if (m->nodes[child->fail].longest > child->longest)
                child->longest = m->nodes[child->fail].longest;
            queue[tail++] = c;
        }
    }
    free(queue);
    return true;
}

struct mask *mask_new(const struct str *secrets, size_t n)
{
    struct mask *m = n <= MASK_SECRETS ? calloc(1, sizeof *m) : NULL;
    if (m == NULL)
        return NULL;
    m->cap = 256;
    m->n = 1;
    m->nodes = calloc(m->cap, sizeof *m->nodes);
    m->failed = m->nodes == NULL;
    for (size_t i = 0; i < n && !m->failed; i++)
        secret_add(m, secrets[i]);
    if (m->failed || !links_make(m)) {
        mask_free(m);
        return NULL;
    }
    return m;
}

void mask_free(struct mask *m)
{
    if (m == NULL)
        return;
    if (m->nodes != NULL)
        explicit_bzero(m->nodes, m->cap * sizeof *m->nodes);
    free(m->nodes);
    free(m);
}

size_t mask_skipped(const struct mask *m)
{
    return m->skipped;
}

bool mask_stream_init(struct mask_stream *s, const struct mask *m)
{
    *s = (struct mask_stream){.mask = m, .room = m->longest + 1};
    s->held = calloc(s->room, 2);
    return s->held != NULL;
}

void mask_stream_fini(struct mask_stream *s)
{
    if (s->held != NULL)
        explicit_bzero(s->held, s->room);
    free(s->held);
    *s = (struct mask_stream){0};
}

static size_t ring_at(const struct mask_stream *s, size_t i)
{
    size_t at = s->from + i;
    return at < s->room ? at : at - s->room;
}

static void release(struct mask_stream *s, size_t keep, struct buf *out)
{
    while (s->n > keep) {
        bool covered = s->held[s->room + s->from] != 0;
        if (!covered)
            buf_char(out, (char)s->held[s->from]);
        else if (!s->masking)
            buf_z(out, "***");
        s->masking = covered;
        s->from = ring_at(s, 1);
        s->n--;
    }
}

void mask_feed(struct mask_stream *s, struct str in, struct buf *out)
{
    const struct mask *m = s->mask;
    for (size_t i = 0; i < in.n;) {
        if (s->n == 0) {
            size_t from = i;
            while (i < in.n && m->first[(unsigned char)in.p[i]] == 0)
                i++;
            buf_add(out, in.p + from, i - from);
            s->masking = s->masking && i == from;
            if (i == in.n)
                return;
        }
        unsigned char byte = (unsigned char)in.p[i++];
        size_t at = ring_at(s, s->n++);
        s->held[at] = byte;
        s->held[s->room + at] = 0;
        s->state = step(m, s->state, byte);
        const struct node *node = &m->nodes[s->state];
        for (uint32_t k = 0; k < node->longest; k++)
            s->held[s->room + ring_at(s, s->n - 1 - k)] = 1;
        release(s, node->depth, out);
    }
}

void mask_end(struct mask_stream *s, struct buf *out)
{
    release(s, 0, out);
    s->state = 0;
    s->masking = false;
}
