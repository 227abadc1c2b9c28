/* The certificate of --tls-listen: read at start, and again on SIGHUP. New connections get the new one, those that are
 * there keep theirs; a new one that cannot be used is said in the log, and the old one stays. */
#ifndef SERVER_CERTIFICATE_H
#define SERVER_CERTIFICATE_H

#include <stdbool.h>

struct process;
struct worker;

/* Reads certificate and key and hands every worker a context of its own (worker->tls_next). Warns where others may read
 * the key, and where the certificate ends within 14 days. False after a line in the log: nothing was handed over. */
bool certificate_load(struct process *p);
/* On the worker's thread: takes what certificate_load has left for it; no-op when that is nothing. */
void certificate_take(struct worker *w);

#endif
