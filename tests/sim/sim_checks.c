#include "tests/sim/sim_checks.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const names[SIM_CHECK_MAX_] = {
    [SIM_CHECK_P1] = "P1",
    [SIM_CHECK_P2] = "P2",
    [SIM_CHECK_P3] = "P3",
    [SIM_CHECK_P4] = "P4",
    [SIM_CHECK_P5] = "P5",
    [SIM_CHECK_P7] = "P7",
    [SIM_CHECK_P9] = "P9",
    [SIM_CHECK_P10] = "P10",
    [SIM_CHECK_P11] = "P11",
    [SIM_CHECK_P12] = "P12",
    [SIM_CHECK_P13] = "P13",
    [SIM_CHECK_P22] = "P22",
    [SIM_CHECK_R1] = "R1",
    [SIM_CHECK_R2] = "R2",
    [SIM_CHECK_R3] = "R3",
    [SIM_CHECK_R4] = "R4",
    [SIM_CHECK_R5] = "R5",
    [SIM_CHECK_R6] = "R6",
    [SIM_CHECK_R7] = "R7",
    [SIM_CHECK_R8] = "R8",
    [SIM_CHECK_R10] = "R10",
    [SIM_CHECK_R11] = "R11",
    [SIM_CHECK_R12] = "R12",
    [SIM_CHECK_R13] = "R13",
    [SIM_CHECK_R16] = "R16",
    [SIM_CHECK_LIVE] = "live",
    [SIM_CHECK_RUN] = "run",
    [SIM_CHECK_ADMIN] = "admin",
    [SIM_CHECK_G1] = "G1",
    [SIM_CHECK_G2] = "G2",
    [SIM_CHECK_G3] = "G3",
    [SIM_CHECK_G4] = "G4",
    [SIM_CHECK_G5] = "G5",
    [SIM_CHECK_G6] = "G6",
    [SIM_CHECK_G7] = "G7",
    [SIM_CHECK_G8] = "G8",
    [SIM_CHECK_R9] = "R9",
    [SIM_CHECK_R14] = "R14",
    [SIM_CHECK_R15] = "R15",
    [SIM_CHECK_R17] = "R17",
    [SIM_CHECK_R18] = "R18",
    [SIM_CHECK_P21] = "P21",
    [SIM_CHECK_G10] = "G10",
    [SIM_CHECK_G11] = "G11",
    [SIM_CHECK_G12] = "G12",
    [SIM_CHECK_P6] = "P6",
    [SIM_CHECK_P8] = "P8",
    [SIM_CHECK_P14] = "P14",
    [SIM_CHECK_P15] = "P15",
    [SIM_CHECK_P18] = "P18",
    [SIM_CHECK_P19] = "P19",
    [SIM_CHECK_P20] = "P20",
    [SIM_CHECK_P16] = "P16",
    [SIM_CHECK_P17] = "P17",
    [SIM_CHECK_RETENTION] = "retention",
};

const char *sim_check_name(enum sim_check_id id)
{
    return (unsigned)id < SIM_CHECK_MAX_ ? names[id] : "?";
}

bool sim_check(struct sim_checks *c, enum sim_check_id id, bool ok, const char *format, ...)
{
    struct sim_check *check = &c->check[id];
    check->checks++;
    if (ok)
        return true;
    char text[sizeof(check->first)];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (check->failures++ == 0)
        memcpy(check->first, text, sizeof(text));
    if (c->on_failure != NULL)
        c->on_failure(c->arg, id, text);
    return false;
}

uint64_t sim_checks_failures(const struct sim_checks *c)
{
    uint64_t failures = 0;
    for (int i = 0; i < SIM_CHECK_MAX_; i++)
        failures += c->check[i].failures;
    return failures;
}
