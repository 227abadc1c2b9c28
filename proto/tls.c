#include "proto/tls_private.h"

#include "lib/must.h"

#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#if MBEDTLS_VERSION_MAJOR < 3 /* names that changed */
#define MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION MBEDTLS_ERR_SSL_BAD_HS_PROTOCOL_VERSION
#define MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE    MBEDTLS_ERR_SSL_NO_CIPHER_CHOSEN
#endif

enum { ADDRESS_MAX = 16 };

struct tls {
    mbedtls_ssl_context ssl;
    struct tls_context *context;
    struct str *in; /* during tls_feed */
    bool (*send)(void *arg, struct str bytes);
    void *arg;
    size_t bytes; /* in context->plain */
    const char *why;
    bool begun, open, over, resumed;
    unsigned char address_n; /* the peer is named by its address */
    unsigned char address[ADDRESS_MAX];
};

static int on_send(void *arg, const unsigned char *p, size_t n)
{
    struct tls *t = arg;
    return t->send(t->arg, (struct str){(const char *)p, n}) ? (int)n : MBEDTLS_ERR_SSL_ALLOC_FAILED;
}

static int on_receive(void *arg, unsigned char *to, size_t most)
{
    struct tls *t = arg;
    size_t n = t->in->n < most ? t->in->n : most;
    if (n == 0)
        return MBEDTLS_ERR_SSL_WANT_READ;
    memcpy(to, t->in->p, n);
    *t->in = str_slice(*t->in, n, t->in->n);
    return (int)n;
}

/* --- whom a client talks to --- */

/* mbedTLS 2.28 knows names only, and a server name extension must not hold an address (RFC 6066 §3). */
static bool names_address(const mbedtls_x509_crt *certificate, const struct tls *t)
{
    enum { IP_ADDRESS = MBEDTLS_ASN1_CONTEXT_SPECIFIC | 7 }; /* RFC 5280 §4.2.1.6 */
    for (const mbedtls_x509_sequence *it = &certificate->subject_alt_names; it != NULL; it = it->next)
        if (it->buf.tag == IP_ADDRESS && it->buf.len == t->address_n &&
            memcmp(it->buf.p, t->address, t->address_n) == 0)
            return true;
    return false;
}

static int on_verify(void *arg, mbedtls_x509_crt *certificate, int depth, uint32_t *flags)
{
    const struct tls *t = arg;
    if (depth == 0 && t->address_n > 0 && !names_address(certificate, t))
        *flags |= MBEDTLS_X509_BADCERT_CN_MISMATCH;
    return 0;
}

static bool set_peer(struct tls *t, struct str host)
{
    char name[256];
    must(host.n > 0);
    if (host.n >= sizeof(name))
        return false;
    memcpy(name, host.p, host.n);
    name[host.n] = '\0';
    t->address_n = inet_pton(AF_INET, name, t->address) == 1 ? 4 : inet_pton(AF_INET6, name, t->address) == 1 ? 16 : 0;
    mbedtls_ssl_set_verify(&t->ssl, on_verify, t);
    return mbedtls_ssl_set_hostname(&t->ssl, t->address_n > 0 ? NULL : name) == 0;
}

/* --- its life --- */

struct tls *tls_new(struct tls_context *c, struct str host, bool (*send)(void *arg, struct str bytes), void *arg)
{
    struct tls *t = calloc(1, sizeof(*t));
    if (t == NULL)
        return NULL;
    t->context = tls_context_keep(c);
    t->send = send;
    t->arg = arg;
    mbedtls_ssl_init(&t->ssl);
    if (mbedtls_ssl_setup(&t->ssl, &c->config) != 0 || (c->client && !set_peer(t, host))) {
        tls_free(t);
        return NULL;
    }
    mbedtls_ssl_set_bio(&t->ssl, t, on_send, on_receive, NULL);
    return t;
}

void tls_free(struct tls *t)
{
    if (t == NULL)
        return;
    mbedtls_ssl_free(&t->ssl);
    tls_context_drop(t->context);
    free(t);
}

/* --- what went wrong --- */

