/* Version stickers (spec §11.4), and the tasks that write and read them alone. */
#ifndef SERVER_AGENT_STICKER_H
#define SERVER_AGENT_STICKER_H

#include "server/agent/release.h"
#include "server/agent/work.h"

/* The text of the sticker of payload's release, canonical; in the arena. STR_NONE: no memory. */
struct str sticker_text(struct arena *a, const struct json *payload, int64_t now_ms);
/* "sha256:<hex>" of the bytes; in the arena. */
struct str sticker_hash(struct arena *a, struct str text);

/* Opens the folder `root` of the payload, waiting for another task that works in it. */
bool sticker_place(struct work *w, const char **root, struct release_place *place);
bool sticker_root(struct work *w, const char **root); /* the path alone */

#endif
