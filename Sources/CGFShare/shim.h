#pragma once
#include <libgfshare.h>
#include <openssl/rand.h>
#include <stdlib.h>

/* gfshare_fill_rand is NULL until somebody sets it. Without randomness nothing may go on. */
static inline void strongroom_fill_random(unsigned char *buffer, unsigned int count) {
    if (RAND_priv_bytes(buffer, (int)count) != 1) abort();
}
static inline void strongroom_gfshare_prepare(void) { gfshare_fill_rand = strongroom_fill_random; }
