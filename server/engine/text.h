/* Texts that hold expressions: "deploy ${{ inputs.version }} to ${{ context.environment.name }}".
 *
 * A string that is wholly one expression keeps its type; otherwise each result becomes text (strings as they are, null
 * as nothing, everything else as JSON). `$${{` stands for a literal `${{`. */
#ifndef SERVER_ENGINE_TEXT_H
#define SERVER_ENGINE_TEXT_H

#include "server/engine/expression.h"

enum { TEXT_RENDERED_MAX = 256 * 1024 }; /* bytes of one rendered configuration; more is a fault */

bool text_has_expression(struct str text);
/* Wholly one expression: its result may be of any type. */
bool text_is_expression(struct str text);
/* Parses every expression in `text` and visits their paths. False and a fault (offset in `text`) on the first bad one.
 */
bool text_check(struct arena *a, struct str text, void (*visit)(void *arg, const struct expression_path *path),
                void *arg, struct expression_fault *fault);
bool text_render(struct arena *a, struct str text, const struct scope *scope, struct value *out,
                 struct expression_fault *fault);
/* Writes `j` with all its strings rendered (member names stay). Under scope->redact values with secret names are
 * masked. */
bool text_render_tree(struct arena *a, struct json_out *o, const struct json *j, const struct scope *scope,
                      struct expression_fault *fault);

#endif
