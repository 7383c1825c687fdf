/* A program with a fault that the sanitizer of its build must report: a data race between two
 * threads, or a read behind the end of a block. It shows that silence elsewhere means something. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

static int shared;

static void *increment(void *arg)
{
    int *counter = arg;
    for (int i = 0; i < 1000; i++)
        (*counter)++;
    return NULL;
}

static void race(void)
{
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) {
        if (pthread_create(&threads[i], NULL, increment, &shared) != 0)
            abort();
    }
    for (int i = 0; i < 2; i++)
        (void)pthread_join(threads[i], NULL);
}

static void read_behind(void)
{
    volatile size_t size = 16;
    char *block = calloc(1, size);
    if (block != NULL)
        (void)printf("%d\n", ((volatile char *)block)[size]);
    free(block);
}

int main(void)
{
    race();
    read_behind();
    (void)printf("%d\n", shared);
    return EXIT_SUCCESS;
}
