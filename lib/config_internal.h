/* Between config.c, which reads, and config_print.c, which shows. */
#ifndef LIB_CONFIG_INTERNAL_H
#define LIB_CONFIG_INTERNAL_H

#include "lib/config.h"

enum { CONFIG_NAME = 64 };

void config_flag_name(const char *name, char out[CONFIG_NAME]);            /* --outbound-allow */
void config_environment_name(const char *name, char out[CONFIG_NAME]);     /* SLIPWAY_OUTBOUND_ALLOW */
void config_number(const struct config_row *row, int64_t v, char out[32]); /* in the row's unit: "10m", "64KiB" */

static inline bool config_is_local(const struct config_row *row)
{
    return (row->flags & CONFIG_LOCAL) != 0;
}

#endif
