/* How busy this host is, for heartbeats: per cent, from /proc and statvfs. */
#ifndef SERVER_AGENT_USAGE_H
#define SERVER_AGENT_USAGE_H

#include "lib/json.h"

struct usage { /* zeroed memory has not measured yet */
    uint64_t busy, all;
    double cpu;
};

/* Measures since the last call, and writes {cpuPercent, diskPercent, memoryPercent}; `data`: a folder on the disk meant. */
void usage_write(struct usage *u, int data, struct json_out *o);

#endif
