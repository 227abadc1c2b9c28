/* Random numbers that follow from a seed. */
#ifndef TEST_LIB_DICE_H
#define TEST_LIB_DICE_H

#include <stdbool.h>
#include <stdint.h>

struct dice {
    uint64_t state; /* the seed, to begin with */
};
uint64_t dice_roll(struct dice *d);
unsigned dice_below(struct dice *d, unsigned bound);
bool dice_percent(struct dice *d, unsigned percent);

#endif
