/* The happy path of a fetch:
 *
 *   - fetch_start copies the request into an easy handle and puts it into the multi handle;
 *   - curl asks for sockets and a time-out by its two callbacks; uv_poll handles and one timer of ours serve them;
 *   - each event goes back by curl_multi_socket_action, after which the finished transfers are collected;
 *   - a finished transfer is taken off, freed, and its continuation called last.
 *
 * curl may call the socket and timer callbacks from inside any of its functions, so nothing here completes a transfer
 * but collect(), which runs from a fresh turn of the loop. */
#include "proto/fetch.h"

#include "lib/arena.h"
#include "lib/loop.h"
#include "lib/must.h"
#include "lib/timer.h"

#include <curl/curl.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct fetcher {
    struct loop *loop;
    CURLM *multi;
    struct cidr *allow;
    size_t allow_count;
    struct list running;
    struct timer timer;
    struct loop_task collecting;
    unsigned handles; /* open uv_poll handles */
    bool closing;
    void (*closed)(void *arg);
    void *closed_arg;
};

struct fetch {
    struct op op;
    struct list link;
    struct fetcher *fetcher;
    CURL *easy;
    struct curl_slist *fields;
    struct buf body, answer;
    size_t max_bytes;
    bool too_large, refused, given_up;
    const struct fetch_blocking *how; /* NULL: on a loop */
    uint64_t taken;
    char message[CURL_ERROR_SIZE];
    fetch_then *then;
    void *arg;
};

struct watch { /* one socket of curl's */
    uv_poll_t poll;
    struct fetcher *fetcher;
};

static const char *const fault_names[] = {"none",    "url",       "refused", "resolve", "connect", "tls",
                                          "timeout", "too_large", "broken",  "closed",  "memory"};

const char *fetch_fault_name(enum fetch_fault fault)
{
    return fault_names[fault];
}

static pthread_once_t init_once = PTHREAD_ONCE_INIT;

static void init_curl(void)
{
    must(curl_global_init(CURL_GLOBAL_DEFAULT) == 0);
}

/* ---- sockets and the timer ------------------------------------------------------------------------------------ */

static void collect(void *arg);

static void act(struct fetcher *f, curl_socket_t socket, int flags)
{
    int running;

    curl_multi_socket_action(f->multi, socket, flags, &running);
    loop_defer(f->loop, &f->collecting, collect, f);
}

static void on_timer(void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    uv_os_fd_t fd;

    if (uv_fileno((uv_handle_t *)poll, &fd) != 0)
        return;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    flags |= (events & UV_READABLE) ? CURL_CSELECT_IN : 0;
    flags |= (events & UV_WRITABLE) ? CURL_CSELECT_OUT : 0;
    act(w->fetcher, fd, flags);
}

static void finish_close(struct fetcher *f)
{
    void (*closed)(void *arg) = f->closed;
    void *arg = f->closed_arg;

    free(f->allow);
    free(f);
    closed(arg);
}

static void on_watch_closed(uv_handle_t *handle)
{
    struct watch *w = handle->data;
    struct fetcher *f = w->fetcher;

    free(w);
    if (--f->handles == 0 && f->closing)
        finish_close(f);
}

static struct watch *watch_new(struct fetcher *f, curl_socket_t socket)
{
    struct watch *w = calloc(1, sizeof(*w));

    if (w == NULL || uv_poll_init_socket(&f->loop->uv, &w->poll, socket) != 0) {
        free(w);
        return NULL;
    }
    w->poll.data = w;
    w->fetcher = f;
    f->handles++;
    return w;
}

static int on_socket(CURL *easy, curl_socket_t socket, int what, void *arg, void *socket_arg)
{
    struct fetcher *f = arg;
    struct watch *w = socket_arg;

    (void)easy;
    if (what == CURL_POLL_REMOVE) {
        if (w != NULL) {
            curl_multi_assign(f->multi, socket, NULL);
            uv_poll_stop(&w->poll);
            uv_close((uv_handle_t *)&w->poll, on_watch_closed);
        }
        return 0;
    }
    if (w == NULL) {
        w = watch_new(f, socket);
        if (w == NULL)
            return -1;
        curl_multi_assign(f->multi, socket, w);
    }
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    return uv_poll_start(&w->poll, events, on_poll);
}

