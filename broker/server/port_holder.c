#include "broker/server/port_holder.h"

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STATE_LISTEN 0x0a

/* The inode of the socket that listens on port, by one table of /proc/net; 0 = none. */
static unsigned long listening_inode(const char *table, uint16_t port)
{
    char line[512];
    unsigned long found = 0;
    FILE *f = fopen(table, "re");
    if (f == NULL)
        return 0;
    while (found == 0 && fgets(line, sizeof(line), f) != NULL) {
        unsigned local_port = 0;
        unsigned state = 0;
        unsigned long inode = 0;
        if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %*[0-9A-Fa-f]:%*x %x %*s %*s %*s %*d %*d %lu",
                   &local_port, &state, &inode) == 3 &&
            local_port == port && state == STATE_LISTEN)
            found = inode;
    }
    (void)fclose(f);
    return found;
}

static int has_descriptor(const char *pid, const char *wanted)
{
    char path[64];
    char target[64];
    int found = 0;
    (void)snprintf(path, sizeof(path), "/proc/%.16s/fd", pid);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return 0;
    for (const struct dirent *d = readdir(dir); d != NULL && !found; d = readdir(dir)) {
        ssize_t n = readlinkat(dirfd(dir), d->d_name, target, sizeof(target) - 1);
        if (n <= 0)
            continue;
        target[n] = '\0';
        found = strcmp(target, wanted) == 0;
    }
    (void)closedir(dir);
    return found;
}

static void read_name(const char *pid, char *ret_name, size_t name_size)
{
    char path[64];
    (void)snprintf(path, sizeof(path), "/proc/%.16s/comm", pid);
    FILE *f = fopen(path, "re");
    ret_name[0] = '\0';
    if (f == NULL)
        return;
    if (fgets(ret_name, (int)name_size, f) == NULL)
        ret_name[0] = '\0';
    ret_name[strcspn(ret_name, "\n")] = '\0';
    (void)fclose(f);
}

int srv_port_holder(uint16_t port, char *ret_name, size_t name_size)
{
    char wanted[64];
    int pid = 0;
    unsigned long inode = listening_inode("/proc/net/tcp", port);
    if (inode == 0)
        inode = listening_inode("/proc/net/tcp6", port);
    DIR *proc = inode != 0 ? opendir("/proc") : NULL;
    if (proc == NULL)
        return 0;
    (void)snprintf(wanted, sizeof(wanted), "socket:[%lu]", inode);
    for (const struct dirent *d = readdir(proc); d != NULL && pid == 0; d = readdir(proc)) {
        if (!isdigit((unsigned char)d->d_name[0]) || !has_descriptor(d->d_name, wanted))
            continue;
        pid = (int)strtol(d->d_name, NULL, 10);
        read_name(d->d_name, ret_name, name_size);
    }
    (void)closedir(proc);
    return pid;
}
