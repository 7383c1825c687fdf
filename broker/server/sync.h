#ifndef SRV_SYNC_H
#define SRV_SYNC_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* How a round of written files becomes durable (replication rule 9.5): fdatasync for few, one
 * syncfs for several where the file system and kernel report its errors. One thread owns it. */
struct srv_sync_file {
    int fd;
    dev_t device;
    int result; /* out: 0 or negative */
};
struct srv_sync {
    int volume_fd; /* opened once and kept: it sees every error since then. -1 = none */
    dev_t volume;
    bool judged;       /* volume_fd was decided on */
    bool never_syncfs; /* for tests and comparisons */
    unsigned long long n_fdatasync;
    unsigned long long n_syncfs;
};
void srv_sync_init(struct srv_sync *s);
void srv_sync_release(struct srv_sync *s);
/* True when a round of so many files would use the directory they are in, to judge its volume. */
bool srv_sync_wants_dir(const struct srv_sync *s, size_t count);
/* fdatasync of one file that is open for writing, from any thread; 0, or negative: its bytes may be
 * lost. Not for directories, which fsync serves. */
int srv_sync_fd(int fd);
/* Sync count files; each gets its result. path: of the first one, or NULL when not wanted. */
void srv_sync_files(struct srv_sync *s, struct srv_sync_file *files, size_t count,
                    const char *path);

#endif
