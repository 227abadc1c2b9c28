#include "server/command/remote.h"

#include "lib/crypto.h"
#include "lib/loop.h"
#include "lib/signal.h"
#include "proto/client.h"
#include "server/command/login_file.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct call {
    struct buf *out;
    char *why;
    int status;
};

static bool read_file(const char *file, char out[REMOTE_BEARER], size_t n)
{
    FILE *in = fopen(file, "re");
    if (in == NULL)
        return false;
    n += fread(out + n, 1, REMOTE_BEARER - n - 1, in);
    fclose(in);
    out[n] = '\0';
    out[strcspn(out, "\r\n")] = '\0';
    return true;
}

static bool ask_login(const struct remote *to, char out[REMOTE_BEARER], char why[REMOTE_WHY])
{
    struct arena a;
    arena_init(&a, 0);
    struct str token = login_token(&a, to, why);
    bool there = token.n > 0 && snprintf(out, REMOTE_BEARER, "Bearer " STR_FMT, STR_ARG(token)) < REMOTE_BEARER;
    arena_fini(&a);
    return there;
}

bool remote_bearer(const struct remote *to, char out[REMOTE_BEARER], char why[REMOTE_WHY])
{
    size_t n = (size_t)snprintf(out, REMOTE_BEARER, "Bearer ");
    if (to->bearer != NULL)
        return snprintf(out, REMOTE_BEARER, "%s%s", to->bearer[0] == '\0' ? "" : "Bearer ", to->bearer) < REMOTE_BEARER;
    if (!read_file(to->key_file, out, n)) {
        int error = errno;
        bool signed_in = ask_login(to, out, why);
        if (!signed_in && to->key_file[0] != '\0' && strncmp(why, "there is no key", 15) == 0)
            snprintf(why, REMOTE_WHY, "%s: %s, and nobody is signed in at %s", to->key_file, strerror(error), to->url);
        return signed_in;
    }
    if (out[n] == '\0')
        snprintf(why, REMOTE_WHY, "no key in %s", to->key_file);
    return out[n] != '\0';
}

static void answered(void *arg, const struct client_answer *answer)
{
    struct call *call = arg;
    call->status = answer->status;
    if (answer->status == 0)
        snprintf(call->why, REMOTE_WHY, "%s", answer->error);
    else
        buf_str(call->out, answer->body);
}

static void ask(struct call *call, const struct client_request *request)
{
    struct loop loop;
    struct ops ops;
    snprintf(call->why, REMOTE_WHY, "out of memory");
    if (loop_init(&loop) != 0)
        return;
    ops_init(&ops);
    signal_ignore_pipe();
    if (client_call(&loop, request, &ops, answered, call))
        loop_run(&loop); /* runs dry behind the answer */
    loop_fini(&loop);
}

int remote_call(const struct remote *to, const char *method, struct str path, struct str body, struct buf *out,
                char why[REMOTE_WHY])
{
    char bearer[REMOTE_BEARER], reason[CLIENT_REASON];
    struct client_url url;
    struct call call = {.out = out, .why = why};
    const char *wrong = client_url_parse(str_z(to->url), &url);
    if (wrong != NULL) {
        snprintf(why, REMOTE_WHY, "--url %s: %s", to->url, wrong);
        return 0;
    }
    if (!client_trust(&url, to->ca, reason)) {
        snprintf(why, REMOTE_WHY, "--ca %s", reason);
        return 0;
    }
    if (remote_bearer(to, bearer, why)) {
        const struct client_header with[] = {{"Accept", S("application/json")}, {"Authorization", str_z(bearer)}, {0}};
        const struct client_header without[] = {{"Accept", S("application/json")}, {0}};
        const struct client_header *headers = bearer[0] == '\0' ? without : with;
        const struct client_request request = {
            .url = &url, .method = method, .path = path, .headers = headers, .body = body, .type = to->type};
        ask(&call, &request);
    }
    crypto_wipe(bearer, sizeof bearer);
    client_distrust(&url);
    return call.status;
}
