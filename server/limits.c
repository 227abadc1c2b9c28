#include "server/limits.h"

#include "lib/field.h"
#include "lib/str.h"
#include "proto/form.h"
#include "proto/http.h"
#include "proto/jws.h"
#include "proto/jwt.h"
#include "proto/query.h"
#include "server/agent/mask.h"
#include "server/agent/protocol.h"
#include "server/agent/upload.h"
#include "server/api/orchestrator/release_resolve.h"
#include "server/api/orchestrator/workflow_run.h"
#include "server/audit.h"
#include "server/audit_tail.h"
#include "server/audit_verify.h"
#include "server/caller.h"
#include "server/conn_private.h"
#include "server/dialect.h"
#include "server/engine/drain.h"
#include "server/engine/expression.h"
#include "server/engine/job_start.h"
#include "server/engine/template.h"
#include "server/engine/text.h"
#include "server/event.h"
#include "server/forwarded.h"
#include "server/idempotency.h"
#include "server/identity/key.h"
#include "server/identity/guesses.h"
#include "server/identity/password.h"
#include "server/identity/second_factor.h"
#include "server/identity/user_rights.h"
#include "server/list.h"
#include "server/oauth/assertion.h"
#include "server/oauth/authorize.h"
#include "server/oauth/client.h"
#include "server/oauth/device.h"
#include "server/oauth/grant.h"
#include "server/oauth/provider.h"
#include "server/oauth/redirect.h"
#include "server/oauth/scopes.h"
#include "server/router.h"
#include "server/scope.h"
#include "server/settings.h"
#include "server/store/append.h"

#include <string.h>

enum unit { COUNT, BYTES, MS };

