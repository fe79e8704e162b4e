/* The cipher's own part of a field: AES-256-GCM by EVP with a context that is reused, one IV of random bytes drawn in
 * blocks, as much associated data as a field has. Prints nanoseconds an operation, by threads.
 *   cc -O2 -pthread -o evpfloor evpfloor.c -lcrypto && ./evpfloor THREADS SECONDS PLAINTEXT AAD */
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double seconds, ns[2][64];
static int plaintext, aad;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static unsigned char *iv_of(unsigned char *block, size_t *left) {
    if (*left < 12) {
        if (RAND_bytes(block, 4096) != 1) abort();
        *left = 4096;
    }
    *left -= 12;
    return block + *left;
}

static void *run(void *argument) {
    long me = (long)argument;
    unsigned char key[32], block[4096], *data = calloc(1, plaintext + aad + 64), *out = malloc(plaintext + 16),
                  *back = malloc(plaintext + 16), iv[12];
    size_t left = 0;
    int n;
    RAND_bytes(key, 32);
    EVP_CIPHER *gcm = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
    EVP_CIPHER_CTX *sealing = EVP_CIPHER_CTX_new(), *opening = EVP_CIPHER_CTX_new();
    if (!EVP_EncryptInit_ex2(sealing, gcm, key, NULL, NULL) || !EVP_DecryptInit_ex2(opening, gcm, key, NULL, NULL)) abort();
    for (int open = 0; open < 2; open++) {
        double start = now(), end = start + seconds, t;
        long count = 0;
        do {
            for (int i = 0; i < 1000; i++, count++) {
                int ok;
                if (!open || count == 0) {
                    memcpy(iv, iv_of(block, &left), 12);
                    ok = EVP_EncryptInit_ex2(sealing, NULL, NULL, iv, NULL) &&
                         (aad == 0 || EVP_EncryptUpdate(sealing, NULL, &n, data, aad)) &&
                         EVP_EncryptUpdate(sealing, out, &n, data, plaintext) &&
                         EVP_EncryptFinal_ex(sealing, out + n, &n) &&
                         EVP_CIPHER_CTX_ctrl(sealing, EVP_CTRL_AEAD_GET_TAG, 16, out + plaintext);
                    if (!ok) abort();
                }
                if (open) {
                    ok = EVP_DecryptInit_ex2(opening, NULL, NULL, iv, NULL) &&
                         (aad == 0 || EVP_DecryptUpdate(opening, NULL, &n, data, aad)) &&
                         EVP_DecryptUpdate(opening, back, &n, out, plaintext) &&
                         EVP_CIPHER_CTX_ctrl(opening, EVP_CTRL_AEAD_SET_TAG, 16, out + plaintext) &&
                         EVP_DecryptFinal_ex(opening, back + n, &n);
                    if (!ok) abort();
                }
            }
            t = now();
        } while (t < end);
        ns[open][me] = (t - start) / count * 1e9;
    }
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 5) return 2;
    int threads = atoi(argv[1]);
    if (threads < 1 || threads > 64) return 2;
    seconds = atof(argv[2]);
    plaintext = atoi(argv[3]);
    aad = atoi(argv[4]);
    pthread_t all[64];
    for (long i = 0; i < threads; i++) pthread_create(&all[i], NULL, run, (void *)i);
    for (int i = 0; i < threads; i++) pthread_join(all[i], NULL);
    double sum[2] = {0, 0};
    for (int i = 0; i < threads; i++) { sum[0] += ns[0][i]; sum[1] += ns[1][i]; }
    printf("floor threads %d seal %.0f open %.0f\n", threads, sum[0] / threads, sum[1] / threads);
}
