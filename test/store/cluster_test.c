/* The functions on a real cluster of three nodes. Every key that a commit touches is in its partition's slot, so the node
 * that has the slot takes the commit as it is. (Finding that node is a client's business, and comes later.) */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include "lib/log.h"
#include "lib/signal.h"
#include "test/store/fixture.h"

enum { NODES = 3, SLOTS = 16384, PARTITIONS = 64, TRIES = 10, KEYS = 20 };

static struct node {
    struct redis_process process;
    uint16_t port, bus;
    struct store *store;
    struct redis *link;
} nodes[NODES];

static unsigned slot_of(struct str tag) /* CRC-16/XMODEM */
{
    unsigned crc = 0;

    for (size_t i = 0; i < tag.n; i++) {
        crc ^= (unsigned)(unsigned char)tag.p[i] << 8;
        for (int bit = 0; bit < 8; bit++)
            crc = (crc & 0x8000 ? crc << 1 ^ 0x1021 : crc << 1) & 0xffff;
    }
    return crc % SLOTS;
}

static struct node *node_of(unsigned slot)
{
    return &nodes[slot * NODES / SLOTS];
}

static uint16_t free_port(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t n = sizeof at;
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&at, n), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &n), 0);
    close(fd);
    return ntohs(at.sin_port);
}

static void on_closed(void *arg)
{
    ++*(int *)arg;
}

/* A port that was free may be taken by the time Redis wants it: then it ends, and other ports are tried. */
static bool start_node(struct node *n)
{
    char port[8], bus[8];
    const char *const arguments[] = {
        "--port",           port, "--bind", "127.0.0.1", "--cluster-enabled", "yes", "--cluster-port", bus,
        "--protected-mode", "no", NULL};
    struct redis_target target;
    static const struct redis_events none;
    struct redis_limits limits = {.backoff_ms = 20, .call_ms = 20000};

    n->port = free_port();
    n->bus = free_port();
    snprintf(port, sizeof port, "%u", (unsigned)n->port);
    snprintf(bus, sizeof bus, "%u", (unsigned)n->bus);
    redis_start(&n->process, arguments);
    assert_true(redis_target_parse(str_z(n->process.socket), &target, NULL));
    n->link = redis_open(&fixture.loop, &target, &limits, &none, NULL);
    while (!redis_ready(n->link)) {
        loop_turn(&fixture.loop, true);
        if (waitpid(n->process.pid, NULL, WNOHANG) == n->process.pid) {
            int closed = 0;

            n->process.pid = 0;
            redis_remove(&n->process);
            redis_close(n->link, on_closed, &closed);
            while (!closed)
                loop_turn(&fixture.loop, true);
            return false;
        }
    }
    return true;
}

static bool is_formed(void)
{
    for (int i = 0; i < NODES; i++) {
        fixture.raw = nodes[i].link;
        if (str_find(redis_string("CLUSTER INFO"), S("cluster_state:ok")) < 0 ||
            str_find(redis_string("CLUSTER INFO"), S("cluster_known_nodes:3")) < 0)
            return false;
    }
    return true;
}

static int open_cluster(void **state)
{
    (void)state;
    alarm(120);
    signal_ignore_pipe();
    log_setup(getenv("VERBOSE") ? LOG_DEBUG : LOG_NONE, LOG_TEXT, 2);
    assert_int_equal(loop_init(&fixture.loop), 0);
    ops_init(&fixture.ops);
    arena_init(&fixture.arena, 0);
    for (unsigned i = 0; i < NODES; i++) {
        int tries = 0;

        while (!start_node(&nodes[i]))
            assert_true(++tries < TRIES);
        fixture.raw = nodes[i].link;
        redis_do("CLUSTER SET-CONFIG-EPOCH %u", i + 1);
        redis_do("CLUSTER ADDSLOTSRANGE %u %u", (i * SLOTS + NODES - 1) / NODES,
                 ((i + 1) * SLOTS + NODES - 1) / NODES - 1);
    }
    for (int i = 1; i < NODES; i++)
        redis_do("CLUSTER MEET 127.0.0.1 %u %u", (unsigned)nodes[i - 1].port, (unsigned)nodes[i - 1].bus);
    while (!is_formed())
        loop_turn(&fixture.loop, false);
    return 0;
}

