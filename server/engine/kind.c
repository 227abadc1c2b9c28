#include "server/engine/kind.h"

#include "lib/str.h"

/* Each kind has one line here; its owner adds it with its row. */
static const struct run_kind *const kinds[] = {
    &workflow_kind,
    &job_kind,
    &probe_kind,
};

const struct run_kind *run_kind_find(struct str name)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (str_eqz(name, kinds[i]->name))
            return kinds[i];
    return NULL;
}

const struct run_kind *run_kind_of_node(struct str node)
{
    char c = node.n > 0 ? node.p[0] : '\0';

    if (c >= 'a' && c <= 'z')
        return run_kind_find(S("run"));
    if (c >= '1' && c <= '9')
        return run_kind_find(S("job"));
    return c == '0' ? run_kind_find(S("probe")) : NULL;
}
