/* Probes and figures of the process: /livez (the loop turns; Redis is never asked), /readyz (may be sent requests:
 * Redis answers and nothing is being shut down), /startupz (has once been ready), /metrics (Prometheus' text format).
 */
#ifndef SERVER_HEALTH_H
#define SERVER_HEALTH_H

#include "server/resource.h"

extern const struct resource health_resource;

#endif
