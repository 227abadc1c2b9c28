/* What the files of the loop (loop.c, stream.c) know of each other. */
#ifndef LIB_LOOP_INTERNAL_H
#define LIB_LOOP_INTERNAL_H

#include "lib/loop.h"

void stream_flush_loop(struct loop *loop); /* stream.c: sends what the turn's callbacks wrote */
void stream_pool_free(struct loop *loop);

#endif
