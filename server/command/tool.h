/* For commands that do one thing with the data: opens the store (a running server's, yours by --redis, or the embedded
 * Redis of a data folder whose server is not running), runs an action, and closes everything again. */
#ifndef SERVER_COMMAND_TOOL_H
#define SERVER_COMMAND_TOOL_H

#include "lib/arena.h"
#include "lib/op.h"
#include "server/code.h"

struct audit_entry;
struct loop;
struct settings;
struct store;

struct tool {
    const struct settings *settings;
    struct store *store;
    struct loop *loop;
    struct arena arena;
    struct ops ops;
};

/* The actions of a command: its first argument. Finds and runs one, or explains. */
struct tool_action {
    const char *name;
    int (*run)(void *call);
    int arguments; /* with the action's own name */
};
struct config;
int tool_choose(const struct config *config, const char *command, const struct tool_action *actions, void *call);

/* Runs action(tool, arg) once the store is ready; it must lead to tool_end, at once or later. Answers the status given
 * there, or 1 after a message when the store cannot be had. */
int tool_run(const struct settings *s, const char *command, void (*action)(struct tool *t, void *arg), void *arg);
void tool_end(struct tool *t, int status);
/* An entry in the audit trail of the installation's first tenant, by `actor` ("slipway key"). lib/op.h's contract. */
enum code tool_audit(struct tool *t, const char *actor, const struct audit_entry *entry,
                     void (*then)(void *arg, enum code c), void *arg);

#endif
