#ifndef KB_MUTANT_H
#define KB_MUTANT_H

/* Places where the product can be broken on purpose, to see that the tests notice
 * (tests/sim/README.md). KB_MUTANT("name") stands in the condition it breaks. It is the constant
 * false, and nothing of it is in the program, but in a build with -Dmutants=true: there it is true
 * in the one mutant that the environment variable KB_MUTANT names. */

#include <stdbool.h>

#ifdef KB_MUTANTS

struct kb_mutant {
    const char *name;
    bool chosen;
    bool reached;
};

/* Is this the one? */
bool kb_mutant_strikes(struct kb_mutant *m);

#define KB_MUTANT(text)                                                                            \
    ({                                                                                             \
        static struct kb_mutant mutant_                                                            \
            __attribute__((section("kb_mutants"), used)) = {.name = (text)};                       \
        kb_mutant_strikes(&mutant_);                                                               \
    })

#else

#define KB_MUTANT(text) false

#endif

#endif
