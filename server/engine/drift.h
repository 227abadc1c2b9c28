/* What differs between what a target should have and what an agent found there. Pure.
 *
 *   facts   what is known to be deployed (key_target_facts): {release: RELEASE, sticker, ...}
 *   found   outputs of a read-sticker task: {sticker|null, current: name|null, components: [{name, digest}]}
 *
 * | kind            | component           | when                                                              |
 * | --------------- | ------------------- | ----------------------------------------------------------------- |
 * | missing         | its name            | a component of the release is not there                           |
 * | unexpected      | its name            | a component is there that the release does not have               |
 * | digest_mismatch | its name            | it is there with another digest                                   |
 * | sticker_missing | null                | there is no version.json                                          |
 * | config_mismatch | null                | version.json or the link `current` says something else            | */
#ifndef SERVER_ENGINE_DRIFT_H
#define SERVER_ENGINE_DRIFT_H

#include "lib/json.h"

/* Writes the array of {actual, component, expected, kind}, and answers how many there are: 0, no drift. */
size_t drift_differences(struct json_out *o, const struct json *facts, const struct json *found);
/* {components: [{digest, name}], releaseId, releaseName} of a RELEASE. */
void drift_expected(struct json_out *o, const struct json *release);
/* {components: [{digest, name}], current, releaseId}: the last as the sticker says. */
void drift_actual(struct json_out *o, const struct json *found);

#endif
