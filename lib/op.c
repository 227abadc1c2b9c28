#include "lib/op.h"

_Thread_local uint64_t op_orphans;

void ops_init(struct ops *ops)
{
    list_init(&ops->waiting);
}

void ops_detach(struct ops *ops)
{
    list_for (it, &ops->waiting) {
        struct op *op = list_entry(it, struct op, link);
        list_remove(&op->link);
        op->asker = NULL;
    }
}

bool ops_idle(const struct ops *ops)
{
    return list_empty(&ops->waiting);
}

void op_begin(struct op *op, struct ops *asker)
{
    list_init(&op->link);
    op->asker = asker;
    if (asker != NULL)
        list_append(&asker->waiting, &op->link);
}

bool op_finish(struct op *op)
{
    bool wanted = op->asker != NULL;
    list_remove(&op->link);
    op->asker = NULL;
    if (!wanted)
        op_orphans++;
    return wanted;
}
