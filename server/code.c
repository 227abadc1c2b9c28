#include "server/code.h"

#include <string.h>

static const struct {
    const char *name, *text;
    int status;
} codes[] = {
#define X(name, status, text) [name] = {#name, text, status},
    CODE_MAP(X)
#undef X
};

const char *code_name(enum code c)
{
    return codes[c].name;
}

int code_status(enum code c)
{
    return codes[c].status;
}

const char *code_text(enum code c)
{
    return codes[c].text;
}

enum code code_find(const char *name, size_t n)
{
    int c = OK;
    while (c < CODES && (strlen(codes[c].name) != n || memcmp(codes[c].name, name, n) != 0))
        c++;
    return (enum code)c;
}
