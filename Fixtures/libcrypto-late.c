/* LD_PRELOAD: uses libcrypto when exit() has run all other handlers, as a thread that ends late does. */
#include <dlfcn.h>
#include <stdlib.h>

static void use(void) {
  unsigned char byte[1];
  int (*draw)(unsigned char *, int) = (int (*)(unsigned char *, int))dlsym(RTLD_DEFAULT, "RAND_bytes");
  if (draw == NULL || draw(byte, 1) != 1) abort();
}

/* What is registered first runs last. */
__attribute__((constructor)) static void begin(void) { atexit(use); }
