/* `--test-endpoints`: /_test/http answers any method with the body it was sent, /_test/echo sends every WebSocket
 * message back (16 MiB, 65,536 fragments). For conformance suites and load generators: both go through the very steps,
 * codecs and limits that everything else goes through. Without the setting the paths do not exist. */
#ifndef SERVER_TEST_ENDPOINTS_H
#define SERVER_TEST_ENDPOINTS_H

#include "server/resource.h"

extern const struct resource test_resource;

#endif
