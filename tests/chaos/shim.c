/* A library that is loaded before libc in a broker and lets its disk misbehave:
 * LD_PRELOAD=libshim.so, CHAOS_RULES=FILE.
 *
 * The file is mapped by broker and driver: RULES_MAX rules of one layout (disk.py packs it). A rule
 * that is armed counts calls of its kind on paths that contain its words; after `skip` of them it
 * acts `times` times. The broker itself is unchanged and knows nothing of it. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { RULES_MAX = 8, PATH_BYTES = 4096 };

enum call { CALL_NONE, CALL_WRITE, CALL_SYNC, CALL_READ, CALL_RENAME, CALL_OPEN, CALL_CUT };

enum action {
    ACT_EIO = 1,
    ACT_NOSPC,
    ACT_SHORT,       /* half of what was asked for */
    ACT_STALL,       /* wait, then go on */
    ACT_KILL_BEFORE, /* the process ends before the call */
    ACT_KILL_AFTER,
    ACT_SKIP, /* report success, do nothing */
};

struct rule {
    _Atomic uint32_t armed;
    uint32_t call;
    uint32_t action;
    _Atomic int32_t skip;
    _Atomic int32_t times;
    uint32_t stall_ms;
    _Atomic uint32_t hits;
    uint32_t unused;
    char words[96]; /* part of the path; empty = any */
};
_Static_assert(sizeof(struct rule) == 128, "the driver packs it");

/* What the file holds. */
struct control {
    struct rule rules[RULES_MAX];
    _Atomic int64_t clock_s; /* added to the wall clock, and to no other */
};

static struct control *control;
static struct rule *rules;

static void load_rules(void)
{
    static atomic_bool tried;
    if (atomic_exchange(&tried, true))
        return;
    const char *path = getenv("CHAOS_RULES");
    int (*real_open)(const char *, int, ...) = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT,
                                                                                      "open");
    int fd = path != NULL ? real_open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0)
        return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (map == MAP_FAILED)
        return;
    control = map;
    rules = control->rules;
}

__attribute__((constructor)) static void begin(void)
{
    load_rules();
}

static bool path_of(int fd, char *ret_path)
{
    char link[64];
    (void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, ret_path, PATH_BYTES - 1);
    ret_path[n > 0 ? n : 0] = '\0';
    return n > 0 && ret_path[0] == '/';
}

/* The action for this call, or 0. path is NULL where only fd is known. */
static enum action decide(enum call call, int fd, const char *path, uint32_t *ret_stall_ms)
{
    char buffer[PATH_BYTES];
    for (int i = 0; rules != NULL && i < RULES_MAX; i++) {
        struct rule *r = &rules[i];
        if (atomic_load(&r->armed) == 0 || r->call != (uint32_t)call)
            continue;
        if (path == NULL && !path_of(fd, buffer))
            return 0;
        if (path == NULL)
            path = buffer;
        if (strstr(path, r->words) == NULL)
            continue;
        if (atomic_fetch_sub(&r->skip, 1) > 0)
            continue;
        if (atomic_fetch_sub(&r->times, 1) <= 0) {
            atomic_store(&r->armed, 0);
            continue;
        }
        (void)atomic_fetch_add(&r->hits, 1);
        *ret_stall_ms = r->stall_ms;
        return (enum action)r->action;
    }
    return 0;
}

static void stall(uint32_t ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0 && errno == EINTR)
        continue;
}

static void die_now(void)
{
    (void)kill(getpid(), SIGKILL);
    for (;;)
        (void)pause();
}

/* Whether the call is answered here, with *ret_result; ret_after: the process ends after the call.
 */
static bool meddle(enum call call, int fd, const char *path, ssize_t skipped, ssize_t *ret_result,
                   bool *ret_after, bool *ret_short)
{
    uint32_t ms = 0;
    *ret_after = *ret_short = false;
    *ret_result = -1;
    switch (decide(call, fd, path, &ms)) {
    case ACT_EIO:
        errno = EIO;
        return true;
    case ACT_NOSPC:
        errno = ENOSPC;
        return true;
    case ACT_SKIP:
        *ret_result = skipped;
        return true;
    case ACT_SHORT:
        *ret_short = true;
        return false;
    case ACT_STALL:
        stall(ms);
        return false;
    case ACT_KILL_BEFORE:
        die_now();
        return false;
    case ACT_KILL_AFTER:
        *ret_after = true;
        return false;
    default:
        return false;
    }
}

