#include "server/agent/usage.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/statvfs.h>

static void cpu_measure(struct usage *u)
{
    uint64_t v[8] = {0}, all = 0;
    FILE *f = fopen("/proc/stat", "re");
    if (f == NULL)
        return;
    int n =
        fscanf(f, "cpu %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64,
               &v[0], &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]);
    fclose(f);
    enum { IDLE = 3, IOWAIT = 4 }; /* proc(5) */
    for (int i = 0; i < n; i++)
        all += v[i];
    uint64_t busy = all - v[IDLE] - v[IOWAIT];
    if (all > u->all && busy >= u->busy)
        u->cpu = 100.0 * (double)(busy - u->busy) / (double)(all - u->all);
    u->busy = busy;
    u->all = all;
}

static double memory_percent(void)
{
    char line[128];
    double total = 0, available = 0;
    FILE *f = fopen("/proc/meminfo", "re");
    if (f == NULL)
        return 0;
    while (fgets(line, sizeof line, f) != NULL) {
        sscanf(line, "MemTotal: %lf", &total);
        sscanf(line, "MemAvailable: %lf", &available);
    }
    fclose(f);
    return total > 0 ? 100 * (total - available) / total : 0;
}

static double disk_percent(int data)
{
    struct statvfs fs;
    if (fstatvfs(data, &fs) != 0 || fs.f_blocks == 0)
        return 0;
    double used = (double)(fs.f_blocks - fs.f_bfree);
    return 100 * used / (used + (double)fs.f_bavail);
}

static void put_percent(struct json_out *o, const char *name, double v)
{
    json_key(o, str_z(name));
    json_put_real(o, (double)(int64_t)(v * 10 + 0.5) / 10);
}

void usage_write(struct usage *u, int data, struct json_out *o)
{
    cpu_measure(u);
    json_open(o, '{');
    put_percent(o, "cpuPercent", u->cpu);
    put_percent(o, "diskPercent", disk_percent(data));
    put_percent(o, "memoryPercent", memory_percent());
    json_close(o, '}');
}
