/* What happens before a call reaches the real module. */
#define _GNU_SOURCE
#include "faulty.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* Calls share it; what ends other callers' sessions is alone: real modules crash otherwise. */
static pthread_rwlock_t calls = PTHREAD_RWLOCK_WRITER_NONRECURSIVE_INITIALIZER_NP;
_Thread_local bool wrong_key, corrupt, full_length, wrong_size, skipped;
_Thread_local CK_RV finish;

static void wait_ms(CK_ULONG ms)
{
  struct timespec time = {ms / 1000, ms % 1000 * 1000000};
  while (nanosleep(&time, &time) != 0);
}

/* Until the control file changes, when no time is given. */
static void hang(struct control *c, CK_ULONG ms)
{
  for (CK_ULONG waited = 0; ms ? waited < ms : true; waited += 10) {
    if (control() != c) return;
    wait_ms(10);
  }
}

static void happen(enum action action)
{
  pthread_rwlock_wrlock(&calls);
  if (action == DROP_SESSIONS) drop_sessions();
  if (action == RESET) reset();
  if (action == LOGOUT) log_out();
  pthread_rwlock_unlock(&calls);
}

static double percent(void)
{
  static atomic_ulong state = 88172645463325252ul;
  unsigned long x = atomic_fetch_add(&state, 0x9E3779B97F4A7C15ul);
  x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9ul;
  x = (x ^ x >> 27) * 0x94D049BB133111EBul;
  return (x ^ x >> 31) % 1000000 / 10000.0;
}

static bool is_due(struct rule *rule)
{
  double call = (double)(atomic_fetch_add(&rule->calls, 1) + 1);
  switch (rule->when) {
  case ALWAYS: return true;
  case AT: return call == rule->number;
  case EVERY: return (unsigned long)call % (unsigned long)rule->number == 0;
  case FROM: return call >= rule->number;
  case PERCENT: return percent() < rule->number;
  }
  return false;
}

/* What is wished for once, when the file changes; and a token that is gone takes its sessions along. */
static void notice_change(struct control *c)
{
  static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  static struct control *noticed;
  pthread_mutex_lock(&lock);
  bool is_new = c != noticed;
  bool was_absent = noticed && noticed->absent;
  noticed = c;
  if (is_new) {
    for (int i = 0; i < c->now_count; i++) happen(c->now[i]);
    if (c->absent && !was_absent) happen(DROP_SESSIONS);
  }
  pthread_mutex_unlock(&lock);
}

/* Calls that are under way. */
static atomic_int inside;

bool is_alone(void) { return atomic_load(&inside) == 1; }

CK_RV enter(enum function function)
{
  atomic_fetch_add(&inside, 1);
  struct control *c = control();
  if (c->is_broken) return CKR_GENERAL_ERROR;
  notice_change(c);
  if (c->previous) forget_previous(c);
  if (c->missing[function]) return CKR_FUNCTION_NOT_SUPPORTED;
  wrong_key = corrupt = full_length = wrong_size = skipped = false;
  finish = CKR_OK;
  for (int i = 0; i < c->rule_count; i++) {
    struct rule *rule = &c->rules[i];
    if ((rule->function != F_ANY && rule->function != function) || !is_due(rule)) continue;
    switch (rule->action) {
    case FAIL: return rule->argument;
    case DELAY: wait_ms(rule->argument); break;
    case HANG: hang(c, rule->argument); break;
    case WRONG_KEY: wrong_key = true; break;
    case CORRUPT: corrupt = true; break;
    case FULL_LENGTH: full_length = true; break;
    case WRONG_SIZE: wrong_size = true; break;
    case SKIP: skipped = true; break;
    case FINISH: finish = rule->argument; break;
    case ALONE:
      if (!is_alone()) return CKR_FUNCTION_REJECTED;
      break;
    default: happen(rule->action);
    }
  }
  if (c->absent && function >= F_C_InitPIN && function != F_C_OpenSession && function != F_C_CloseAllSessions)
    return CKR_DEVICE_REMOVED;
  pthread_rwlock_rdlock(&calls);
  return CKR_OK;
}

void leave(void) { pthread_rwlock_unlock(&calls); }

CK_RV put_out(CK_RV rv, CK_BYTE_PTR out, CK_ULONG room, CK_ULONG_PTR length)
{
  if (rv != CKR_OK) return rv;
  if (!out && wrong_size) *length /= 2;
  if (out && corrupt && *length) out[*length - 1] ^= 1;
  if (out && full_length) *length = room;
  return rv;
}

static void trace(enum function function, CK_RV rv)
{
  struct control *c = control();
  if (!*c->trace) return;
  FILE *file = fopen(c->trace, "a");
  if (!file) return;
  fprintf(file, "%s %s\n", function_names[function], ckr_name(rv));
  fclose(file);
}

CK_RV traced(enum function function, CK_RV rv)
{
  trace(function, rv);
  atomic_fetch_sub(&inside, 1);
  return rv;
}
