/* The settings of the server, read once at start and never changed: one row of settings_rows (settings.c) and one
 * member here per setting. Durations are milliseconds, sizes bytes. `slipway config` prints them, `slipway serve
 * --help` explains them, `slipway config --limits` lists the limits with the codes they answer. */
#ifndef SERVER_SETTINGS_H
#define SERVER_SETTINGS_H

#include "lib/config.h"
#include "server/forwarded.h"
#include "server/rate.h"

#include <limits.h>

struct keyring;
struct router;

struct settings {
    /* where */
    const char *listen, *listen_file, *data, *redis, *keyring_file, *blobs;
    int redis_fsync; /* 0 always, 1 everysec */
    int64_t workers; /* 0: one per core */
    bool test_endpoints;
    const char *tls_listen, *tls_cert, *tls_key;
    int64_t tls_handshake_timeout, tls_handshakes_max, tls_hsts;
    /* identity */
    const char *public_url, *issuer, *audience;
    struct config_list token_issuers;
    int64_t agent_heartbeat, agent_registration_ttl, agent_refresh_ttl;
    int64_t session_ttl, refresh_token_ttl, token_ttl, token_ttl_max, query_token_ttl_max, auth_trust;
    /* who is in front */
    struct config_list trust_proxy;
    int trust_proxy_header; /* 0 X-Forwarded-For, 1 Forwarded */
    struct forwarded forwarded;
    /* limits of connections */
    int64_t connections_max, connections_address_max, pipeline_max, requests_max;
    int64_t head_timeout, body_timeout, body_rate_min, idle_timeout, send_timeout, send_queue;
    int64_t request_line_max, head_max, head_fields_max;
    int64_t drain_wait, drain_timeout;
    /* limits of requests */
    int64_t request_timeout, redis_timeout;
    int64_t artifact_max, artifact_timeout, blob_quota, blob_check, documents_max;
    int64_t body_max, json_depth, json_nodes, request_memory;
    struct tier tiers[TIERS];
    struct tier address_rate; /* per address, before authentication */
    int64_t idempotency_keep;
    int64_t audit_keep, run_keep;
    int64_t list_examined;
    struct config_list outbound_allow;
    /* streams */
    int64_t stream_heartbeat, stream_comment, stream_auth_timeout, stream_ticket_ttl, stream_expiry_warning,
        stream_drain_window;
    int64_t stream_queue, stream_message_max, stream_fragments_max;
    int64_t stream_per_worker, stream_per_tenant, stream_per_caller;
    bool stream_compress;
    /* logs */
    int log_level, log_format;
    bool log_requests;

    /* made at start from the above */
    struct keyring *keyring; /* read-only but in `slipway key rotate` */
    const struct router *router;
    struct config config;
};

extern const struct config_row settings_rows[];

/* Reads flags, environment and file for `command`, with the command's own rows (may be NULL) beside the server's.
 * Answers CONFIG_READ, or what to exit with. */
int settings_read(struct settings *s, const char *command, const char *summary, const struct config_row *own,
                  void *into, int argc, char **argv);
/* Where the keyring is; false when the path is too long. */
bool settings_keyring_path(const struct settings *s, char out[PATH_MAX]);
/* The keyring of the data folder (made when `create`); false after a message on standard error. */
bool settings_open_keyring(struct settings *s, bool create);
void settings_fini(struct settings *s);

#endif
