/* Who an agent is: made once with a registration token, kept in DIR/identity.json (0600), renewed before it expires.
 *
 * Each renewal answers a new refresh token; the server goes on taking the old one until the new one was used, so an
 * agent that dies between the answer and the disk is not locked out. */
#ifndef SERVER_AGENT_IDENTITY_H
#define SERVER_AGENT_IDENTITY_H

#include "lib/json.h"
#include "proto/client.h"

enum { IDENTITY_TOKEN = 4096, IDENTITY_AGENT = 64 };

struct identity {
    char agent[IDENTITY_AGENT];
    char token[IDENTITY_TOKEN]; /* JWT for everything else */
    char refresh[IDENTITY_AGENT * 2];
    int64_t expires_ms; /* of the JWT, by our own wall clock */
};

/* ENOENT when there is none yet, EINVAL when the file is damaged. */
int identity_load(struct identity *id, int data);
int identity_save(const struct identity *id, int data);

enum identity_result {
    IDENTITY_OK,
    IDENTITY_LATER,  /* no answer, or one that asks to come again */
    IDENTITY_REFUSED /* the token is not good, and will not become so */
};

struct identity_call { /* one call at a time */
    struct identity *identity;
    void (*then)(void *arg, enum identity_result result, const char *why);
    void *arg;
};

struct identity_facts { /* what an agent says of itself */
    struct str name;
    const char *const *capabilities;
    size_t capability_count;
    const char *const *label_texts; /* "name=value" */
    size_t label_count;
    int64_t max_tasks;
};

/* Fills `identity` from the answer; the caller saves it. `then` runs once, later, unless `ops` was detached; false: no
 * memory. */
bool identity_register(struct identity_call *call, struct loop *loop, const struct client_url *url, struct str token,
                       const struct identity_facts *facts, struct ops *ops);
bool identity_renew(struct identity_call *call, struct loop *loop, const struct client_url *url, struct ops *ops);

#endif
