#include "server/listen.h"

#include "lib/acceptor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

static bool complain(const char *what, const char *why)
{
    fprintf(stderr, "slipway: %s: %s\n", what, why);
    return false;
}

bool listen_init(struct listen *l, const char *text, uint16_t port)
{
    *l = (struct listen){.wanted = text[0] != '\0'};
    return !l->wanted || address_parse(str_z(text), port, &l->at) || complain(text, "not an address to listen on");
}

bool listen_bind(struct listen *l, const char *text, unsigned count)
{
    bool tcp = l->at.path[0] == '\0';
    if (!l->wanted)
        return true;
    l->fds = calloc(count, sizeof(*l->fds));
    if (l->fds == NULL)
        return complain(text, strerror(ENOMEM));
    for (; l->count < count; l->count++) {
        int fd = tcp || l->count == 0 ? acceptor_socket(&l->at, BACKLOG, true) : fcntl(l->fds[0], F_DUPFD_CLOEXEC, 0);
        if (fd < 0)
            return complain(text, strerror(-fd));
        l->fds[l->count] = fd;
        if (tcp && l->at.port == 0)
            l->at.port = acceptor_port(fd);
    }
    return true;
}

int listen_take(struct listen *l, unsigned i)
{
    int fd = l->wanted ? l->fds[i] : -1;
    if (l->wanted)
        l->fds[i] = -1;
    return fd;
}

void listen_fini(struct listen *l)
{
    for (unsigned i = 0; i < l->count; i++)
        if (l->fds[i] >= 0)
            close(l->fds[i]);
    if (l->at.path[0] != '\0' && l->count > 0)
        unlink(l->at.path);
    free(l->fds);
}
