/* Chooses the mutant of a program built with -Dmutants=true. KB_MUTANT: its name.
 * KB_MUTANT_REACHED: a file that appears when the broken line is first run. */
#include "proto/base/mutant.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The linker's names for the ends of the section. */
extern struct kb_mutant __start_kb_mutants[]; /* NOLINT(bugprone-reserved-identifier) */
extern struct kb_mutant __stop_kb_mutants[];  /* NOLINT(bugprone-reserved-identifier) */

__attribute__((constructor)) static void choose(void)
{
    const char *name = getenv("KB_MUTANT");
    for (struct kb_mutant *m = __start_kb_mutants; name != NULL && m < __stop_kb_mutants; m++)
        m->chosen = strcmp(m->name, name) == 0;
}

bool kb_mutant_strikes(struct kb_mutant *m)
{
    if (m->chosen && !m->reached) {
        const char *path = getenv("KB_MUTANT_REACHED");
        int fd = path != NULL ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644) : -1;
        m->reached = true;
        if (fd >= 0)
            (void)close(fd);
    }
    return m->chosen;
}
