#include <openssl/crypto.h>

// By default libcrypto frees its state in exit(), under threads that still use it, or that end just then and free
// their own part: a process that had done all its work dies of signal 11 (openssl#16778). The first call decides,
// so it is made before main. What is not freed ends with the process.
__attribute__((constructor)) static void keep_state_at_exit(void) {
  OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, NULL);
}
