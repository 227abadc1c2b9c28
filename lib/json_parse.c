/* Parsing is yajl's (this is its only face): it splits the text into tokens and holds them to the grammar. What JSON
 * leaves to its readers is decided here: well-formed UTF-8, surrogates in pairs, no NUL, no member twice, bounds.
 *
 * The tree's strings lie in one copy of the text, which yajl points into; a string that has escapes is a copy of its
 * own. yajl does not look whether it got memory, so an arena that is full leaves it by longjmp; all it has is on our
 * stack and in the arena. */
#include "lib/json_internal.h"

#include <math.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yajl/yajl_parse.h>

enum { DEPTH = 32, NODES = 20000, STACK = 32, SCRATCH = 4096, ALIGN = 16, GOES_ON = 1, ENDS = 0 };

struct parse {
    struct arena *arena;
    yajl_handle yajl;
    char *text; /* the copy, with a blank behind it, which ends a number */
    size_t length;
    struct json_member *stack; /* of each open container an entry for itself, and then what it holds so far */
    size_t n, room, top;       /* top: the innermost container's entry, whose name.n is the one around it */
    unsigned depth, max_depth, nodes, max_nodes;
    struct json *root;
    const char *wrong; /* found by a callback */
    struct str twice;
    jmp_buf no_memory;
    size_t scratched;
    _Alignas(ALIGN) char scratch[SCRATCH];
};

static void *need(struct parse *p, void *memory)
{
    if (memory == NULL)
        longjmp(p->no_memory, 1);
    return memory;
}

static int refuse(struct parse *p, const char *wrong)
{
    p->wrong = wrong;
    return ENDS;
}

/* What is needed while parsing alone: of the scratch while it lasts, and then of the arena. */
static void *scratch(struct parse *p, size_t n)
{
    size_t take = (n + ALIGN - 1) & ~(size_t)(ALIGN - 1);
    if (n > SCRATCH || take > SCRATCH - p->scratched)
        return need(p, arena_room(p->arena, n));
    p->scratched += take;
    return p->scratch + p->scratched - take;
}

/* yajl's memory. Each allocation says before it how long it is, for when it has to grow. */

static void *allocate(void *arg, size_t n)
{
    char *memory = scratch(arg, n + ALIGN);
    memcpy(memory, &n, sizeof n);
    return memory + ALIGN;
}

static void *reallocate(void *arg, void *old, size_t n)
{
    char *memory = allocate(arg, n);
    size_t before = 0;
    if (old != NULL)
        memcpy(&before, (char *)old - ALIGN, sizeof before);
    if (before > 0)
        memcpy(memory, old, before < n ? before : n);
    return memory;
}

static void release(void *arg, void *memory)
{
    (void)arg, (void)memory;
}

/* Values. */

static void push(struct parse *p, struct json_member what)
{
    if (p->n == p->room) {
        size_t room = p->room == 0 ? STACK : p->room * 2;
        struct json_member *larger = scratch(p, room * sizeof *larger);
        if (p->n > 0)
            memcpy(larger, p->stack, p->n * sizeof *larger);
        p->stack = larger;
        p->room = room;
    }
    p->stack[p->n++] = what;
}

/* A member's name is on the stack already. */
static int add(struct parse *p, struct json *value)
{
    if (++p->nodes > p->max_nodes)
        return refuse(p, "too many values");
    if (p->depth == 0)
        p->root = value;
    else if (p->stack[p->top].value->type == JSON_OBJECT)
        p->stack[p->n - 1].value = value;
    else
        push(p, (struct json_member){STR_NONE, value});
    return GOES_ON;
}

static struct json *node(struct parse *p, enum json_type type, size_t n)
{
    return need(p, json_node(p->arena, type, n));
}

static int on_null(void *arg)
{
    return add(arg, &json_null);
}

static int on_bool(void *arg, int truth)
{
    return add(arg, truth ? &json_true : &json_false);
}

static int on_number(void *arg, const char *text, size_t n)
{
    struct parse *p = arg;
    struct json *j = node(p, JSON_INT, 0);
    struct str s = {text, n};
    if (memchr(text, '.', n) != NULL || memchr(text, 'e', n) != NULL || memchr(text, 'E', n) != NULL ||
        !str_i64(s, &j->whole)) {
        j->type = JSON_REAL;
        j->real = strtod(text, NULL); /* what follows a number ends it for strtod, too */
        if (!isfinite(j->real))
            return refuse(p, "a number is too large");
    }
    return add(p, j);
}

