#include "server/settings.h"

#include "lib/keyring.h"
#include "server/oauth/issuer.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>

static const char *const proxy_words[] = {"x-forwarded-for", "forwarded", NULL};
static const char *const fsync_words[] = {"always", "everysec", NULL};
static const char *const level_words[] = {"debug", "info", "warn", "error", NULL};
static const char *const format_words[] = {"logfmt", "json", NULL};

#define AT(member) offsetof(struct settings, member)
#define DAY        (24 * INT64_C(3600000))
#define MIB        (INT64_C(1) << 20)

/* What a tier may: requests a minute and at once, an hour and a day; builds a day. */
// clang-format off
#define RATE_ROOM 100000000
#define RATES(at, word, a_minute, at_once, an_hour, a_day, builds_a_day) \
    {"rate-" word, CONFIG_INT, AT(tiers[at].limit), a_minute, 1, RATE_ROOM, .code = "RATE_LIMIT_EXCEEDED", \
     .doc = "Requests a minute of a caller in the " word " tier."}, \
    {"rate-" word "-burst", CONFIG_INT, AT(tiers[at].burst), at_once, 1, RATE_ROOM, .code = "RATE_LIMIT_EXCEEDED", \
     .doc = "Requests at once of such a caller; refilled by a sixtieth of the limit each second."}, \
    {"rate-" word "-hour", CONFIG_INT, AT(tiers[at].more[RATE_HOUR]), an_hour, 0, RATE_ROOM, .code = "RATE_LIMIT_EXCEEDED", \
     .doc = "Its requests in an hour of the clock; 0: any number."}, \
    {"rate-" word "-day", CONFIG_INT, AT(tiers[at].more[RATE_DAY]), a_day, 0, RATE_ROOM, .code = "RATE_LIMIT_EXCEEDED", \
     .doc = "Its requests in a day of UTC; 0: any number."}, \
    {"rate-" word "-builds", CONFIG_INT, AT(tiers[at].more[RATE_BUILDS]), builds_a_day, 0, RATE_ROOM, .code = "RATE_BUILDS_EXCEEDED", \
     .doc = "Runs it starts and promotions it asks for in a day of UTC; 0: any number. One that is refused does not count."}
// clang-format on