static int close_cluster(void **state)
{
    int closed = 0;

    (void)state;
    for (int i = 0; i < NODES; i++)
        redis_close(nodes[i].link, on_closed, &closed);
    while (closed < NODES)
        loop_turn(&fixture.loop, true);
    loop_run(&fixture.loop);
    loop_fini(&fixture.loop);
    arena_fini(&fixture.arena);
    for (int i = 0; i < NODES; i++)
        redis_remove(&nodes[i].process);
    return 0;
}

static void open_stores(void)
{
    for (int i = 0; i < NODES; i++) {
        struct store_settings settings = {.seen = &fixture.seen, .limits = {.call_ms = 20000}};

        assert_true(redis_target_parse(str_z(nodes[i].process.socket), &settings.target, NULL));
        nodes[i].store = store_open(&fixture.loop, &settings, NULL, NULL);
        while (!store_ready(nodes[i].store))
            loop_turn(&fixture.loop, true);
    }
}

static void close_stores(void)
{
    int closed = 0;

    for (int i = 0; i < NODES; i++)
        store_close(nodes[i].store, on_closed, &closed);
    while (closed < NODES)
        loop_turn(&fixture.loop, true);
}

static void fill(struct commit *c, unsigned partition)
{
    struct commit_index *x = arena_new(&fixture.arena, struct commit_index);

    index_begin(x, &fixture.arena);
    index_facet(x, S("state"), S("open"));
    index_number(x, "size", 1);
    index_unique(x, RES_ALREADY_EXISTS, STR_NONE, "name", S("one"));
    commit_begin(c, &fixture.arena, (struct space){partition, S(TENANT)}, 0);
    commit_put(c, &(struct commit_document){"run", S("R"), 1, 1, S("{}"), x, STR_NONE});
    commit_event(c, S("run:R"), S("\"type\":\"x\"}"));
    commit_audit(c, S("{}"));
    commit_inbox(c, "run", S("R"), S("id"), S("entry"));
    commit_claim(c, "run", S("R"), S("me"), 3000);
    commit_timer(c, "run", S("R"), 5);
    commit_queue(c, S("R:n:1"), 6);
    commit_task(c, S("A"), S("T"), S("{}"));
    commit_roster(c, S("A"), S("{}"));
    commit_revoked(c);
}

static void the_node_that_has_the_slot_takes_the_commit(void **state)
{
    unsigned used[NODES] = {0};

    (void)state;
    open_stores();
    for (unsigned p = 0; p < PARTITIONS; p++) {
        unsigned slot = slot_of(text("p%02u", p));
        struct node *right = node_of(slot), *wrong = &nodes[(right - nodes + 1) % NODES];
        struct commit c;

        fixture.raw = right->link;
        assert_int_equal(redis_number("CLUSTER KEYSLOT {p%02u}:meta", p), slot);
        fill(&c, p);
        fixture.store = wrong->store;
        assert_int_equal(commit(&c)->code, SYS_STORAGE); /* MOVED */
        fixture.store = right->store;
        commit_ok(&c);
        assert_int_equal(redis_number("CLUSTER COUNTKEYSINSLOT %u", slot), KEYS);
        used[right - nodes]++;
        arena_reset(&fixture.arena);
    }
    for (int i = 0; i < NODES; i++) {
        assert_true(used[i] > 0);
        fixture.raw = nodes[i].link;
        assert_int_equal(redis_number("DBSIZE"), KEYS * used[i]);
    }
    close_stores();
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_node_that_has_the_slot_takes_the_commit)};

    return cmocka_run_group_tests(tests, open_cluster, close_cluster);
}
