/* The messages of the streams, as rows. */
#ifndef SERVER_ASYNCAPI_MESSAGE_H
#define SERVER_ASYNCAPI_MESSAGE_H

#include "lib/field.h"

enum message_stream { MESSAGE_RUN = 1, MESSAGE_AGENT = 2, MESSAGE_JOB = 4, MESSAGE_DASHBOARD = 8, MESSAGE_ALL = 15 };
enum message_kind {
    MESSAGE_EVENT,   /* of the channel: type, seq, timestamp, and its own members */
    MESSAGE_CONTROL, /* of the connection: type, timestamp, and its own members */
    MESSAGE_CLIENT   /* what a client says: type, and its own members */
};

struct message {
    const char *type;
    enum message_stream streams;
    enum message_kind kind;
    const struct field *rows; /* NULL: no members of its own */
    const char *doc;
    const char *name; /* in the document, where several streams have messages of one type; NULL: the type */
};
extern const struct message messages[]; /* ends with {0} */

#endif