#define REAL(name) ((__typeof__(&(name)))dlsym(RTLD_NEXT, #name))

/* libc's parameters have libc's names.
 * NOLINTBEGIN(readability-inconsistent-declaration-parameter-name) */

int clock_gettime(clockid_t id, struct timespec *ret)
{
    static __typeof__(&clock_gettime) real;
    real = real != NULL ? real : REAL(clock_gettime);
    int r = real(id, ret);
    if (r == 0 && control != NULL && (id == CLOCK_REALTIME || id == CLOCK_REALTIME_COARSE))
        ret->tv_sec += atomic_load(&control->clock_s);
    return r;
}

time_t time(time_t *ret)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_REALTIME, &now);
    if (ret != NULL)
        *ret = now.tv_sec;
    return now.tv_sec;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at)
{
    static __typeof__(&pwrite64) real;
    ssize_t result;
    bool after, half;
    real = real != NULL ? real : REAL(pwrite64);
    if (meddle(CALL_WRITE, fd, NULL, (ssize_t)size, &result, &after, &half))
        return result;
    result = real(fd, data, half ? (size + 1) / 2 : size, at);
    if (after)
        die_now();
    return result;
}

ssize_t pwritev64(int fd, const struct iovec *iov, int count, off64_t at)
{
    static __typeof__(&pwritev64) real;
    ssize_t result, size = 0;
    bool after, half;
    real = real != NULL ? real : REAL(pwritev64);
    for (int i = 0; i < count; i++)
        size += (ssize_t)iov[i].iov_len;
    if (meddle(CALL_WRITE, fd, NULL, size, &result, &after, &half))
        return result;
    if (half) {
        struct iovec first = {.iov_base = iov[0].iov_base, .iov_len = (iov[0].iov_len + 1) / 2};
        return real(fd, &first, 1, at);
    }
    result = real(fd, iov, count, at);
    if (after)
        die_now();
    return result;
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at)
{
    static __typeof__(&pread64) real;
    ssize_t result;
    bool after, half;
    real = real != NULL ? real : REAL(pread64);
    if (meddle(CALL_READ, fd, NULL, 0, &result, &after, &half))
        return result;
    return real(fd, data, half ? (size + 1) / 2 : size, at);
}

static int sync_through(int fd, int (*real)(int))
{
    ssize_t result;
    bool after, half;
    if (meddle(CALL_SYNC, fd, NULL, 0, &result, &after, &half))
        return (int)result;
    result = real(fd);
    if (after)
        die_now();
    return (int)result;
}

int fdatasync(int fd)
{
    static __typeof__(&fdatasync) real;
    real = real != NULL ? real : REAL(fdatasync);
    return sync_through(fd, real);
}

int fsync(int fd)
{
    static __typeof__(&fsync) real;
    real = real != NULL ? real : REAL(fsync);
    return sync_through(fd, real);
}

int syncfs(int fd)
{
    static __typeof__(&syncfs) real;
    real = real != NULL ? real : REAL(syncfs);
    return sync_through(fd, real);
}

int ftruncate64(int fd, off64_t size)
{
    static __typeof__(&ftruncate64) real;
    ssize_t result;
    bool after, half;
    real = real != NULL ? real : REAL(ftruncate64);
    if (meddle(CALL_CUT, fd, NULL, 0, &result, &after, &half))
        return (int)result;
    result = real(fd, size);
    if (after)
        die_now();
    return (int)result;
}

int rename(const char *from, const char *to)
{
    static __typeof__(&rename) real;
    ssize_t result;
    bool after, half;
    real = real != NULL ? real : REAL(rename);
    if (meddle(CALL_RENAME, -1, to, 0, &result, &after, &half))
        return (int)result;
    result = real(from, to);
    if (after)
        die_now();
    return (int)result;
}

int open64(const char *path, int flags, ...)
{
    static __typeof__(&open64) real;
    ssize_t result;
    bool after, half;
    mode_t mode = 0;
    if ((flags & O_CREAT) != 0) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    real = real != NULL ? real : REAL(open64);
    if ((flags & O_CREAT) != 0 && meddle(CALL_OPEN, -1, path, 0, &result, &after, &half))
        return (int)result;
    result = real(path, flags, mode);
    if ((flags & O_CREAT) != 0 && after)
        die_now();
    return (int)result;
}

/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