// clang-format off
static const struct {
    const char *name;
    int64_t value;
    enum unit unit;
    const char *code;
    const char *doc;
} constants[] = {
    {"oauth.state", AUTHORIZE_STATE_MAX, BYTES, "OAUTH_INVALID_REQUEST", "Bytes of `state` in an authorization request."},
    {"oauth.device-life", DEVICE_LIFE_S * INT64_C(1000), MS, "OAUTH_EXPIRED_TOKEN", "How long a person may take to enter the code that a device shows."},
    {"oauth.code-life", GRANT_CODE_MS, MS, "OAUTH_INVALID_GRANT", "How long an authorization code may be exchanged."},
    {"oauth.redirect-uris", REDIRECTS_MAX, COUNT, "VAL_FAILED", "Redirect URIs of a client."},
    {"oauth.redirect-uri", REDIRECT_LENGTH_MAX, BYTES, "VAL_FAILED", "Bytes of a redirect URI."},
    {"login.guesses-browser", GUESSES_BROWSER_MAX, COUNT, "RATE_LOGIN_GUESSES",
     "Wrong passwords, or codes, in a quarter of an hour in a browser in which the person signed in before."},
    {"login.guesses-network", GUESSES_NETWORK_MAX, COUNT, "RATE_LOGIN_GUESSES",
     "Wrong passwords, or codes, of one person in a quarter of an hour from one network, in other browsers."},
    {"login.guesses-anywhere", GUESSES_ANYWHERE_MAX, COUNT, "RATE_LOGIN_GUESSES",
     "Wrong passwords, or codes, of one person in an hour from everywhere, in other browsers."},
    {"login.codes", SECOND_FACTOR_TRIES_MAX, COUNT, "AUTH_LOGIN_FAILED", "Wrong codes of a second factor after one password."},
    {"password.length-min", PASSWORD_LENGTH_MIN, COUNT, "VAL_FAILED", "Characters of a new password, at least."},
    {"password.length-max", PASSWORD_LENGTH_MAX, BYTES, "VAL_FAILED", "Bytes of a password."},
    {"password.under-way", PASSWORDS_MAX, COUNT, "SYS_OVERLOADED", "Passwords that a worker hashes or checks at the same time."},
    {"user.groups", USER_GROUPS_MAX, COUNT, "VAL_OUT_OF_RANGE", "Groups of a user."},
    {"key.days", KEY_DAYS_MAX, COUNT, "VAL_FAILED", "Days of a key's time, where it has one."},
    {"key.overlap", KEY_OVERLAP_MAX * INT64_C(1000), MS, "VAL_FAILED", "How long a rotated key's old text is good, at most."},
    {"credential.networks", NETWORKS_MAX, COUNT, "VAL_FAILED", "Networks of an allow-list."},
    {"http.header-lines", HTTP_FIELDS_MAX, COUNT, "RES_HEADERS_TOO_LARGE",
     "Header lines of a request, whatever head-fields-max says."},
    {"http.chunk-line", HTTP_CHUNK_LINE_MAX, BYTES, "VAL_MALFORMED_HTTP",
     "The line that begins a chunk, extensions included."},
    {"http.forwarded-hops", FORWARDED_HOPS_MAX, COUNT, LIMIT_CUTS,
     "Hops in X-Forwarded-For or Forwarded, from the right; further ones are not looked at."},
    {"http.path-segments", ROUTER_SEGMENTS, COUNT, "RES_ROUTE_NOT_FOUND",
     "Segments of a path; no operation has more."},
    {"http.unread-body", CONN_UNREAD_MAX, BYTES, CONFIG_ENDS,
     "Bytes of a body that are read and dropped after an early answer, so that the connection can go on."},
    {"request.id", REQUEST_ID_MAX, BYTES, LIMIT_CUTS,
     "X-Request-ID; one that is longer or not printable is replaced by a fresh one."},
    {"query.pairs", QUERY_PARAMS_MAX, COUNT, "VAL_FAILED",
     "Parameters in a query string."},
    {"form.parameters", FORM_PARAMS_MAX, COUNT, "OAUTH_INVALID_REQUEST",
     "Parameters of a form, as the OAuth endpoints take it."},
    {"form.name", FORM_NAME_MAX, BYTES, "OAUTH_INVALID_REQUEST",
     "The name of one."},
    {"form.value", FORM_VALUE_MAX, BYTES, "OAUTH_INVALID_REQUEST",
     "Its value."},
    {"form.length", FORM_LENGTH_MAX, BYTES, "OAUTH_INVALID_REQUEST",
     "A form as it comes; body-max holds as well."},
    {"token.foreign", JWS_MAX, BYTES, "OAUTH_INVALID_CLIENT",
     "A token that somebody else signed: an assertion of a client."},
    {"token.foreign-keys", JWS_KEYS_MAX, COUNT, LIMIT_CUTS,
     "Keys of a set that such tokens are checked with; no key of a larger set is taken."},
    {"token.issuer-answer", PROVIDER_BYTES_MAX, BYTES, "SYS_TIMEOUT",
     "What a provider of token-issuers answers about itself, and its keys."},
    {"client.keys", CLIENT_KEYS_MAX, COUNT, "VAL_INVALID_FORMAT",
     "Public keys of a client."},
    {"client.scopes", SCOPES_MAX, COUNT, "VAL_OUT_OF_RANGE",
     "Scopes of a client; in a request for a token OAUTH_INVALID_SCOPE."},
    {"client.scope", SCOPES_NAME_MAX, BYTES, "VAL_TOO_LONG",
     "One scope."},
    {"client.assertion-life", ASSERTION_LIFE_MAX_S * INT64_C(1000), MS, "OAUTH_INVALID_CLIENT",
     "From now to the end of an assertion by which a client authenticates."},
    {"client.assertion-id", ASSERTION_ID_MAX, BYTES, "OAUTH_INVALID_CLIENT",
     "The `jti` of one."},
    {"idempotency.key", IDEMPOTENCY_KEY_MAX, BYTES, "VAL_INVALID_FORMAT",
     "Idempotency-Key, in printable ASCII."},
    {"token.jwt", JWT_MAX, BYTES, "AUTH_TOKEN_INVALID",
     "An access token."},
    {"token.roles", JWT_ROLES, COUNT, "AUTH_TOKEN_INVALID",
     "Roles in an access token."},
    {"token.permissions", JWT_PERMISSIONS, COUNT, "AUTH_TOKEN_INVALID",
     "Permissions in an access token."},
    {"token.claim", JWT_CLAIM_MAX, BYTES, "AUTH_TOKEN_INVALID",
     "One claim of an access token; `scope` alone may be longer."},
    {"permission.environments", SCOPE_MOST, COUNT, LIMIT_CUTS,
     "Environments that one permission of a caller can be narrowed to; further ones grant nothing."},

    {"body.text", FIELD_TEXT_MAX, COUNT, "VAL_TOO_LONG",
     "Characters of a text member without a limit of its own."},
    {"body.items", FIELD_ITEMS_MAX, COUNT, "VAL_OUT_OF_RANGE",
     "Elements of a list, or members of a map, without a limit of their own."},
    {"body.item", FIELD_ITEM_MAX, COUNT, "VAL_TOO_LONG",
     "Characters of a text in a list or map without a limit of its own."},
    {"body.name", FIELD_NAME_MAX, COUNT, "VAL_OUT_OF_RANGE",
     "Characters of a name in a map."},
    {"body.faults", FIELD_FAULTS_MAX, COUNT, LIMIT_CUTS,
     "Faults that one answer lists."},

    {"list.page", LIST_PAGE_MAX, COUNT, "VAL_OUT_OF_RANGE",
     "The number of a page."},
    {"list.page-size", DIALECT_PAGE_SIZE_MAX, COUNT, "VAL_OUT_OF_RANGE",
     "Elements of a page."},
    {"list.sort-fields", SORT_FIELDS, COUNT, "VAL_INVALID_SORT",
     "Fields that a list is sorted by."},
    {"list.slice", LIST_SLICE, COUNT, LIMIT_CUTS,
     "Documents that a list looks at in one trip to the store; others get their turn between two slices."},
    {"list.slice-bytes", LIST_SLICE_BYTES, BYTES, LIMIT_CUTS,
     "What a slice aims at in all."},
    {"filter.length", FILTER_BYTES, BYTES, "VAL_INVALID_FILTER",
     "A filter expression."},
    {"filter.depth", FILTER_DEPTH, COUNT, "VAL_INVALID_FILTER",
     "How deep a filter expression may be nested."},
    {"filter.leaves", FILTER_LEAVES, COUNT, "VAL_INVALID_FILTER",
     "Conditions of a filter expression."},
    {"filter.values", FILTER_VALUES, COUNT, "VAL_INVALID_FILTER",
     "Values of one $in or $nin, or of one parameter."},

    {"template.nodes", TEMPLATE_NODES, COUNT, "VAL_OUT_OF_RANGE",
     "Nodes of a workflow template."},
    {"template.edges", TEMPLATE_EDGES, COUNT, "VAL_OUT_OF_RANGE",
     "Edges of a workflow template."},
    {"template.timeout", TEMPLATE_TIMEOUT_MAX_S * INT64_C(1000), MS, "VAL_OUT_OF_RANGE",
     "Time-out of a workflow or of one of its nodes."},
    {"template.versions", TEMPLATE_VERSIONS_KEPT, COUNT, LIMIT_CUTS,
     "Earlier definitions of a template that are kept; runs keep their own."},
    {"template.faults", TEMPLATE_FAULTS, COUNT, LIMIT_CUTS,
     "Faults of a template that one answer lists."},
    {"expression.length", EXPRESSION_MAX, BYTES, "WF_TEMPLATE_INVALID",
     "An expression, ${{ … }} included."},
    {"expression.depth", EXPRESSION_DEPTH, COUNT, "WF_TEMPLATE_INVALID",
     "Nested parentheses, calls and negations of an expression."},
    {"expression.path", EXPRESSION_PARTS, COUNT, "WF_TEMPLATE_INVALID",
     "Parts of a path in an expression."},
    {"step.config", TEXT_RENDERED_MAX, BYTES, LIMIT_CUTS,
     "A node's configuration once its expressions are replaced; the step fails with more."},
    {"step.outputs", RUN_OUTPUTS_MAX, BYTES, LIMIT_CUTS,
     "Outputs of a step, or of a run; with more the step fails with outputs_too_large."},
    {"step.message", RUN_TEXT_MAX, BYTES, LIMIT_CUTS,
     "A message or reason kept with a step or run; longer ones are cut."},
    {"step.attempts-kept", RUN_ATTEMPTS_KEPT, COUNT, LIMIT_CUTS,
     "Attempts in the history of a step."},
    {"step.answer", WORK_ANSWER_MAX, BYTES, LIMIT_CUTS,
     "The answer to an http-request or notify step; with more the step fails."},
    {"step.answer-kept", WORK_BODY_KEPT, BYTES, LIMIT_CUTS,
     "The part of that answer's body that is among the outputs; more of a JSON body makes it a text that is cut."},
    {"log.step", APPEND_LOG_MAX, BYTES, LIMIT_CUTS,
     "The log of one attempt of a step; then a line says that it was cut, and the rest is dropped."},
    {"log.answer-lines", WORKFLOW_LOG_LINES_MAX, COUNT, "VAL_OUT_OF_RANGE",
     "Lines that one answer of a log can be asked for; 500 where nothing is said."},
    {"stream.filter", EVENT_FILTER_MAX, BYTES, "VAL_INVALID_FORMAT",
     "Names in the filter of a stream, all together; in a subscribe message close code 4400."},

    {"release.components", RELEASE_COMPONENTS, COUNT, "VAL_OUT_OF_RANGE",
     "Components of a release."},
    {"job.targets", JOB_TARGETS_MAX, COUNT, "DEPLOY_TOO_MANY_TARGETS",
     "Targets of one deployment job."},

    {"agent.message", PROTOCOL_MESSAGE, BYTES, LIMIT_CUTS,
     "A message as our agent makes it; the server takes stream.message-max."},
    {"agent.task", PROTOCOL_TASK_MAX, BYTES, LIMIT_CUTS,
     "The envelope of a task; the step fails with more."},
    {"agent.lines", APPEND_LINES, COUNT, CONFIG_ENDS,
     "Lines in one task_log message (close code 4400)."},
    {"agent.line", PROTOCOL_LINE, BYTES, CONFIG_ENDS,
     "One line of a log: longer ones are split by the agent; the server closes with 4400."},
    {"agent.window", PROTOCOL_WINDOW, COUNT, LIMIT_CUTS,
     "Lines of a task under way without an acknowledgement; the agent waits."},
    {"agent.accept", PROTOCOL_ACCEPT_S * 1000, MS, LIMIT_CUTS,
     "A task that no agent has accepted by then is assigned again."},
    {"agent.grace", PROTOCOL_GRACE_S * 1000, MS, LIMIT_CUTS,
     "From the first signal to a cancelled task to its end by force."},
    {"agent.files", UPLOAD_MOST, COUNT, LIMIT_CUTS,
     "Files that one task may leave as artifacts; further ones are left out, and a line of the log says so."},
    {"agent.secrets", MASK_SECRETS, COUNT, LIMIT_CUTS,
     "Secrets that are masked in the output of one task; the task fails with more."},

    {"engine.changes", DRAIN_MOST, COUNT, "SYS_OVERLOADED",
     "Changes of runs and jobs under way at a worker."},
    {"audit.text", AUDIT_TEXT_MAX, BYTES, LIMIT_CUTS,
     "What an entry shows of `before` or `after`; a longer one is replaced by its hash."},
    {"audit.verify", AUDIT_VERIFY_MAX, COUNT, LIMIT_CUTS,
     "Entries that one call verifies; the answer says where to go on."},
    {"audit.tails", AUDIT_TAILS_MAX, COUNT, "SYS_OVERLOADED",
     "Tails of audit trails that are open at a worker at once."},
};
// clang-format on