/* name, type, at, default, min, max, choices, code, flags, argument, doc */
// clang-format off
const struct config_row settings_rows[] = {
    {"listen", CONFIG_STRING, AT(listen), "127.0.0.1:8080", .flags = CONFIG_REQUIRED, .arg = "HOST:PORT",
     .doc = "Address to take connections on. Port 0 lets the system choose; the chosen one is in the log and in --listen-file."},
    {"listen-file", CONFIG_PATH, AT(listen_file), "", .arg = "FILE",
     .doc = "File that gets the address, one line, once connections are taken, and is removed at the end. Unset: DATA/listen."},
    {"tls-listen", CONFIG_STRING, AT(tls_listen), "", .arg = "HOST:PORT",
     .doc = "Address to take TLS connections on, beside --listen, which stays plain: leave that on loopback or a unix socket."},
    {"tls-cert", CONFIG_PATH, AT(tls_cert), "", .arg = "FILE",
     .doc = "Certificate of --tls-listen and those between it and the root, PEM. SIGHUP reads certificate and key again; connections stay."},
    {"tls-key", CONFIG_PATH, AT(tls_key), "", .arg = "FILE",
     .doc = "Its private key, PEM, without a password, mode 0600. P-256 is the fastest."},
    {"tls-hsts", CONFIG_DURATION, AT(tls_hsts), "365d", 0, 1000 * DAY,
     .doc = "How long whoever came by TLS is told to come by TLS alone (Strict-Transport-Security), when public-url is https; 0s: not at all."},
    {"data", CONFIG_PATH, AT(data), "slipway-data", .flags = CONFIG_REQUIRED, .arg = "DIR",
     .doc = "Folder of everything that is kept: the embedded Redis' files, the keyring, the first admin key. Made when it is missing."},
    {"redis", CONFIG_STRING, AT(redis), "embedded", .flags = CONFIG_REQUIRED | CONFIG_URL, .arg = "URL",
     .doc = "`embedded` starts a redis-server of its own in the data folder; redis://[USER:PASSWORD@]HOST:PORT/DB, "
            "rediss:// for TLS (?ca=FILE: whom to trust) or unix:PATH names yours."},
    {"redis-fsync", CONFIG_CHOICE, AT(redis_fsync), "always", .choices = fsync_words,
     .doc = "When the embedded Redis writes to the disk: `always` before a change is acknowledged, `everysec` with up to a second at risk."},
    {"keyring", CONFIG_PATH, AT(keyring_file), "", .arg = "FILE",
     .doc = "Keys for sealing, signing and hashing; mode 0600. Every instance on one data set needs the same file. Unset: DATA/keyring."},
    {"blobs", CONFIG_STRING, AT(blobs), "", .arg = "DIR|redis",
     .doc = "Where artifacts are kept: a folder (shared, where several instances serve one data set), or `redis` for pieces in Redis itself. "
            "Unset: DATA/blobs with the embedded Redis, `redis` with yours."},
    {"workers", CONFIG_INT, AT(workers), "0", 0, 256,
     .doc = "Threads that serve, each with its own loop, listener and Redis connections. 0: one per core."},
    {"test-endpoints", CONFIG_BOOL, AT(test_endpoints), "false",
     .doc = "Answer /_test/http (echoes any body) and /_test/echo (echoes WebSocket messages), for conformance and load tests."},

    {"public-url", CONFIG_STRING, AT(public_url), "", .arg = "URL",
     .doc = "How clients reach the service, https://HOST[:PORT]: the issuer of its access tokens and the base of what it publishes about "
            "itself. Unset, for trying it out: the loopback name it is asked by. Tokens that were made under another URL are refused."},
    {"issuer", CONFIG_STRING, AT(issuer), "slipway", .flags = CONFIG_REQUIRED,
     .doc = "`iss` of access tokens that were made by hand or for agents without a public-url; taken with one as well, so that they go on."},
    {"audience", CONFIG_STRING, AT(audience), "slipway", .flags = CONFIG_REQUIRED,
     .doc = "`aud` of the access tokens made and taken."},
    {"refresh-token-ttl", CONFIG_DURATION, AT(refresh_token_ttl), "30d", 60000, 366 * DAY,
     .doc = "How long a client may go on in a person's name without coming back: each refresh token is good once, and for so long."},
    {"session-ttl", CONFIG_DURATION, AT(session_ttl), "12h", 60000, 30 * DAY,
     .doc = "How long somebody stays signed in at a browser."},
    {"token-issuers", CONFIG_LIST, AT(token_issuers), "", .arg = "URL,…",
     .doc = "OpenID providers whose tokens clients may exchange for ours (RFC 8693), as their `iss` says it: "
            "https://token.actions.githubusercontent.com. Their keys are fetched from there; a private address needs outbound.allow."},
    {"token-ttl", CONFIG_DURATION, AT(token_ttl), "1h", 1000, 30 * DAY,
     .doc = "How long an access token lives when its maker does not say."},
    {"token-ttl-max", CONFIG_DURATION, AT(token_ttl_max), "30d", 1000, 366 * DAY, .code = "AUTH_TOKEN_INVALID",
     .doc = "The longest life of an access token; one that claims more is refused."},
    {"query-token-ttl-max", CONFIG_DURATION, AT(query_token_ttl_max), "1h", 1000, DAY, .code = "AUTH_TOKEN_INVALID",
     .doc = "The longest whole life of an access token that comes as `?token=` on a stream; API keys are never taken there."},
    {"auth-trust", CONFIG_DURATION, AT(auth_trust), "500ms", 50, 10000,
     .doc = "How long a worker trusts that nothing was revoked: open streams are checked so often, and a request is let through without a question "
            "to Redis only when the last answer is younger."},

    {"trust-proxy", CONFIG_LIST, AT(trust_proxy), "", .arg = "CIDR,…",
     .doc = "Networks of the proxies in front (`unix`: those that come over a unix socket): from them alone the client's address is taken "
            "out of trust-proxy-header, for limits, the audit trail and the log. Their connections are not counted as one address's."},
    {"trust-proxy-header", CONFIG_CHOICE, AT(trust_proxy_header), "x-forwarded-for", .choices = proxy_words,
     .doc = "The header that these proxies set, whatever their clients sent in it."},
    {"connections-max", CONFIG_INT, AT(connections_max), "20000", 1, 1000000, .code = "SYS_OVERLOADED",
     .doc = "Open connections of all workers together; one more is closed after its first answer, 503 unless it is a probe."},
    {"connections-address-max", CONFIG_INT, AT(connections_address_max), "10000", 1, 1000000, .code = "SYS_OVERLOADED",
     .doc = "Open connections of one address to one worker; one more is closed after its first answer, 503 unless it is a probe."},
    {"requests-max", CONFIG_INT, AT(requests_max), "4096", 1, 1000000, .code = "SYS_OVERLOADED",
     .doc = "Requests a worker has begun and not yet answered; one more is refused at once. Probes are always answered."},
    {"tls-handshake-timeout", CONFIG_DURATION, AT(tls_handshake_timeout), "5s", 50, 60000, .code = CONFIG_ENDS,
     .doc = "From a TLS connection's start to the end of its handshake."},
    {"tls-handshakes-max", CONFIG_INT, AT(tls_handshakes_max), "1024", 1, 1000000, .code = CONFIG_ENDS,
     .doc = "TLS handshakes under way at a worker; one more cuts the one that was silent for the longest."},
    {"pipeline-max", CONFIG_INT, AT(pipeline_max), "64", 1, 10000,
     .doc = "Pipelined requests of one connection that are served before others have their turn."},
    {"request-line-max", CONFIG_SIZE, AT(request_line_max), "8KiB", 256, 64 << 10, .code = "RES_URI_TOO_LONG",
     .doc = "The longest request line."},
    {"head-max", CONFIG_SIZE, AT(head_max), "16KiB", 512, 256 << 10, .code = "RES_HEADERS_TOO_LARGE",
     .doc = "Request line and header lines together; trailers and chunk extensions have the same bound."},
    {"head-fields-max", CONFIG_INT, AT(head_fields_max), "100", 8, 128, .code = "RES_HEADERS_TOO_LARGE",
     .doc = "Header lines of a request."},
    {"head-timeout", CONFIG_DURATION, AT(head_timeout), "10s", 50, 600000, .code = "RES_REQUEST_TIMEOUT",
     .doc = "From a request's first byte to the end of its head."},
    {"body-timeout", CONFIG_DURATION, AT(body_timeout), "30s", 50, 3600000, .code = "RES_REQUEST_TIMEOUT",
     .doc = "From the end of a request's head to the end of its body."},
    {"body-rate-min", CONFIG_SIZE, AT(body_rate_min), "1KiB", 1, 1 << 20, .code = "RES_REQUEST_TIMEOUT",
     .doc = "Bytes a second that a body must bring, from its sixth second on."},
    {"idle-timeout", CONFIG_DURATION, AT(idle_timeout), "75s", 50, 3600000, .code = CONFIG_ENDS,
     .doc = "How long a connection without a request is kept."},
    {"send-timeout", CONFIG_DURATION, AT(send_timeout), "30s", 50, 3600000, .code = CONFIG_ENDS,
     .doc = "How long a client may take nothing of what waits for it before its connection is cut; at most twice as long."},
    {"send-queue", CONFIG_SIZE, AT(send_queue), "1MiB", 16 << 10, 1 << 30, .code = CONFIG_ENDS,
     .doc = "Bytes that may wait for one slow reader of a stream; with more its connection is cut."},
    {"drain-wait", CONFIG_DURATION, AT(drain_wait), "2s", 0, 600000,
     .doc = "After SIGTERM: how long /readyz answers 503 while everything is served as before, for load balancers to notice."},
    {"drain-timeout", CONFIG_DURATION, AT(drain_timeout), "10s", 100, 3600000, .code = CONFIG_ENDS,
     .doc = "After SIGTERM: when what is still open is cut, the wait included."},

    {"request-timeout", CONFIG_DURATION, AT(request_timeout), "10s", 100, 600000, .code = "SYS_TIMEOUT",
     .doc = "From the end of a request's head to its answer."},
    {"redis-timeout", CONFIG_DURATION, AT(redis_timeout), "1.5s", 50, 60000, .code = "SYS_STORAGE",
     .doc = "From sending an operation to Redis to its reply."},
    {"body-max", CONFIG_SIZE, AT(body_max), "1MiB", 1024, 64 * MIB, .code = "RES_BODY_TOO_LARGE",
     .doc = "The longest request body."},
    {"artifact-max", CONFIG_SIZE, AT(artifact_max), "32MiB", 1024, 1024 * MIB, .code = "RES_BODY_TOO_LARGE",
     .doc = "The longest artifact that can be uploaded; larger ones are named by URL and digest."},
    {"artifact-timeout", CONFIG_DURATION, AT(artifact_timeout), "10m", 1000, DAY, .code = "RES_REQUEST_TIMEOUT",
     .doc = "How long an artifact may take on its way here, or to a client."},
    {"documents-max", CONFIG_INT, AT(documents_max), "1000000", 1, INT64_C(1) << 40, .code = "RES_QUOTA_EXCEEDED",
     .doc = "Documents of one kind kept for one tenant."},
    {"blob-quota", CONFIG_SIZE, AT(blob_quota), "1GiB", 1024, INT64_C(1) << 50, .code = "RES_QUOTA_EXCEEDED",
     .doc = "Bytes of artifacts kept for one tenant, each content counted once."},
    {"blob-check", CONFIG_DURATION, AT(blob_check), "1d", 100, 30 * DAY,
     .doc = "How often it is looked whether anything still refers to a kept artifact; what nothing refers to is removed."},
    {"json-depth", CONFIG_INT, AT(json_depth), "32", 4, 128, .code = "VAL_MALFORMED_JSON",
     .doc = "How deep a JSON body may be nested."},
    {"json-nodes", CONFIG_INT, AT(json_nodes), "20000", 100, 1000000, .code = "VAL_MALFORMED_JSON",
     .doc = "How many values a JSON body may hold in all."},
    {"request-memory", CONFIG_SIZE, AT(request_memory), "32MiB", MIB, 1024 * MIB, .code = "SYS_OVERLOADED",
     .doc = "Memory that one request may take before it is given up."},
    RATES(TIER_STANDARD, "standard", "1000", "100", "0", "0", "0"),
    RATES(TIER_PREMIUM, "premium", "5000", "500", "0", "0", "0"),
    RATES(TIER_FREE, "free", "60", "20", "0", "10000", "5"),
    RATES(TIER_PRO, "pro", "300", "60", "0", "100000", "50"),
    RATES(TIER_ENTERPRISE, "enterprise", "500", "100", "0", "0", "500"),
    {"rate-address", CONFIG_INT, AT(address_rate.limit), "600000", 1, 100000000, .code = "RATE_LIMIT_EXCEEDED",
     .doc = "Requests a minute of one address, or of one /64 of IPv6, to the API, counted by each worker before anybody is authenticated. "
            "Give it room where a balancer hides the clients' addresses."},
    {"rate-address-burst", CONFIG_INT, AT(address_rate.burst), "10000", 1, 100000000, .code = "RATE_LIMIT_EXCEEDED",
     .doc = "Requests at once of one address."},
    {"agent.heartbeat", CONFIG_DURATION, AT(agent_heartbeat), "30s", 1000, 3600000,
     .doc = "How often an agent is asked to say that it is alive, in whole seconds; an agent's own setting may be longer. After two silent intervals it is degraded, after three offline."},
    {"agent.registration-ttl", CONFIG_DURATION, AT(agent_registration_ttl), "24h", 1000, 30 * DAY, .code = "AUTH_TOKEN_EXPIRED",
     .doc = "How long a registration token is good for."},
    {"agent.refresh-ttl", CONFIG_DURATION, AT(agent_refresh_ttl), "90d", 60000, 3660 * DAY, .code = "AUTH_TOKEN_INVALID",
     .doc = "How long an agent may stay away before it has to be registered anew."},
    {"idempotency-keep", CONFIG_DURATION, AT(idempotency_keep), "24h", 1000, 30 * DAY,
     .doc = "How long the answer to a request with an Idempotency-Key can be replayed."},
    {"list-examined", CONFIG_INT, AT(list_examined), "20000", 1, 1000000, .code = "VAL_FILTER_TOO_BROAD",
     .doc = "Documents a list may look at, where indexes do not answer its filter and order."},
    {"audit-keep", CONFIG_DURATION, AT(audit_keep), "2555d", 1000, 36500 * DAY,
     .doc = "How long entries of the audit trail are kept."},
    {"run-keep", CONFIG_DURATION, AT(run_keep), "30d", 1000, 3650 * DAY,
     .doc = "How long a workflow run is kept after its end, with its steps, events and logs."},
    {"outbound.allow", CONFIG_LIST, AT(outbound_allow), "", .arg = "CIDR,…",
     .doc = "Private, loopback and link-local networks that steps may call; all others of them are refused on the connected address."},

    {"stream.heartbeat", CONFIG_DURATION, AT(stream_heartbeat), "30s", 250, 600000,
     .doc = "How often a WebSocket is pinged and told how far it is; one that leaves two pings unanswered is cut."},
    {"stream.comment", CONFIG_DURATION, AT(stream_comment), "15s", 250, 600000,
     .doc = "How often an event stream gets a comment line, which keeps proxies from cutting it."},
    {"stream.auth-timeout", CONFIG_DURATION, AT(stream_auth_timeout), "10s", 100, 60000, .code = "AUTH_TOKEN_MISSING",
     .doc = "How long a WebSocket that came without a token has to send one (close code 4408)."},
    {"stream.ticket-ttl", CONFIG_DURATION, AT(stream_ticket_ttl), "30s", 1000, 300000, .code = "AUTH_TOKEN_INVALID",
     .doc = "How long a ticket opens a stream."},
    {"stream.expiry-warning", CONFIG_DURATION, AT(stream_expiry_warning), "60s", 1000, 3600000,
     .doc = "How long before its token expires a stream is told so."},
    {"stream.drain-window", CONFIG_DURATION, AT(stream_drain_window), "5s", 0, 600000,
     .doc = "When the server goes away each stream is told to come back after a random part of this."},
    {"stream.queue", CONFIG_SIZE, AT(stream_queue), "1MiB", 262144, 256 * MIB, .code = "RATE_LIMIT_EXCEEDED",
     .doc = "Bytes that may wait for a reader of a stream; one that is slower is cut (close code 4429) and can resume."},
    {"stream.message-max", CONFIG_SIZE, AT(stream_message_max), "256KiB", 1024, 16 * MIB, .code = "RES_BODY_TOO_LARGE",
     .doc = "The longest message a client may send on a stream (close code 4413)."},
    {"stream.fragments-max", CONFIG_INT, AT(stream_fragments_max), "1024", 1, 65536, .code = "RES_BODY_TOO_LARGE",
     .doc = "The most frames that such a message may come in (close code 4413)."},
    {"stream.compress", CONFIG_BOOL, AT(stream_compress), "true",
     .doc = "Whether clients that offer permessage-deflate are sent compressed messages of 512 bytes and more: some 10 "
            "microseconds each, once for all followers, which is less than sending them plain from about 20 on."},
    {"stream.per-worker", CONFIG_INT, AT(stream_per_worker), "20000", 1, 1000000, .code = "SYS_OVERLOADED",
     .doc = "Streams open at a worker."},
    {"stream.per-tenant", CONFIG_INT, AT(stream_per_tenant), "16000", 1, 1000000, .code = "RATE_LIMIT_EXCEEDED",
     .doc = "Of these, streams of one tenant."},
    {"stream.per-caller", CONFIG_INT, AT(stream_per_caller), "12000", 1, 1000000, .code = "RATE_LIMIT_EXCEEDED",
     .doc = "Of these, streams of one key, user or agent."},

    {"log.level", CONFIG_CHOICE, AT(log_level), "info", .choices = level_words,
     .doc = "The least grave lines that are written."},
    {"log.format", CONFIG_CHOICE, AT(log_format), "logfmt", .choices = format_words,
     .doc = "How a line is written."},
    {"log.requests", CONFIG_BOOL, AT(log_requests), "true",
     .doc = "Write one line for each request that was answered."},
    {0},
};
// clang-format on

