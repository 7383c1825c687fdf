#ifndef KB_ASSERT_H
#define KB_ASSERT_H

/* Report a broken invariant on the log sink and abort the process. */
void kb_panic(const char *file, int line, const char *what) __attribute__((noreturn));

/* A bug check that stays on in release builds. Not for data from disk, clients or peers. */
#define KB_ASSERT(cond) ((cond) ? (void)0 : kb_panic(__FILE__, __LINE__, #cond))

#define KB_UNREACHABLE() kb_panic(__FILE__, __LINE__, "unreachable")

#endif
