/* Wrong passwords and codes, counted so that guessing stops and nobody is locked out by others.
 *
 * Each attempt is charged before it is looked at, and given back when it was right. Who comes from a browser in which this
 * person signed in before (a cookie that only the keyring can make) has a count of that browser's own. Everybody else
 * shares two: one for this person from this network (an IPv6 client is its /64), and one for this person from anywhere.
 * So strangers, however many, may use up what strangers have; the person goes on. Counts are kept under hashes of what was
 * typed: whether there is such a person plays no part. */
#ifndef SERVER_IDENTITY_GUESSES_H
#define SERVER_IDENTITY_GUESSES_H

#include "server/request.h"
#include "server/store/key.h"

enum {
    GUESSES_BROWSER_MAX = 10, /* in a quarter of an hour, for each of these */
    GUESSES_NETWORK_MAX = 10,
    GUESSES_ANYWHERE_MAX = 100 /* in an hour */
};

struct guess { /* lives in the request's arena until it is right or the request ends */
    struct request *request;
    struct space space;
    struct str who;  /* what is guessed at: "login:<email>", "code:<user id>" */
    struct str user; /* its id, for the browser's cookie; STR_NONE: there is no such person */
    /* private from here */
    struct str keys[2];
    size_t n;
    bool known;
    void (*then)(void *arg);
    void *arg;
};

/* Charges it: `then` runs once, later, when it may be looked at; else the page of RATE_LOGIN_GUESSES, or of another refusal,
 * is the answer. */
void guess_charge(struct guess *g, void (*then)(void *arg), void *arg);
/* It was right: gives back, and marks the browser as one of this person. */
void guess_right(struct guess *g);

#endif
