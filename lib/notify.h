/* Telling the service manager how we are: the datagrams of sd_notify(3), without its library. Everything here does nothing
 * where NOTIFY_SOCKET is not set, as in a terminal or a container. */
#ifndef LIB_NOTIFY_H
#define LIB_NOTIFY_H

#include "lib/str.h"

/* `state`: lines as sd_notify(3) lists them, "READY=1", "STOPPING=1", "WATCHDOG=1". One system call; what cannot be sent at
 * once is dropped. True when somebody was told. */
bool notify_send(const char *state);
/* How often "WATCHDOG=1" is expected at the latest (WATCHDOG_USEC, when it is meant for this process), in milliseconds;
 * 0: nobody watches. Send it twice as often. */
int64_t notify_watchdog_ms(void);

#endif
