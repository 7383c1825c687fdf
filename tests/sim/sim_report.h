#ifndef SIM_REPORT_H
#define SIM_REPORT_H

#include "tests/sim/sim_run.h"

/* The results of many runs, told to people and to programs. */
struct sim_report;

struct sim_report *sim_report_new(uint64_t seeds);
struct sim_report *sim_report_free(struct sim_report *r);
void sim_report_add(struct sim_report *r, const struct sim_result *s);
uint64_t sim_report_count(const struct sim_report *r);
uint64_t sim_report_failed(const struct sim_report *r);
/* Totals, how often each promise was looked at, and each failed seed with its reason. */
void sim_report_print(FILE *out, const struct sim_report *r);
/* The same as JSON. 0 or -KB_EIO. */
int sim_report_json(const char *path, const struct sim_report *r);
/* One run in full. */
void sim_report_one(FILE *out, const struct sim_result *s);

#endif
