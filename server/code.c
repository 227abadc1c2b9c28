#include "server/code.h"

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