static const char *distrust(uint32_t flags)
{
    static const struct {
        uint32_t flag;
        const char *text;
    } table[] = {
        {MBEDTLS_X509_BADCERT_EXPIRED, "the server's certificate has expired"},
        {MBEDTLS_X509_BADCERT_FUTURE, "the server's certificate is not valid yet"},
        {MBEDTLS_X509_BADCERT_CN_MISMATCH, "the server's certificate is for another name"},
        {MBEDTLS_X509_BADCERT_NOT_TRUSTED, "the server's certificate is of nobody we trust"},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (flags & table[i].flag)
            return table[i].text;
    return "the server's certificate is not acceptable";
}

static enum tls_event fault(struct tls *t, int error)
{
    static const struct {
        int error;
        const char *text;
    } table[] = {
        {MBEDTLS_ERR_SSL_INVALID_RECORD, "what came is no TLS"},
        {MBEDTLS_ERR_SSL_INVALID_MAC, "a record was changed on its way"},
        {MBEDTLS_ERR_SSL_BAD_PROTOCOL_VERSION, "there is no common version of TLS"},
        {MBEDTLS_ERR_SSL_HANDSHAKE_FAILURE, "there is no common cipher suite"},
        {MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE, "the other side refused the handshake"},
        {MBEDTLS_ERR_SSL_ALLOC_FAILED, "memory ran out"},
    };
    t->over = true;
    t->why = t->open ? "a record is not well formed" : "the handshake is not well formed";
    if (error == MBEDTLS_ERR_X509_CERT_VERIFY_FAILED)
        t->why = distrust(mbedtls_ssl_get_verify_result(&t->ssl));
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        if (error == table[i].error)
            t->why = table[i].text;
    return TLS_FAULT;
}

bool tls_begun(const struct tls *t)
{
    return t->begun;
}

const char *tls_why(const struct tls *t)
{
    return t->why;
}

/* --- bytes --- */

static bool waits(int result)
{
    return result == MBEDTLS_ERR_SSL_WANT_READ || result == MBEDTLS_ERR_SSL_WANT_WRITE;
}

static enum tls_event shake_hands(struct tls *t)
{
    if (!t->begun && t->in->n > 0 && (unsigned char)t->in->p[0] != MBEDTLS_SSL_MSG_HANDSHAKE)
        return fault(t, MBEDTLS_ERR_SSL_INVALID_RECORD); /* HTTP, most likely; an alert would be no answer to it */
    t->begun |= t->in->n > 0;
    t->context->resumed = false;
    int result = mbedtls_ssl_handshake(&t->ssl);
    t->resumed |= t->context->resumed;
    if (waits(result))
        return TLS_MORE;
    if (result != 0)
        return fault(t, result);
    t->open = true;
    return TLS_OPENED;
}

static int read_record(struct tls *t)
{
    int n = mbedtls_ssl_read(&t->ssl, (unsigned char *)t->context->plain, sizeof(t->context->plain));
#if MBEDTLS_VERSION_MAJOR >= 3
    while (n == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET)
        n = mbedtls_ssl_read(&t->ssl, (unsigned char *)t->context->plain, sizeof(t->context->plain));
#endif
    return n;
}

enum tls_event tls_feed(struct tls *t, struct str *in)
{
    if (t->over)
        return t->why == NULL ? TLS_ENDED : TLS_FAULT;
    t->in = in;
    if (!t->open)
        return shake_hands(t);
    int n = read_record(t);
    if (n > 0) {
        t->bytes = (size_t)n;
        return TLS_BYTES;
    }
    if (waits(n))
        return TLS_MORE;
    if (n != 0 && n != MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY)
        return fault(t, n);
    t->over = true;
    return TLS_ENDED;
}

struct str tls_bytes(const struct tls *t)
{
    return (struct str){t->context->plain, t->bytes};
}

bool tls_write(struct tls *t, struct str bytes)
{
    while (bytes.n > 0) {
        int n = mbedtls_ssl_write(&t->ssl, (const unsigned char *)bytes.p, bytes.n);
        if (n <= 0)
            return false;
        bytes = str_slice(bytes, (size_t)n, bytes.n);
    }
    return true;
}

void tls_end(struct tls *t)
{
    mbedtls_ssl_close_notify(&t->ssl);
}

/* --- facts --- */

bool tls_resumed(const struct tls *t)
{
    return t->open && t->resumed;
}

void tls_describe(const struct tls *t, struct buf *out)
{
    const char *protocol = mbedtls_ssl_get_alpn_protocol(&t->ssl);
    buf_printf(out, "%s %s %s", mbedtls_ssl_get_version(&t->ssl), mbedtls_ssl_get_ciphersuite(&t->ssl),
               protocol == NULL ? "-" : protocol);
}
