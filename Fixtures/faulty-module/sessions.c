/* The sessions that are open. */
#include "faulty.h"
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#define ROOM 4096
static struct session sessions[ROOM];
static CK_ULONG count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* For whoever looks for sessions that were left open. */
static void say_count(void)
{
  const char *path = control()->sessions;
  FILE *file = *path ? fopen(path, "w") : NULL;
  if (!file) return;
  fprintf(file, "%lu\n", count);
  fclose(file);
}

CK_ULONG session_count(void)
{
  pthread_mutex_lock(&lock);
  CK_ULONG result = count;
  pthread_mutex_unlock(&lock);
  return result;
}

void session_opened(CK_SESSION_HANDLE handle, CK_SLOT_ID slot)
{
  pthread_mutex_lock(&lock);
  for (CK_ULONG i = 0; i < ROOM; i++) {
    if (sessions[i].handle) continue;
    sessions[i] = (struct session){.handle = handle, .slot = slot};
    count++;
    break;
  }
  say_count();
  pthread_mutex_unlock(&lock);
}

static void close_if(CK_SESSION_HANDLE handle, CK_SLOT_ID slot)
{
  pthread_mutex_lock(&lock);
  for (CK_ULONG i = 0; i < ROOM; i++) {
    if (!sessions[i].handle) continue;
    if (handle ? sessions[i].handle != handle : slot != CK_UNAVAILABLE_INFORMATION && sessions[i].slot != slot)
      continue;
    sessions[i].handle = 0;
    count--;
  }
  say_count();
  pthread_mutex_unlock(&lock);
}

void session_closed(CK_SESSION_HANDLE handle) { close_if(handle, 0); }
void sessions_closed(CK_SLOT_ID slot) { close_if(0, slot); }

/* It stays where it is until it is closed, and belongs to one caller. */
struct session *session(CK_SESSION_HANDLE handle)
{
  struct session *found = NULL;
  pthread_mutex_lock(&lock);
  for (CK_ULONG i = 0; i < ROOM && !found; i++)
    if (handle && sessions[i].handle == handle) found = &sessions[i];
  pthread_mutex_unlock(&lock);
  return found;
}

/* For each slot with sessions once. */
static void end_all(bool remember)
{
  for (CK_ULONG i = 0; i < ROOM; i++) {
    if (!sessions[i].handle) continue;
    CK_SLOT_ID slot = sessions[i].slot;
    if (remember) remember_handles(slot);
    real->C_CloseAllSessions(slot);
    sessions_closed(slot);
  }
}

void drop_sessions(void) { end_all(false); }
void reset(void) { end_all(true); }

void log_out(void)
{
  for (CK_ULONG i = 0; i < ROOM; i++)
    if (sessions[i].handle) real->C_Logout(sessions[i].handle);
}