static void write_value(char out[32], int64_t value, enum unit unit)
{
    long long v = value;
    if (unit == BYTES && v >= 1 << 20 && v % (1 << 20) == 0)
        snprintf(out, 32, "%lldMiB", v >> 20);
    else if (unit == BYTES && v >= 1 << 10 && v % (1 << 10) == 0)
        snprintf(out, 32, "%lldKiB", v >> 10);
    else if (unit == MS)
        snprintf(out, 32, "%llds", v / 1000);
    else
        snprintf(out, 32, "%lld", v);
}

static int status_of(const char *code)
{
    enum code c = code_find(code, strlen(code));
    if (c != CODES)
        return code_status(c);
    for (const struct fault_code *f = fault_codes; f->code != NULL; f++)
        if (strcmp(f->code, code) == 0)
            return code_status(VAL_FAILED);
    return 0;
}

static const struct config_row *setting(size_t i, size_t *count)
{
    *count = 0;
    for (const struct config_row *row = settings_rows; row->name != NULL; row++)
        if (row->code != NULL && (*count)++ == i)
            return row;
    return NULL;
}

bool limits_row(size_t i, struct limit_row *out)
{
    size_t settings;
    const struct config_row *row = setting(i, &settings);
    *out = (struct limit_row){.configurable = row != NULL};
    if (row != NULL) {
        out->name = row->name;
        snprintf(out->value, sizeof out->value, "%s", row->preset);
        out->code = row->code;
        out->doc = row->doc;
    } else if (i - settings < ARRAY_LEN(constants)) {
        out->name = constants[i - settings].name;
        write_value(out->value, constants[i - settings].value, constants[i - settings].unit);
        out->code = constants[i - settings].code;
        out->doc = constants[i - settings].doc;
    } else {
        return false;
    }
    out->status = status_of(out->code);
    return true;
}

static void put(struct json_out *o, struct str name, const char *value)
{
    json_key(o, name);
    json_put_z(o, value);
}

static void put_row(struct json_out *o, const struct limit_row *row)
{
    json_open(o, '{');
    put(o, S("code"), row->code);
    json_key(o, S("configurable"));
    json_put_bool(o, row->configurable);
    put(o, S("default"), row->value);
    put(o, S("doc"), row->doc);
    put(o, S("name"), row->name);
    if (row->status != 0) {
        json_key(o, S("status"));
        json_put_int(o, row->status);
    }
    json_close(o, '}');
}

void limits_print(FILE *out, bool json)
{
    struct buf b = {0};
    struct json_out o;
    struct limit_row row;
    json_out_init(&o, &b);
    json_open(&o, '[');
    for (size_t i = 0; limits_row(i, &row); i++) {
        if (json)
            put_row(&o, &row);
        else
            fprintf(out, "%-28s %-12s %-8s %s\n", row.name, row.value, row.configurable ? "setting" : "fixed",
                    row.code);
    }
    json_close(&o, ']');
    if (json)
        fprintf(out, STR_FMT "\n", STR_ARG(buf_view(&b)));
    buf_free(&b);
}
