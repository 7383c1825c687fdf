#ifndef API_API_H
#define API_API_H

#include "broker/node/node.h"

/* The Kafka APIs of this broker, one file per API: decode, decide, answer. What is not in the table
 * is not advertised. */
const struct node_api *api_table(size_t *ret_count);

#endif
