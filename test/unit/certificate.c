#include "test/unit/certificate.h"
#include "lib/must.h"
#include "proto/tls_private.h"

#include <mbedtls/ecp.h>
#include <mbedtls/oid.h>
#include <mbedtls/x509_crt.h>
#include <stdio.h>
#include <string.h>

static void set_serial(mbedtls_x509write_cert *w)
{
#if MBEDTLS_VERSION_MAJOR >= 3
    unsigned char one = 1;
    must(mbedtls_x509write_crt_set_serial_raw(w, &one, 1) == 0);
#else
    mbedtls_mpi serial;
    mbedtls_mpi_init(&serial);
    must(mbedtls_mpi_lset(&serial, 1) == 0 && mbedtls_x509write_crt_set_serial(w, &serial) == 0);
    mbedtls_mpi_free(&serial);
#endif
}

void certificate_make(struct certificate *c, const char *name, const unsigned char address[4], const char *from,
                      const char *to)
{
    mbedtls_pk_context key;
    mbedtls_x509write_cert w;
    char subject[128];
    snprintf(subject, sizeof(subject), "CN=%s", name);
    mbedtls_pk_init(&key);
    must(mbedtls_pk_setup(&key, mbedtls_pk_info_from_type(MBEDTLS_PK_ECKEY)) == 0);
    must(mbedtls_ecp_gen_key(MBEDTLS_ECP_DP_SECP256R1, mbedtls_pk_ec(key), tls_random, NULL) == 0);
    mbedtls_x509write_crt_init(&w);
    mbedtls_x509write_crt_set_subject_key(&w, &key);
    mbedtls_x509write_crt_set_issuer_key(&w, &key);
    mbedtls_x509write_crt_set_md_alg(&w, MBEDTLS_MD_SHA256);
    must(mbedtls_x509write_crt_set_subject_name(&w, subject) == 0);
    must(mbedtls_x509write_crt_set_issuer_name(&w, subject) == 0);
    must(mbedtls_x509write_crt_set_validity(&w, from, to) == 0);
    must(mbedtls_x509write_crt_set_basic_constraints(&w, 1, 0) == 0);
    set_serial(&w);
    if (address != NULL) { /* SEQUENCE { [7] four bytes } */
        unsigned char names[8] = {0x30, 0x06, 0x87, 0x04};
        memcpy(names + 4, address, 4);
        must(mbedtls_x509write_crt_set_extension(&w, MBEDTLS_OID_SUBJECT_ALT_NAME,
                                                 MBEDTLS_OID_SIZE(MBEDTLS_OID_SUBJECT_ALT_NAME), 0, names,
                                                 sizeof(names)) == 0);
    }
    must(mbedtls_x509write_crt_pem(&w, (unsigned char *)c->text, sizeof(c->text), tls_random, NULL) == 0);
    must(mbedtls_pk_write_key_pem(&key, (unsigned char *)c->key, sizeof(c->key)) == 0);
    mbedtls_x509write_crt_free(&w);
    mbedtls_pk_free(&key);
}

struct str certificate_text(const struct certificate *c)
{
    return str_z(c->text);
}

struct str certificate_key(const struct certificate *c)
{
    return str_z(c->key);
}