static int on_timeout(CURLM *multi, long ms, void *arg)
{
    struct fetcher *f = arg;

    (void)multi;
    if (ms < 0)
        timer_stop(&f->timer);
    else
        timer_start(&f->timer, f->loop, ms, on_timer, f);
    return 0;
}

/* ---- one transfer --------------------------------------------------------------------------------------------- */

static bool may_connect(const struct fetcher *f, const struct sockaddr *address)
{
    for (size_t i = 0; i < f->allow_count; i++)
        if (cidr_holds(&f->allow[i], address))
            return true;
    return cidr_public(address);
}

static curl_socket_t open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *address)
{
    struct fetch *x = arg;

    bool unguarded = x->how != NULL && (x->how->unguarded || x->how->socket != NULL);

    if (purpose != CURLSOCKTYPE_IPCXN || !(unguarded || may_connect(x->fetcher, &address->addr))) {
        x->refused = true;
        return CURL_SOCKET_BAD;
    }
    return socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
}

static size_t on_body(char *p, size_t size, size_t n, void *arg)
{
    struct fetch *x = arg;
    size_t bytes = size * n;
    long status = 0;

    if (bytes > x->max_bytes - x->taken) {
        x->too_large = true;
        return 0;
    }
    x->taken += bytes;
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    if (x->how != NULL && x->how->take != NULL && status / 100 == 2) {
        x->given_up = !x->how->take(x->how->arg, (struct str){p, bytes});
        return x->given_up ? 0 : bytes;
    }
    buf_add(&x->answer, p, bytes);
    return x->answer.failed ? 0 : bytes;
}

static void fetch_free(struct fetch *x)
{
    if (x->easy != NULL)
        curl_easy_cleanup(x->easy);
    curl_slist_free_all(x->fields);
    buf_free(&x->body);
    buf_free(&x->answer);
    free(x);
}

static bool add_fields(struct fetch *x, struct str fields)
{
    while (fields.n > 0) {
        struct str line = str_trim(str_cut(&fields, '\n'));
        char text[8192];
        if (line.n == 0)
            continue;
        if (line.n >= sizeof(text) || memchr(line.p, '\r', line.n) != NULL)
            return false;
        memcpy(text, line.p, line.n);
        text[line.n] = '\0';
        struct curl_slist *more = curl_slist_append(x->fields, text);
        if (more == NULL)
            return false;
        x->fields = more;
    }
    struct curl_slist *more = curl_slist_append(x->fields, "Expect:");
    if (more != NULL)
        x->fields = more;
    return more != NULL;
}

static bool set_options(struct fetch *x, const struct fetch_request *r, const char *method, const char *url)
{
    CURL *e = x->easy;
    bool reads = str_eqz(r->method, "GET") || str_eqz(r->method, "HEAD");

    // clang-format off
    bool fine =
        curl_easy_setopt(e, CURLOPT_URL, url) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, method) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_HTTPHEADER, x->fields) == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_USERAGENT, "slipway") == CURLE_OK &&
        curl_easy_setopt(e, CURLOPT_PROXY, "") == CURLE_OK;
    // clang-format on
    curl_easy_setopt(e, CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, (long)r->timeout_ms);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->message);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(e, CURLOPT_OPENSOCKETDATA, x);
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(e, CURLOPT_PRIVATE, x);
    if (str_eqz(r->method, "HEAD"))
        curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
    if (!reads) {
        curl_easy_setopt(e, CURLOPT_POSTFIELDS, x->body.p == NULL ? "" : x->body.p);
        curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)x->body.n);
    }
    return fine;
}

static bool prepare(struct fetch *x, const struct fetch_request *r)
{
    struct arena a;
    bool fine = false;

    arena_init(&a, 0);
    char *method = arena_z(&a, r->method), *url = arena_z(&a, r->url);
    buf_str(&x->body, r->body);
    if (method != NULL && url != NULL && !x->body.failed && add_fields(x, r->fields))
        fine = set_options(x, r, method, url);
    arena_fini(&a);
    return fine;
}

