#ifndef SRV_FS_H
#define SRV_FS_H

#include "proto/base/env.h"

struct srv_files;

/* kb_fs over POSIX. Any number of jobs may use their own at the same time; they share the broker's
 * list of locked files, which has a mutex. */
struct srv_fs {
    struct kb_fs fs;
    struct srv_files *files;
};
void srv_fs_init(struct srv_fs *fs, struct srv_files *files);

#endif
