/* The device grant (RFC 8628): a program without a browser shows a short code, and a person enters it at a page. A device
 * code is a record of the credentials (kind "device") with client, scope, state ("", "allowed", "denied"), interval and
 * when it was asked for last; the code that people enter leads to it. */
#ifndef SERVER_OAUTH_DEVICE_H
#define SERVER_OAUTH_DEVICE_H

#include "server/request.h"

#define DEVICE_GRANT "urn:ietf:params:oauth:grant-type:device_code"

enum { DEVICE_LIFE_S = 600, DEVICE_INTERVAL_S = 5, DEVICE_SLOWER_S = 5 };

enum flow device_begin(struct request *r);  /* POST /auth/device_authorization */
enum flow device_page(struct request *r);   /* GET /auth/device */
enum flow device_answer(struct request *r); /* POST /auth/device */
extern const struct field device_form[], device_data[], device_query[], device_page_form[];

#endif