bool fetch_start(struct fetcher *f, const struct fetch_request *request, struct ops *asker, fetch_then *then, void *arg)
{
    struct fetch *x = f->closing ? NULL : calloc(1, sizeof(*x));

    if (x == NULL)
        return false;
    x->fetcher = f;
    x->easy = curl_easy_init();
    x->max_bytes = request->max_bytes;
    x->then = then;
    x->arg = arg;
    if (x->easy == NULL || !prepare(x, request) || curl_multi_add_handle(f->multi, x->easy) != CURLM_OK) {
        fetch_free(x);
        return false;
    }
    list_append(&f->running, &x->link);
    op_begin(&x->op, asker);
    return true;
}

// clang-format off
static const struct {
    CURLcode code;
    enum fetch_fault fault;
    const char *text;
} faults[] = {
    {CURLE_URL_MALFORMAT,        FETCH_URL,       "this is no http or https URL"},
    {CURLE_UNSUPPORTED_PROTOCOL, FETCH_URL,       "only http and https are fetched"},
    {CURLE_LOGIN_DENIED,         FETCH_URL,       "a URL with credentials is not fetched"},
    {CURLE_COULDNT_RESOLVE_HOST, FETCH_RESOLVE,   "the host's name does not resolve"},
    {CURLE_COULDNT_CONNECT,      FETCH_CONNECT,   "nobody takes connections there"},
    {CURLE_OPERATION_TIMEDOUT,   FETCH_TIMEOUT,   "no answer in time"},
    {CURLE_SSL_CONNECT_ERROR,    FETCH_TLS,       "no TLS protocol or cipher in common"},
    {CURLE_PEER_FAILED_VERIFICATION, FETCH_TLS,   "the certificate is not to be trusted"},
    {CURLE_OUT_OF_MEMORY,        FETCH_MEMORY,    "out of memory"},
};
// clang-format on

static void explain(const struct fetch *x, CURLcode code, struct fetch_answer *a)
{
    curl_off_t connected = 0;

    if (code == CURLE_OK)
        return;
    a->fault = FETCH_BROKEN;
    a->message = "the connection broke, or the peer does not speak HTTP";
    /* An answer that is no HTTP has the same code as a URL that is no http. */
    curl_easy_getinfo(x->easy, CURLINFO_CONNECT_TIME_T, &connected);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        if (faults[i].code == code && (connected == 0 || code != CURLE_UNSUPPORTED_PROTOCOL)) {
            a->fault = faults[i].fault;
            a->message = faults[i].text;
        }
    if (x->given_up) {
        a->fault = FETCH_CLOSED;
        a->message = "given up";
    } else if (x->too_large) {
        a->fault = FETCH_TOO_LARGE;
        a->message = "the answer is larger than the limit";
    } else if (x->refused) {
        a->fault = FETCH_REFUSED;
        a->message = "the host's address is not public; outbound.allow can list its network";
    } else if (x->answer.failed) {
        a->fault = FETCH_MEMORY;
        a->message = "out of memory";
    }
}

static void finish(struct fetch *x, struct fetch_answer *a)
{
    fetch_then *then = x->then;
    void *arg = x->arg;

    list_remove(&x->link);
    curl_multi_remove_handle(x->fetcher->multi, x->easy);
    /* The answer is borrowed from x, so x goes after the continuation; only x itself is touched then. */
    if (op_finish(&x->op))
        then(arg, a);
    fetch_free(x);
}

static void describe(const struct fetch *x, CURLcode code, struct fetch_answer *a)
{
    long status = 0;
    char *type = NULL;
    curl_off_t took = 0;

    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(x->easy, CURLINFO_CONTENT_TYPE, &type);
    curl_easy_getinfo(x->easy, CURLINFO_TOTAL_TIME_T, &took);
    *a = (struct fetch_answer){
        .status = (int)status, .type = str_z(type), .body = buf_view(&x->answer), .elapsed_ms = took / 1000};
    explain(x, code, a);
}

static void collect(void *arg)
{
    struct fetcher *f = arg;
    CURLMsg *m;
    int left;

    while (!f->closing && (m = curl_multi_info_read(f->multi, &left)) != NULL) {
        struct fetch_answer a;
        struct fetch *x;
        CURLcode code = m->data.result;

        if (m->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &x);
        describe(x, code, &a);
        finish(x, &a);
    }
}

/* ---- without a loop ------------------------------------------------------------------------------------------- */

