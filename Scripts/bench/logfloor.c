/* What a log cannot do without: a line of 370 bytes is numbered and written under a lock, and its leaf and one node
 * of the tree (RFC 6962) are hashed, the node under a lock. Prints nanoseconds an event, wall clock and CPU.
 *   cc -O2 -pthread -o logfloor logfloor.c -lcrypto && ./logfloor FOLDER EVENTS THREADS [signed] */
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { LINE = 370 };
static long each;
static int file, hashes;
/* Each on lines of memory of its own. */
static struct { _Alignas(128) atomic_int taken; _Alignas(128) long n; } turn, tree;
static unsigned char frontier[32];

static void take(atomic_int *lock) {
    int none = 0;
    while (!atomic_compare_exchange_strong(lock, &none, 1)) {
        none = 0;
        for (int i = 0; i < 4; i++) __builtin_ia32_pause();
    }
}

static void hash(EVP_MD_CTX *context, unsigned char prefix, const void *a, size_t m, const void *b, size_t n, unsigned char *out) {
    if (!EVP_DigestInit_ex2(context, NULL, NULL) || !EVP_DigestUpdate(context, &prefix, 1) ||
        !EVP_DigestUpdate(context, a, m) || !EVP_DigestUpdate(context, b, n) || !EVP_DigestFinal_ex(context, out, NULL)) abort();
}

static void *run(void *argument) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    if (!EVP_DigestInit_ex2(context, EVP_sha256(), NULL)) abort();
    char line[LINE];
    unsigned char leaf[32];
    (void)argument;
    for (long i = 0; i < each; i++) {
        memset(line, 'a' + i % 26, LINE);
        line[LINE - 1] = '\n';
        take(&turn.taken);
        snprintf(line, 21, "%020ld", turn.n);
        line[20] = ' ';
        if (pwrite(file, line, LINE, LINE * turn.n++) != LINE) abort();
        atomic_store(&turn.taken, 0);
        if (!hashes) continue;
        hash(context, 0, line, LINE - 1, "", 0, leaf);
        take(&tree.taken);
        hash(context, 1, frontier, 32, leaf, 32, frontier);
        atomic_store(&tree.taken, 0);
    }
    EVP_MD_CTX_free(context);
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    char path[4096];
    snprintf(path, sizeof path, "%s/floor", argv[1]);
    long events = atol(argv[2]), threads = atol(argv[3]);
    hashes = argc > 4;
    each = events / threads;
    file = open(path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
    if (file < 0) abort();
    pthread_t all[64];
    struct timespec a, b;
    clock_gettime(CLOCK_MONOTONIC, &a);
    for (long i = 0; i < threads; i++) pthread_create(&all[i], NULL, run, NULL);
    for (long i = 0; i < threads; i++) pthread_join(all[i], NULL);
    clock_gettime(CLOCK_MONOTONIC, &b);
    struct rusage use;
    getrusage(RUSAGE_SELF, &use);
    double wall = (b.tv_sec - a.tv_sec) * 1e9 + (b.tv_nsec - a.tv_nsec);
    double cpu = (use.ru_utime.tv_sec + use.ru_stime.tv_sec) * 1e9 + (use.ru_utime.tv_usec + use.ru_stime.tv_usec) * 1e3;
    printf("floor: wall %.0f, cpu %.0f ns per event, %ld threads\n", wall / events, cpu / events, threads);
    unlink(path);
    return 0;
}
