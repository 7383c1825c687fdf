/* Runs a fuzz target without libFuzzer: every file of the given directories, and with --mutate N
 * also N damaged forms of each, always the same ones. So every found input stays a regression test
 * that any compiler runs. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/base/prng.h"

#define INPUT_BYTES_MAX (UINT64_C(1024) * 1024)
#define DAMAGE_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In a block of exactly its size, so that a sanitizer sees the first byte too far. */
static void run_exact(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size != 0 ? size : 1);
    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_mutated(const uint8_t *data, size_t size, struct kb_prng *prng)
{
    uint8_t *copy = kb_memdup(data, size);
    size_t left = size;
    uint64_t damages = 1 + kb_prng_below(prng, DAMAGE_MAX);
    for (uint64_t i = 0; i < damages && left > 0; i++) {
        size_t at = kb_prng_below(prng, left);
        switch (kb_prng_below(prng, 4)) {
        case 0:
            copy[at] ^= (uint8_t)(1U << kb_prng_below(prng, 8));
            break;
        case 1:
            copy[at] = (uint8_t)kb_prng_next(prng);
            break;
        case 2:
            copy[at] = kb_prng_below(prng, 2) != 0 ? 0xff : 0x7f;
            break;
        default:
            left -= kb_prng_below(prng, left < 16 ? left : 16);
            break;
        }
    }
    run_exact(copy, left);
    (void)kb_free(copy);
}

static int run_file(const char *path, unsigned mutations)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        (void)fprintf(stderr, "cannot open %s\n", path);
        return -1;
    }
    uint8_t *data = kb_alloc(INPUT_BYTES_MAX);
    size_t size = fread(data, 1, INPUT_BYTES_MAX, file);
    (void)fclose(file);
    struct kb_prng prng;
    kb_prng_init(&prng, size + 1);
    run_exact(data, size);
    for (unsigned i = 0; i < mutations; i++)
        run_mutated(data, size, &prng);
    (void)kb_free(data);
    return 0;
}

static int run_directory(const char *path, unsigned mutations, unsigned *ret_files)
{
    DIR *dir = opendir(path);
    if (dir == NULL)
        return -1;
    int failed = 0;
    for (const struct dirent *e = readdir(dir); e != NULL; e = readdir(dir)) {
        if (e->d_name[0] == '.')
            continue;
        char *file = kb_asprintf("%s/%s", path, e->d_name);
        failed |= run_file(file, mutations);
        (void)kb_free(file);
        (*ret_files)++;
    }
    (void)closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    unsigned mutations = 0;
    unsigned files = 0;
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--mutate") == 0 && i + 1 < argc)
            mutations = (unsigned)strtoul(argv[++i], NULL, 10);
        else if (run_directory(argv[i], mutations, &files) < 0) {
            files++;
            failed |= run_file(argv[i], mutations);
        }
    }
    (void)printf("%u inputs, %u mutations each\n", files, mutations);
    return failed == 0 && files > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
