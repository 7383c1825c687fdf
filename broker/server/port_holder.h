#ifndef SRV_PORT_HOLDER_H
#define SRV_PORT_HOLDER_H

#include <stddef.h>
#include <stdint.h>

/* Which process listens on a TCP port of this machine, from /proc. Returns its pid and its name in
 * ret_name, or 0 when it cannot be found (another user's, another container's). */
int srv_port_holder(uint16_t port, char *ret_name, size_t name_size);

#endif
