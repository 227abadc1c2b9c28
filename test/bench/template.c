#include "test/bench/bench.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct str read_file(const char *path)
{
    struct buf b = {0};
    char chunk[65536];
    FILE *f = fopen(path, "r");
    if (f == NULL)
        give_up(path, "cannot be read");
    for (size_t n; (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buf_add(&b, chunk, n);
    fclose(f);
    if (b.failed || b.n == 0)
        give_up(path, "is empty");
    return buf_view(&b);
}

struct lines read_lines(const char *path)
{
    struct str rest = read_file(path);
    struct lines lines = {0};
    size_t most = 1;
    for (size_t i = 0; i < rest.n; i++)
        most += rest.p[i] == '\n';
    lines.all = calloc(most, sizeof *lines.all);
    if (lines.all == NULL)
        give_up("memory", "none left");
    while (rest.p != NULL) {
        struct str line = str_cut(&rest, '\n');
        if (line.n > 0)
            lines.all[lines.n++] = line;
    }
    return lines;
}

static void add_piece(struct template *t, enum piece_kind kind, struct str text, unsigned list)
{
    if (t->n == sizeof t->pieces / sizeof t->pieces[0])
        give_up("template", "has too many places to fill in");
    t->pieces[t->n++] = (struct piece){kind, text, list};
}

/* The first place to fill in; false when there is none. */
static bool find_place(struct str text, size_t *at, struct piece *piece, size_t *length)
{
    for (size_t i = 0; i < text.n; i++) {
        struct str rest = str_slice(text, i, text.n);
        unsigned list = rest.n > 2 ? (unsigned)(rest.p[2] - '1') : LISTS;
        if (str_starts(rest, S("@@@@@@@@@@")))
            *piece = (struct piece){.kind = PIECE_NUMBER}, *length = NUMBER;
        else if (str_starts(rest, S("$$")) && list < LISTS)
            *piece = (struct piece){.kind = PIECE_LINE, .list = list}, *length = 3;
        else
            continue;
        *at = i;
        return true;
    }
    return false;
}

void template_read(struct template *t, struct str text)
{
    struct piece place;
    size_t at, length;
    while (find_place(text, &at, &place, &length)) {
        if (place.kind == PIECE_LINE && t->lists[place.list].n == 0)
            give_up("template", "names a list that is not there");
        add_piece(t, PIECE_TEXT, str_slice(text, 0, at), 0);
        add_piece(t, place.kind, STR_NONE, place.list);
        text = str_slice(text, at + length, text.n);
    }
    add_piece(t, PIECE_TEXT, text, 0);
    t->random = 0x9e3779b97f4a7c15u;
}

static uint64_t next_random(struct template *t) /* xorshift: the same in every run */
{
    t->random ^= t->random << 13;
    t->random ^= t->random >> 7;
    t->random ^= t->random << 17;
    return t->random;
}

size_t template_fill(struct template *t, char *to)
{
    size_t n = 0;
    uint64_t serial = t->serial++;
    for (size_t i = 0; i < t->n; i++) {
        struct str text = t->pieces[i].text;
        char number[NUMBER + 1];
        if (t->pieces[i].kind == PIECE_NUMBER) {
            snprintf(number, sizeof number, "%010lu", (unsigned long)(serial % 10000000000u));
            text = (struct str){number, NUMBER};
        } else if (t->pieces[i].kind == PIECE_LINE) {
            const struct lines *list = &t->lists[t->pieces[i].list];
            text = list->all[(t->in_order ? serial : next_random(t) >> 16) % list->n];
        }
        if (n + text.n > MAX_REQUEST)
            give_up("template", "longer than 8 KiB");
        memcpy(to + n, text.p, text.n);
        n += text.n;
    }
    return n;
}
