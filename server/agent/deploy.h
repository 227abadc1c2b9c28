/* The tasks of a deployment, as an agent carries them out on its host (task types of spec §4.4, capability `host`):
 * their payloads and outputs. A member with a `?` may be missing; one that nobody names here is an error of nobody and
 * not looked at.
 *
 *   RELEASE  {id, name, createdAt, components: [{componentId, name, role, tag, semver?, digest, versionId, artifactUrl}]}
 *            artifactUrl: absolute (http, https; guarded by the agent's outbound.allow), or a path that begins with `/`:
 *            fetched from the agent's own server with its own token. digest: "sha256:<64 hex digits>" of the artifact.
 *            name and components[].name become names of folders: letters, digits and `._+-`, not beginning with a dot.
 *   HOOK     [argv…]; HOOKS {preDeploy?: HOOK, postDeploy?: HOOK, timeoutSeconds = 300}
 *
 * deploy, rollback  {root, keep = 3, release: RELEASE | null, environment: {id, name}, deployment: {id, startedAt},
 *                    target: {id, name}, variables: {name: text}, hooks: HOOKS, graceSeconds = 30}
 *   -> {releaseId | null, digests: [], previous: name | null, sticker: {…} | null, contentHash | null, unpacked: bool}
 *   Downloads what <root>/releases/<name> lacks, unpacks it as a whole, runs preDeploy (in the new release's folder),
 *   switches <root>/current, writes the sticker <root>/version.json, runs postDeploy (in <root>/current), and removes
 *   the oldest releases until `keep` beside the current one are left. `rollback` is the same towards another release;
 *   with release null it takes `current` and the sticker away, runs the hooks in <root>, and leaves those out that are
 *   the release's own (a relative path with a slash). `unpacked` is false when the folder was there already.
 *   Hooks get the agent's clean environment, the variables whose names can be those of variables, the task's
 *   credentials, and SLIPWAY_RELEASE, SLIPWAY_ENVIRONMENT, SLIPWAY_TARGET (names) and SLIPWAY_ROOT; each is the leader
 *   of a process group of its own, what is left of it gets TERM when the hook has ended. A hook that fails, and a cancel
 *   or time-out behind the switch, switch back and restore the old sticker.
 *
 *   Cut anywhere, by kill -9 or power, `current` names a complete release, the old or the new one. What is under way is
 *   in <root>/.slipway-switch.json, so that the next task on the folder knows the release that was last good: it
 *   goes back to that one when its own hook fails, and reports it as `previous`.
 *
 * health-check  {type: http | tcp | command | none, host = "127.0.0.1", port, path = "/", url?, command?: [argv…],
 *                expectStatus?, expectBody?, timeoutSeconds = 30, retries = 3, intervalSeconds = 10, root?}
 *   -> {healthy, latencyMs, samples: [{at, ok, latencyMs, message}]}, also when it fails as `unhealthy`
 *   One sample, and after each that is bad up to `retries` more. http: good is expectStatus, or any status from 200 to
 *   399, and a body that holds expectBody. tcp: a connection. command: exit status 0, run in <root>/current when there is
 *   a root. timeoutSeconds is of one sample. Whom a check asks is not guarded: it is there to look at this host.
 *
 * write-sticker  {root, sticker: {…}}  -> {contentHash, sticker}
 * read-sticker   {root}                -> {sticker | null, contentHash?, current: name | null, components: [{name, digest}]}
 *   components: what is really in the folder of `current`: those of its manifest whose folder is there, and with digest
 *   null folders that the manifest does not know. Nothing is made or changed; a root that is not there reads as empty.
 *
 * An artifact of the agent's own server is asked for again for 30 s while that is away or not ready: no attempt is lost
 * when it restarts. What others serve is asked for once an attempt.
 *
 * errorTypes beside those of protocol.h, and whether another attempt may help:
 *   invalid_payload no, digest_mismatch no, download_failed by the answer (network, 5xx, 408, 425, 429 and 401: yes),
 *   download_refused no (the outbound guard), artifact_too_large no, unpack_failed no, hook_failed yes,
 *   target_busy yes (another task works in the folder), target_unusable yes (the folder cannot be used), unhealthy no
 *
 * deploy.json, in the agent's data folder (0600, written at the agent's start), tells a task's process what it needs to
 * fetch: {url, ca, outboundAllow: [CIDR…], artifactMax, unpackMax}; the token is read from identity.json when it is used. */
#ifndef SERVER_AGENT_DEPLOY_H
#define SERVER_AGENT_DEPLOY_H

#include "server/agent/protocol.h"

#define DEPLOY_CAPABILITY "host"
#define DEPLOY_SETTINGS   "deploy.json"

#endif
