/* LD_PRELOAD: kills the process before its KILL_AT-th step that makes something durable, names or removes a file. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static void step(void) {
  static atomic_int count;
  const char *at = getenv("KILL_AT");
  if (at != NULL && atomic_fetch_add(&count, 1) + 1 == atoi(at)) kill(getpid(), SIGKILL);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int descriptor) { step(); return REAL(fsync)(descriptor); }
int unlink(const char *path) { step(); return REAL(unlink)(path); }
int rename(const char *from, const char *to) { step(); return REAL(rename)(from, to); }
int linkat(int a, const char *from, int b, const char *to, int flags) { step(); return REAL(linkat)(a, from, b, to, flags); }
int mkdir(const char *path, __mode_t mode) { step(); return REAL(mkdir)(path, mode); }
