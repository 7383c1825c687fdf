#ifndef SRV_PROPERTIES_H
#define SRV_PROPERTIES_H

#include <stddef.h>

/* Java's properties format: comments (# and !), '=', ':' or white space after the key, backslash
 * escapes (\t \n \r \f \uXXXX, any other character itself), lines continued by a backslash. Values
 * lose white space at their end, as Kafka's do. UTF-8 passes through. */
#define SRV_PROPERTIES_BYTES_MAX ((size_t)1024 * 1024)

/* key and value are valid during the call. A non-zero answer stops and is returned. */
typedef int srv_property_fn(void *arg, const char *key, const char *value, unsigned line);
/* 0; what fn returned; or -KB_EINVAL for a malformed \u escape or a NUL byte, then *ret_line is
 * where. */
int srv_properties_parse(const char *text, size_t size, srv_property_fn *fn, void *arg,
                         unsigned *ret_line);

#endif