/* The bytes of a string where they stay; the quote behind them makes room for a NUL. */
static bool keep(struct parse *p, const unsigned char *bytes, size_t n, struct str *kept)
{
    const char *text = (const char *)bytes;
    if (n > 0 && memchr(text, '\0', n) != NULL) {
        refuse(p, "a NUL in a string");
        return false;
    }
    if (text >= p->text && text < p->text + p->length) {
        p->text[text - p->text + (ptrdiff_t)n] = '\0';
        *kept = (struct str){text, n};
    } else {
        *kept = arena_str(p->arena, (struct str){text, n});
        need(p, (void *)(uintptr_t)kept->p);
    }
    return true;
}

static int on_string(void *arg, const unsigned char *bytes, size_t n)
{
    struct parse *p = arg;
    struct str kept;
    if (!keep(p, bytes, n, &kept))
        return ENDS;
    struct json *j = node(p, JSON_STRING, n);
    j->text = kept.p;
    return add(p, j);
}

static int on_name(void *arg, const unsigned char *bytes, size_t n)
{
    struct parse *p = arg;
    struct json_member member = {STR_NONE, NULL};
    if (!keep(p, bytes, n, &member.name))
        return ENDS;
    push(p, member);
    return GOES_ON;
}

static int open_container(struct parse *p, enum json_type type)
{
    struct json *j = node(p, type, 0);
    if (p->depth == p->max_depth)
        return refuse(p, "nested too deeply");
    if (add(p, j) == ENDS)
        return ENDS;
    push(p, (struct json_member){{NULL, p->top}, j});
    p->top = p->n - 1;
    p->depth++;
    return GOES_ON;
}

/* The container that ends, with room for what it holds, which is on the stack from the answered place on. */
static struct json_member *close_container(struct parse *p, struct json **container, size_t size)
{
    struct json_member *entry = &p->stack[p->top];
    struct json *j = *container = entry->value;
    j->n = p->n - p->top - 1;
    j->room = (uint32_t)j->n;
    j->members = j->n == 0 ? NULL : need(p, arena_room(p->arena, j->n * size));
    p->n = p->top;
    p->top = entry->name.n;
    p->depth--;
    return entry + 1;
}

static int on_object(void *arg)
{
    return open_container(arg, JSON_OBJECT);
}

static int on_array(void *arg)
{
    return open_container(arg, JSON_ARRAY);
}

static int on_array_end(void *arg)
{
    struct json *j;
    const struct json_member *held = close_container(arg, &j, sizeof *j->elements);
    for (size_t i = 0; i < j->n; i++)
        j->elements[i] = held[i].value;
    return GOES_ON;
}

static int on_object_end(void *arg)
{
    struct parse *p = arg;
    struct json *j;
    const struct json_member *held = close_container(p, &j, sizeof *j->members);
    if (j->n == 0)
        return GOES_ON;
    memcpy(j->members, held, j->n * sizeof *held);
    if (json_settle(p->arena, j, &p->twice))
        return GOES_ON;
    need(p, p->twice.p == NULL ? NULL : j);
    return refuse(p, "a member is there twice");
}

/* Before yajl. */

static bool hex4(struct str text, size_t at, unsigned *out)
{
    *out = 0;
    for (size_t i = at; i < at + 4; i++) {
        char c = i < text.n ? text.p[i] : '\0';
        bool digit = c >= '0' && c <= '9', letter = (c | 32) >= 'a' && (c | 32) <= 'f';
        if (!digit && !letter)
            return false;
        *out = *out * 16 + (unsigned)(digit ? c - '0' : (c | 32) - 'a' + 10);
    }
    return true;
}

/* The place of the first \u that is half of a pair without the other half, for which yajl would put something else;
 * text.n: there is none. Escapes that are no escapes are yajl's to find. */