static int on_progress(void *arg, curl_off_t expected, curl_off_t got, curl_off_t up_expected, curl_off_t up)
{
    struct fetch *x = arg;

    (void)up_expected;
    (void)up;
    x->given_up = x->given_up || !x->how->goes_on(x->how->arg, (uint64_t)got, (uint64_t)expected);
    return x->given_up;
}

static void set_blocking(struct fetch *x, const struct fetch_request *r)
{
    if (x->how->socket != NULL)
        curl_easy_setopt(x->easy, CURLOPT_UNIX_SOCKET_PATH, x->how->socket);
    if (x->how->ca != NULL && x->how->ca[0] != '\0')
        curl_easy_setopt(x->easy, CURLOPT_CAINFO, x->how->ca);
    if (x->how->goes_on != NULL) {
        curl_easy_setopt(x->easy, CURLOPT_NOPROGRESS, 0L);
        curl_easy_setopt(x->easy, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(x->easy, CURLOPT_XFERINFODATA, x);
    }
    if (r->timeout_ms == 0) {
        curl_easy_setopt(x->easy, CURLOPT_CONNECTTIMEOUT_MS, (long)FETCH_CONNECT_MS);
        curl_easy_setopt(x->easy, CURLOPT_LOW_SPEED_LIMIT, 1024L);
        curl_easy_setopt(x->easy, CURLOPT_LOW_SPEED_TIME, (long)FETCH_STALLED_S);
    }
}

void fetch_blocking(const struct fetch_settings *settings, const struct fetch_request *request,
                    const struct fetch_blocking *how, fetch_then *then, void *arg)
{
    struct fetcher f = {.allow = (struct cidr *)(uintptr_t)settings->allow, .allow_count = settings->allow_count};
    struct fetch_answer answer = {.fault = FETCH_MEMORY, .message = "out of memory"};
    struct fetch *x = calloc(1, sizeof(*x));

    pthread_once(&init_once, init_curl);
    if (x != NULL) {
        x->fetcher = &f;
        x->how = how;
        x->max_bytes = request->max_bytes;
        x->easy = curl_easy_init();
        if (x->easy != NULL && prepare(x, request)) {
            set_blocking(x, request);
            describe(x, curl_easy_perform(x->easy), &answer);
        }
    }
    then(arg, &answer);
    if (x != NULL)
        fetch_free(x);
}

/* ---- the fetcher ---------------------------------------------------------------------------------------------- */

struct fetcher *fetcher_open(struct loop *loop, const struct fetch_settings *settings)
{
    struct fetcher *f = calloc(1, sizeof(*f));

    pthread_once(&init_once, init_curl);
    if (f == NULL)
        return NULL;
    f->loop = loop;
    list_init(&f->running);
    f->multi = curl_multi_init();
    f->allow = calloc(settings->allow_count + 1, sizeof(*f->allow));
    if (f->multi == NULL || f->allow == NULL) {
        curl_multi_cleanup(f->multi);
        free(f->allow);
        free(f);
        return NULL;
    }
    memcpy(f->allow, settings->allow, settings->allow_count * sizeof(*f->allow));
    f->allow_count = settings->allow_count;
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(f->multi, CURLMOPT_SOCKETDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERFUNCTION, on_timeout);
    curl_multi_setopt(f->multi, CURLMOPT_TIMERDATA, f);
    curl_multi_setopt(f->multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, settings->running > 0 ? settings->running : 64L);
    curl_multi_setopt(f->multi, CURLMOPT_MAX_HOST_CONNECTIONS,
                      settings->running_per_host > 0 ? settings->running_per_host : 8L);
    return f;
}

static void finish_closing(void *arg)
{
    struct fetcher *f = arg;

    list_for (link, &f->running) {
        struct fetch_answer a = {.fault = FETCH_CLOSED, .message = "the server is going away"};
        finish(list_entry(link, struct fetch, link), &a);
    }
    curl_multi_cleanup(f->multi); /* closes its cached connections, and with them the last watches */
    timer_stop(&f->timer);
    if (f->handles == 0)
        finish_close(f);
}

void fetcher_close(struct fetcher *f, void (*closed)(void *arg), void *arg)
{
    f->closed = closed;
    f->closed_arg = arg;
    f->closing = true;
    loop_undefer(&f->collecting);
    loop_defer(f->loop, &f->collecting, finish_closing, f);
}
