/* What releases answer beside their documents: where they are, how they differ, and one made of the newest versions. */
#ifndef SERVER_API_ORCHESTRATOR_RELEASE_H
#define SERVER_API_ORCHESTRATOR_RELEASE_H

#include "server/crud.h"

/* release_state.c */
extern const struct field release_state_fields[], release_list_query[];
enum flow release_state(struct request *r);
enum flow release_list(struct request *r);
/* Goes on with change_gathered; *out: a promotion of it was deployed once, or is under way. */
enum flow release_look_deployed(struct request *r, struct change *c, bool *out);

/* release_compare.c */
extern const struct field release_compare_fields[];
enum flow release_comparison(struct request *r);

/* release_latest.c */
extern const struct field release_latest_fields[];
enum flow release_from_latest(struct request *r);

#endif
