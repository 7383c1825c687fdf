#ifndef CLI_FORMAT_H
#define CLI_FORMAT_H

#include "broker/cli/internal.h"
#include "proto/kafka/batch.h"

/* How `kvorum consume` prints a record: text with %t topic, %p partition, %o offset, %k key,
 * %v value, %d time in ms, %h headers, %% and the escapes \n \t \r \0 \\ \xHH. */

struct cli_format;
/* NULL, and a sentence on stderr. */
struct cli_format *cli_format_new(const char *text);
struct cli_format *cli_format_free(struct cli_format *f);
void cli_format_print(const struct cli_format *f, const char *topic, int32_t partition,
                      const struct kw_record *record, FILE *out);
/* One object on one line. Bytes that are no UTF-8 are given in base64, under NAME_base64. */
void cli_record_json_print(const char *topic, int32_t partition, const struct kw_record *record,
                           FILE *out);

#endif
