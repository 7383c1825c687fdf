/* Any bytes as server.properties: parsed, checked, its listeners and voters read. The same bytes
 * must give the same verdict twice. */
#include <stddef.h>
#include <stdint.h>

#include "broker/server/config.h"
#include "proto/base/assert.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t verdict(const uint8_t *data, size_t size, size_t *ret_warnings)
{
    struct srv_config c;
    srv_config_init(&c);
    srv_config_load_text(&c, "fuzz", (const char *)data, size);
    srv_config_finish(&c);
    size_t errors = c.errors_count;
    *ret_warnings = c.warnings_count;
    if (errors == 0) {
        KB_ASSERT(c.listeners_count >= 2);
        KB_ASSERT(c.voters_count == 0 || c.voters_count % 2 == 1);
        KB_ASSERT(c.node_id >= 0);
    }
    srv_config_release(&c);
    return errors;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t warnings = 0;
    size_t warnings_again = 0;
    if (size > 65536)
        return 0;
    size_t errors = verdict(data, size, &warnings);
    KB_ASSERT(verdict(data, size, &warnings_again) == errors);
    KB_ASSERT(warnings == warnings_again);
    return 0;
}