int settings_read(struct settings *s, const char *command, const char *summary, const struct config_row *own,
                  void *into, int argc, char **argv)
{
    *s = (struct settings){0};
    config_init(&s->config, command, summary, stderr);
    if (own != NULL)
        config_table(&s->config, own, into);
    if (own == NULL)
        config_table(&s->config, settings_rows, s);
    else
        config_table_of_others(
            &s->config, settings_rows, s,
            "It takes the options of `slipway serve` as well, so that it finds the same data: --data, "
            "--redis, --keyring and the others that `slipway serve --help` explains.");
    int status = config_parse(&s->config, argc, argv);
    if (status != CONFIG_READ)
        return status;
    config_warn_environment(&s->config);
    const char *fault = s->public_url[0] == '\0' ? NULL : issuer_fault(str_z(s->public_url));
    return fault == NULL ? status : config_usage(&s->config, "public-url: %s", fault);
}

bool settings_keyring_path(const struct settings *s, char out[PATH_MAX])
{
    bool given = s->keyring_file[0] != '\0';
    return snprintf(out, PATH_MAX, "%s%s", given ? s->keyring_file : s->data, given ? "" : "/keyring") < PATH_MAX;
}

bool settings_open_keyring(struct settings *s, bool create)
{
    char error[256] = "the path of the keyring is too long", path[PATH_MAX];
    if (create && mkdir(s->data, 0700) != 0 && errno != EEXIST) {
        fprintf(stderr, "slipway: %s: %m\n", s->data);
        return false;
    }
    s->keyring = settings_keyring_path(s, path) ? keyring_open(path, create, error) : NULL;
    if (s->keyring == NULL)
        fprintf(stderr, "slipway: %s\n", error);
    return s->keyring != NULL;
}

void settings_fini(struct settings *s)
{
    keyring_free(s->keyring);
    forwarded_fini(&s->forwarded);
    config_fini(&s->config);
}
