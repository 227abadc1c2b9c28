#include "server/oauth/remote.h"

#include "lib/crypto.h"
#include "lib/loop.h"
#include "lib/signal.h"
#include "proto/client.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { BEARER = 8192 };

struct call {
    struct buf *out;
    char *why;
    int status;
};

static bool read_bearer(const struct remote *to, char out[BEARER], char why[REMOTE_WHY])
{
    if (to->bearer != NULL)
        return snprintf(out, BEARER, "Bearer %s", to->bearer) < BEARER;
    const char *file = to->key_file;
    FILE *in = fopen(file, "re");
    size_t n = (size_t)snprintf(out, BEARER, "Bearer ");
    if (in != NULL) {
        n += fread(out + n, 1, BEARER - n - 1, in);
        fclose(in);
    }
    out[n] = '\0';
    out[strcspn(out, "\r\n")] = '\0';
    if (in == NULL)
        snprintf(why, REMOTE_WHY, "%s: %s", file, strerror(errno));
    else if (out[strlen("Bearer ")] == '\0')
        snprintf(why, REMOTE_WHY, "no key in %s", file);
    return in != NULL && out[strlen("Bearer ")] != '\0';
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
    char bearer[BEARER], reason[CLIENT_REASON];
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
    if (read_bearer(to, bearer, why)) {
        const struct client_header headers[] = {
            {"Authorization", str_z(bearer)}, {"Accept", S("application/json")}, {0}};
        const struct client_request request = {
            .url = &url, .method = method, .path = path, .headers = headers, .body = body};
        ask(&call, &request);
    }
    crypto_wipe(bearer, sizeof bearer);
    client_distrust(&url);
    return call.status;
}
