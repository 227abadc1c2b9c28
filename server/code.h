/* The one table of error codes. Each code has its own HTTP status; the prefix is only a family. A refusal is a code and
 * a sentence; everything published about codes (docs, OpenAPI, tests) is read from this table. */
#ifndef SERVER_CODE_H
#define SERVER_CODE_H

#include <stddef.h>

// clang-format off
#define CODE_MAP(X)                                                                                                        \
    X(OK, 200, "everything went well")                                                                                      \
    X(VAL_FAILED, 400, "the request has faults; validationErrors names each")                                               \
    X(VAL_MALFORMED_JSON, 400, "the body is not one well-formed JSON value")                                                \
    X(VAL_MALFORMED_HTTP, 400, "the request breaks HTTP/1.1 framing rules")                                                 \
    X(VAL_FILTER_TOO_BROAD, 422, "the filter would examine too many documents")                                             \
    X(AUTH_TOKEN_MISSING, 401, "no bearer token was sent")                                                                  \
    X(AUTH_TOKEN_INVALID, 401, "the token is not one of ours, or is damaged")                                               \
    X(AUTH_TOKEN_EXPIRED, 401, "the token's time is over")                                                                  \
    X(AUTH_TOKEN_REVOKED, 401, "the token was revoked")                                                                     \
    X(AUTH_API_KEY_INVALID, 401, "the API key is unknown or revoked")                                                       \
    X(OAUTH_INVALID_REQUEST, 400, "the parameters lack something, are malformed, or do not go together")                   \
    X(OAUTH_INVALID_CLIENT, 401, "the client is unknown, or did not authenticate as it was registered to")                 \
    X(OAUTH_INVALID_GRANT, 400, "the grant is invalid, over, revoked, or was issued to another client")                    \
    X(OAUTH_UNAUTHORIZED_CLIENT, 400, "the client may not use this grant")                                                 \
    X(OAUTH_UNSUPPORTED_GRANT_TYPE, 400, "the grant type is not one of those in the metadata")                             \
    X(OAUTH_INVALID_SCOPE, 400, "a scope is unknown, malformed, or more than the client may ask for")                      \
    X(OAUTH_AUTHORIZATION_PENDING, 400, "the person has not answered yet")                                                 \
    X(OAUTH_SLOW_DOWN, 400, "asked too often: wait five seconds longer between questions")                                  \
    X(OAUTH_ACCESS_DENIED, 400, "the person refused")                                                                       \
    X(OAUTH_EXPIRED_TOKEN, 400, "the device code's time is over: begin anew")                                               \
    X(OAUTH_INVALID_TARGET, 400, "the resource is not this service")                                                       \
    X(AUTH_LOGIN_FAILED, 401, "nobody here has this email and this password")                                            \
    X(RATE_LOGIN_GUESSES, 429, "too many wrong guesses; see Retry-After")                                                  \
    X(PERM_FORM, 403, "the form was not filled in on a page of this server, in this browser")                             \
    X(PERM_DENIED, 403, "the caller lacks the permission named in details.required")                                        \
    X(PERM_NETWORK, 403, "the credential or the tenant may not be used from this address")                                  \
    X(PERM_TENANT_SUSPENDED, 403, "the tenant is suspended")                                                                \
    X(PERM_ENVIRONMENT_SCOPE, 403, "the caller has the permission in other environments only")                              \
    X(RES_NOT_FOUND, 404, "no such resource for this tenant")                                                               \
    X(RES_ROUTE_NOT_FOUND, 404, "no such path")                                                                             \
    X(RES_METHOD_NOT_ALLOWED, 405, "the path does not know this method; see Allow")                                         \
    X(RES_NOT_ACCEPTABLE, 406, "none of the accepted media types can be produced")                                          \
    X(RES_REQUEST_TIMEOUT, 408, "the request did not arrive in time")                                                       \
    X(RES_ALREADY_EXISTS, 409, "a unique value is taken")                                                                   \
    X(RES_IN_USE, 409, "others refer to it; see details.usedBy")                                                            \
    X(RES_INVALID_STATE, 409, "its present state forbids this; see details.allowedActions")                                 \
    X(RES_VERSION_CONFLICT, 409, "If-Match names another revision than the present one")                                    \
    X(RES_IDEMPOTENCY_CONFLICT, 409, "the Idempotency-Key was used with another request")                                   \
    X(RES_IDEMPOTENCY_IN_PROGRESS, 409, "the first request with this Idempotency-Key is still running")                     \
    X(RES_BODY_TOO_LARGE, 413, "the body is larger than the limit")                                                         \
    X(RES_URI_TOO_LONG, 414, "the request target is longer than the limit")                                                 \
    X(RES_UNSUPPORTED_MEDIA_TYPE, 415, "the Content-Type is not one this operation takes")                                  \
    X(RES_EXPECTATION_FAILED, 417, "only Expect: 100-continue is understood")                                               \
    X(RES_REFERENCE_UNKNOWN, 422, "a referenced resource does not exist")                                                   \
    X(RES_UPGRADE_REQUIRED, 426, "the path speaks WebSocket version 13 only")                                               \
    X(RES_HEADERS_TOO_LARGE, 431, "the header block is larger than the limit")                                              \
    X(RATE_LIMIT_EXCEEDED, 429, "too many requests; see Retry-After")                                                       \
    X(RATE_BUILDS_EXCEEDED, 429, "the builds of this day are used up; see Retry-After")                                     \
    X(ENV_ORDER_VIOLATION, 422, "the environments' order would not hold")                                                   \
    X(REL_EMPTY, 422, "a release needs at least one component")                                                             \
    X(REL_TAG_UNRESOLVED, 422, "no version of the component has the tag or digest")                                         \
    X(REL_COMPONENT_UNKNOWN, 422, "a component of the release does not exist")                                              \
    X(REL_NOT_READY, 422, "the release is a draft")                                                                         \
    X(REL_DEPRECATED, 422, "the release is deprecated: it is not promoted any further")                                     \
    X(REL_ARTIFACT_UNREACHABLE, 422, "the artifact cannot be fetched from where it is said to be")                          \
    X(REL_DIGEST_MISMATCH, 422, "the bytes have another digest than the version; see details")                               \
    X(RES_QUOTA_EXCEEDED, 422, "the tenant keeps as much as it may")                                                  \
    X(ENV_NO_ELIGIBLE_AGENT, 422, "no online agent has the capability and labels")                                          \
    X(AGT_TOKEN_USED, 409, "the registration token was already used")                                                       \
    X(AGT_REVOKED, 403, "the agent was revoked")                                                                            \
    X(AGT_OFFLINE, 422, "the agent is offline")                                                                             \
    X(AGT_TASK_FAILED, 422, "an agent could not carry its task out")                                                        \
    X(WF_TEMPLATE_INVALID, 422, "the workflow template has faults; see details.errors")                                     \
    X(WF_TEMPLATE_INACTIVE, 422, "the workflow template is not active")                                                     \
    X(WF_INPUT_MISSING, 422, "the run lacks a required input")                                                              \
    X(WF_CANCELLED, 422, "the run was cancelled")                                                                           \
    X(PROMOTION_BLOCKED, 422, "a gate or a freeze blocks the promotion; see details.blockers")                              \
    X(PROM_SOURCE_NOT_DEPLOYED, 422, "the release is not deployed in the environment before")                               \
    X(PROM_ALREADY_DEPLOYED, 409, "the release is deployed there already; redeploy does it again")                          \
    X(PROM_CONFLICTING_ACTIVE, 409, "a promotion of the release into the environment is under way")                         \
    X(PROM_REQUIRED, 422, "a run with a deploy step needs an approved promotion")                                           \
    X(DEPLOY_NO_TARGET, 422, "there is no target to deploy to")                                                             \
    X(DEPLOY_TOO_MANY_TARGETS, 422, "a job cannot have that many targets")                                                  \
    X(DEPLOY_ARTIFACT_MISSING, 422, "a version has neither a URL nor an uploaded artifact")                                 \
    X(DEPLOY_ROLLBACK_NOT_POSSIBLE, 422, "this cannot be rolled back, or not in this way")                                   \
    X(ENV_FREEZE_ACTIVE, 422, "a freeze window of the environment blocks rollbacks, too")                                   \
    X(DEPLOY_NO_PREVIOUS_RELEASE, 422, "nothing was deployed there before")                                                 \
    X(SYS_INTERNAL, 500, "an unexpected fault; the request id finds it in the log")                                         \
    X(SYS_NOT_IMPLEMENTED, 501, "the transfer coding is not implemented")                                                   \
    X(SYS_STORAGE, 503, "the store cannot take the operation now; see Retry-After")                                         \
    X(SYS_OVERLOADED, 503, "the server is shedding load; see Retry-After")                                                  \
    X(SYS_DRAINING, 503, "this instance is going away; another one will answer")                                            \
    X(SYS_TIMEOUT, 503, "the operation did not end in time")                                                                \
    X(SYS_HTTP_VERSION, 505, "only HTTP/1.0 and HTTP/1.1 are spoken")
// clang-format on

enum code {
#define X(name, status, text) name,
    CODE_MAP(X)
#undef X
        CODES
};

const char *code_name(enum code c);
int code_status(enum code c);
const char *code_text(enum code c);
enum code code_find(const char *name, size_t n); /* CODES when it is none */

#endif
