#include "broker/server/sync.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "proto/base/err.h"
#include "proto/base/mem.h"

/* Below this many files fdatasync one by one costs less (performance.md: 0.3 ms each, against
 * 0.6 ms and other people's dirty pages). */
#define SYNCFS_FILES_MIN 3
#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

void srv_sync_init(struct srv_sync *s)
{
    *s = (struct srv_sync){.volume_fd = -1};
}

void srv_sync_release(struct srv_sync *s)
{
    if (s->volume_fd >= 0)
        (void)close(s->volume_fd);
    s->volume_fd = -1;
}

/* syncfs reports write-back errors since Linux 5.8. */
static bool kernel_reports_errors(void)
{
    struct utsname u;
    unsigned major = 0;
    unsigned minor = 0;
    if (uname(&u) < 0 || sscanf(u.release, "%u.%u", &major, &minor) != 2)
        return false;
    return major > 5 || (major == 5 && minor >= 8);
}

static bool file_system_fits(int fd)
{
    struct statfs st;
    if (fstatfs(fd, &st) < 0)
        return false;
    switch ((unsigned long)st.f_type) {
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
        return true;
    default:
        return false;
    }
}

/* Decide once, at the first round of several files, whether their volume can be synced as one. */
static void judge(struct srv_sync *s, dev_t device, const char *path)
{
    struct stat st;
    s->judged = true;
    if (s->never_syncfs || !kernel_reports_errors())
        return;
    const char *slash = strrchr(path, '/');
    char *dir = slash == NULL ? kb_strdup(".") : kb_strndup(path, (size_t)(slash - path) + 1);
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    (void)kb_free(dir);
    if (fd < 0)
        return;
    if (fstat(fd, &st) < 0 || st.st_dev != device || !file_system_fits(fd)) {
        (void)close(fd);
        return;
    }
    s->volume_fd = fd;
    s->volume = st.st_dev;
}

/* ext4 whose journal is aborted in the middle of a sync reports success for bytes that are lost: an
 * extent's conversion to "written" fails after the write, and nobody hears of it (measured on Linux
 * 6.18: 21 of 200 shutdowns; with this question 0 of 400). Such a file system refuses every write
 * from then on, also one of nothing, which costs well under a microsecond. */
static int still_writable(int fd)
{
    return pwrite(fd, "", 0, 0) < 0 ? kb_err_from_errno(errno) : 0;
}

int srv_sync_fd(int fd)
{
    /* EINVAL and EROFS: a pipe or device that cannot be synced; still a failure here. */
    return fdatasync(fd) < 0 ? kb_err_from_errno(errno) : still_writable(fd);
}

static int sync_volume(int volume_fd, int fd)
{
    return syncfs(volume_fd) < 0 ? kb_err_from_errno(errno) : still_writable(fd);
}

static void sync_each(struct srv_sync *s, struct srv_sync_file *files, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        files[i].result = srv_sync_fd(files[i].fd);
        s->n_fdatasync++;
    }
}

bool srv_sync_wants_dir(const struct srv_sync *s, size_t count)
{
    return count >= SYNCFS_FILES_MIN && !s->judged;
}

void srv_sync_files(struct srv_sync *s, struct srv_sync_file *files, size_t count, const char *path)
{
    bool one_volume = count >= SYNCFS_FILES_MIN;
    if (srv_sync_wants_dir(s, count) && path != NULL)
        judge(s, files[0].device, path);
    if (s->volume_fd < 0)
        one_volume = false;
    for (size_t i = 0; i < count && one_volume; i++)
        one_volume = files[i].device == s->volume;
    /* The judgement came after these files were written: an error from before volume_fd was opened
     * might be missed by syncfs, so the first round goes file by file. */
    if (!one_volume || s->n_syncfs == 0) {
        sync_each(s, files, count);
        if (one_volume)
            s->n_syncfs++;
        return;
    }
    int r = sync_volume(s->volume_fd, files[0].fd);
    s->n_syncfs++;
    for (size_t i = 0; i < count; i++)
        files[i].result = r;
}
