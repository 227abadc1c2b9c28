#include "test/torture/point.h"

#include <execinfo.h>
#include <stdatomic.h>
#include <stdint.h>

static struct {
    _Atomic unsigned kinds; /* those that count at present; 0: none */
    _Atomic unsigned calls, failures;
    unsigned first, last; /* the numbers of the calls that fail; 0: none, they are recorded */
    void (*fired)(const struct point_site *site);
    atomic_flag busy; /* held by who writes a site */
    unsigned sites;
    uint64_t hashes[POINT_SITES];
    struct point_site site[POINT_SITES];
} point = {.busy = ATOMIC_FLAG_INIT};

static _Thread_local bool exempt; /* also while a hook looks at the stack, which may allocate */

void point_init(void (*fired)(const struct point_site *site))
{
    void *warm[2]; /* the first call loads the unwinder */
    backtrace(warm, 2);
    point.fired = fired;
}

bool point_exempt(bool is)
{
    bool before = exempt;
    exempt = is;
    return before;
}

static void begin(unsigned kinds, unsigned first, unsigned last)
{
    point_stop();
    point.first = first;
    point.last = last;
    point.sites = 0;
    atomic_store(&point.calls, 0);
    atomic_store(&point.failures, 0);
    atomic_store(&point.kinds, kinds);
}

void point_arm(unsigned kinds, unsigned n, unsigned times)
{
    begin(kinds, n, n + times - 1);
}

void point_record(unsigned kinds)
{
    begin(kinds, 0, 0);
}

struct point_report point_stop(void)
{
    atomic_store(&point.kinds, 0);
    while (atomic_flag_test_and_set(&point.busy)) {
    }
    atomic_flag_clear(&point.busy);
    return (struct point_report){atomic_load(&point.calls), atomic_load(&point.failures)};
}

bool point_recording(void)
{
    return atomic_load(&point.kinds) != 0 && point.first == 0;
}

unsigned point_sites(const struct point_site **sites)
{
    *sites = point.site;
    return point.sites;
}

static uint64_t hash_of(const struct point_site *site)
{
    uint64_t hash = 14695981039346656037u;
    for (unsigned i = 0; i < site->depth; i++)
        hash = (hash ^ (uintptr_t)site->stack[i]) * 1099511628211u;
    return hash;
}

static void record(const struct point_site *site)
{
    uint64_t hash = hash_of(site);
    for (unsigned i = 0; i < point.sites; i++)
        if (point.hashes[i] == hash)
            return;
    if (point.sites == POINT_SITES)
        return;
    point.hashes[point.sites] = hash;
    point.site[point.sites++] = *site;
}

static void note(enum point_kind kind, const char *what, unsigned n, bool fails)
{
    struct point_site site = {.n = n, .kind = kind, .what = what};
    site.depth = (unsigned)backtrace(site.stack, POINT_DEPTH);
    while (atomic_flag_test_and_set(&point.busy)) {
    }
    if (!fails)
        record(&site);
    else if (atomic_fetch_add(&point.failures, 1) == 0)
        point.fired(&site);
    atomic_flag_clear(&point.busy);
}

bool point_fails(enum point_kind kind, const char *what)
{
    if ((atomic_load(&point.kinds) & 1u << kind) == 0 || exempt)
        return false;
    unsigned n = atomic_fetch_add(&point.calls, 1) + 1;
    bool fails = n >= point.first && n <= point.last;
    if (!fails && point.first != 0)
        return false;
    exempt = true;
    note(kind, what, n, fails);
    exempt = false;
    return fails;
}