static size_t lone_surrogate(struct str text)
{
    const char *found;
    for (size_t i = 0; i < text.n && (found = memchr(text.p + i, '\\', text.n - i)) != NULL;) {
        unsigned unit, low;
        size_t at = (size_t)(found - text.p);
        i = at + 2;
        if (i > text.n || text.p[at + 1] != 'u' || !hex4(text, at + 2, &unit) || (unit & 0xf800) != 0xd800)
            continue;
        bool paired = unit < 0xdc00 && text.n - at >= 12 && memcmp(text.p + at + 6, "\\u", 2) == 0 &&
                      hex4(text, at + 8, &low) && (low & 0xfc00) == 0xdc00;
        if (!paired)
            return at;
        i = at + 12;
    }
    return text.n;
}

static const char *look_over(struct str text, size_t *offset)
{
    if (text.n == 0)
        return "the text is empty";
    if (text.n > UINT32_MAX / 2)
        return "the text is too long";
    if ((*offset = str_utf8_valid(text)) < text.n)
        return "not UTF-8";
    if ((*offset = lone_surrogate(text)) < text.n)
        return "half of a surrogate pair";
    return NULL;
}

/* With yajl. */

static void say(struct json_fault *fault, size_t offset, struct str message, struct str name)
{
    char text[sizeof fault->message];
    if (fault == NULL)
        return;
    if (name.p == NULL)
        snprintf(text, sizeof text, STR_FMT, STR_ARG(message));
    else
        snprintf(text, sizeof text, STR_FMT ": " STR_FMT, STR_ARG(message), STR_ARG(name));
    *fault = (struct json_fault){.offset = offset};
    memcpy(fault->message, text, str_utf8_valid(str_z(text)));
}

/* "lexical error: invalid char in json text.\n" without what goes around it. */
static struct str complaint(struct parse *p)
{
    struct str all = str_z((const char *)yajl_get_error(p->yajl, 0, NULL, 0)), kind = str_cut(&all, ':');
    struct str said = all.p == NULL ? kind : all;
    while (said.n > 0 && strchr(" .\n", said.p[said.n - 1]) != NULL)
        said.n--;
    return str_trim(said);
}

static void start(struct parse *p, struct str text)
{
    static const yajl_callbacks callbacks = {
        .yajl_null = on_null,
        .yajl_boolean = on_bool,
        .yajl_number = on_number,
        .yajl_string = on_string,
        .yajl_start_map = on_object,
        .yajl_map_key = on_name,
        .yajl_end_map = on_object_end,
        .yajl_start_array = on_array,
        .yajl_end_array = on_array_end,
    };
    yajl_alloc_funcs memory = {allocate, reallocate, release, p};
    p->length = text.n + 1;
    p->text = need(p, arena_room(p->arena, p->length));
    memcpy(p->text, text.p, text.n);
    p->text[text.n] = ' ';
    p->yajl = yajl_alloc(&callbacks, &memory, p);
    yajl_config(p->yajl, yajl_dont_validate_strings, 1); /* done, and more strictly */
}

static bool run(struct parse *p, struct str text, struct json_fault *fault)
{
    start(p, text);
    if (yajl_parse(p->yajl, (const unsigned char *)p->text, p->length) == yajl_status_ok &&
        yajl_complete_parse(p->yajl) == yajl_status_ok)
        return true;
    size_t consumed = yajl_get_bytes_consumed(p->yajl), at = p->wrong != NULL ? consumed - 1 : consumed;
    say(fault, at > text.n ? text.n : at, p->wrong != NULL ? str_z(p->wrong) : complaint(p), p->twice);
    return false;
}

struct json *json_parse(struct arena *a, struct str text, const struct json_limits *limits, struct json_fault *fault)
{
    size_t offset = 0;
    const char *wrong = look_over(text, &offset);
    if (wrong != NULL) {
        say(fault, offset, str_z(wrong), STR_NONE);
        return NULL;
    }
    struct parse p;
    memset(&p, 0, offsetof(struct parse, no_memory));
    p.scratched = 0;
    p.arena = a;
    p.max_depth = limits != NULL && limits->depth != 0 ? limits->depth : DEPTH;
    p.max_nodes = limits != NULL && limits->nodes != 0 ? limits->nodes : NODES;
    if (setjmp(p.no_memory) == 0)
        return run(&p, text, fault) ? p.root : NULL;
    say(fault, 0, S("out of memory"), STR_NONE);
    if (fault != NULL)
        fault->exhausted = true;
    return NULL;
}
