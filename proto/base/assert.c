#include "proto/base/assert.h"

#include <stdlib.h>

#include "proto/base/log.h"

void kb_panic(const char *file, int line, const char *what)
{
    kb_log_write(KB_LOG_ERROR, "bug", "event=assertion_failed at=%s:%d what=\"%s\"", file, line,
                 what);
    abort();
}
