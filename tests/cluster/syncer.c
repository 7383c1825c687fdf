/* Two lanes write and sync the files of one directory as the server's lanes do, until the disk
 * under them dies: syncer DIRECTORY SEED. Then one line tells how many records of each file were
 * reported durable. Record n of a file is n as ten digits and filler, RECORD_BYTES in all with its
 * newline. */
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/server/sync.h"

enum { RECORD_BYTES = 300, FILES = 7 };

struct lane {
    const char *dir;
    size_t first, count; /* its share of the files */
    unsigned pause_us_max;
    unsigned seed;
    pthread_t thread;
};

static unsigned long
    durable[FILES]; /* each written by its lane alone, read once the lane has ended */

static int open_file(const char *dir, size_t index, dev_t *ret_device, char *path, size_t path_size)
{
    struct stat st;
    (void)snprintf(path, path_size, "%s/f%zu", dir, index);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || fstat(fd, &st) < 0) {
        perror(path);
        exit(2);
    }
    *ret_device = st.st_dev;
    return fd;
}

static bool write_record(int fd, unsigned long n)
{
    char record[RECORD_BYTES + 1];
    (void)snprintf(record, sizeof(record), "%010lu%*s\n", n, RECORD_BYTES - 11, "");
    return pwrite(fd, record, RECORD_BYTES, (off_t)(n * RECORD_BYTES)) == RECORD_BYTES;
}

static void *lane_main(void *arg)
{
    struct lane *l = arg;
    struct srv_sync sync;
    int fds[FILES] = {0};
    dev_t device = 0;
    char path[4096];
    bool sound = true;
    srv_sync_init(&sync);
    for (size_t i = l->first; i < l->first + l->count; i++)
        fds[i] = open_file(l->dir, i, &device, path, sizeof(path));
    while (sound) {
        struct srv_sync_file round[FILES];
        size_t which[FILES];
        size_t n = 0;
        for (size_t i = l->first; i < l->first + l->count; i++) {
            if (l->count > 1 && rand_r(&l->seed) % 3 != 0)
                continue;
            if (!write_record(fds[i], durable[i])) {
                sound = false;
                continue;
            }
            which[n] = i;
            round[n++] = (struct srv_sync_file){.fd = fds[i], .device = device};
        }
        if (n > 0)
            srv_sync_files(&sync, round, n, path);
        for (size_t k = 0; k < n; k++) {
            sound = sound && round[k].result == 0;
            durable[which[k]] += round[k].result == 0;
        }
        (void)usleep(rand_r(&l->seed) % l->pause_us_max);
    }
    for (size_t i = l->first; i < l->first + l->count; i++)
        (void)close(fds[i]);
    srv_sync_release(&sync);
    return NULL;
}

int main(int argc, char **argv)
{
    if (argc != 3)
        return 2;
    unsigned seed = (unsigned)strtoul(argv[2], NULL, 10);
    struct lane lanes[] = {
        {.dir = argv[1], .first = 0, .count = FILES - 1, .pause_us_max = 1500, .seed = seed},
        {.dir = argv[1], .first = FILES - 1, .count = 1, .pause_us_max = 3000, .seed = seed + 1},
    };
    for (size_t i = 0; i < 2; i++) {
        if (pthread_create(&lanes[i].thread, NULL, lane_main, &lanes[i]) != 0)
            return 2;
    }
    for (size_t i = 0; i < 2; i++)
        (void)pthread_join(lanes[i].thread, NULL);
    for (size_t i = 0; i < FILES; i++)
        (void)printf("%lu%c", durable[i], i + 1 < FILES ? ' ' : '\n');
    return 0;
}
