#ifndef SRV_FS_H
#define SRV_FS_H

#include "proto/base/env.h"

/* kb_fs over POSIX. Holds no state: any number of jobs may use their own at the same time. */
void srv_fs_init(struct kb_fs *fs);

#endif
