/* Small files that are there whole or not at all, and the identity of processes. Errors are errno values; 0 is good. */
#ifndef SERVER_AGENT_FILE_H
#define SERVER_AGENT_FILE_H

#include "lib/str.h"

#include <sys/types.h>

enum { FILE_MAX = 1024 * 1024 };

/* Replaces `name` in the folder `dir` by rename; mode 0600. `sync`: survives a loss of power, too. */
int file_replace(int dir, const char *name, struct str content, bool sync);
/* Appends the content to `out`; ENOENT when there is none, EFBIG above FILE_MAX, ENOMEM. */
int file_read(int dir, const char *name, struct buf *out);
/* Opens a folder of mode 0700, making it when it is missing; -1 and errno. */
int file_folder(int dir, const char *name);
/* Removes a file or a whole tree, following no link; whatever cannot be removed stays. */
void file_remove(int dir, const char *name);

/* When the process began, in clock ticks since boot: with the pid, the name of a process that is never given twice.
 * False when there is none, or only its unreaped remains. */
bool process_start(int64_t pid, uint64_t *start);
/* Sends KILL to every process of the session but its leader, if that still lives. Looks at all processes. */
void process_kill_session(int64_t leader);
bool process_lives(int64_t pid, uint64_t start);

#endif
