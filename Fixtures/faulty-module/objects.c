/* Object handles that are swapped by a reset, and attributes. */
#include "own.h"
#include <pthread.h>
#include <string.h>

#define ROOM 1024
/* A token key: what the application calls it, and what the real module does. `id` tells that it is the same. */
struct key {
  CK_OBJECT_HANDLE given, real;
  CK_BYTE id[64];
  CK_ULONG id_length;
};
static struct key before[ROOM], swapped[ROOM];
static CK_ULONG before_count, swapped_count;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

CK_OBJECT_HANDLE real_handle(CK_OBJECT_HANDLE handle)
{
  pthread_mutex_lock(&lock);
  for (CK_ULONG i = 0; i < swapped_count; i++)
    if (swapped[i].given == handle) {
      handle = swapped[i].real;
      break;
    }
  pthread_mutex_unlock(&lock);
  return handle;
}

CK_OBJECT_HANDLE given_handle(CK_OBJECT_HANDLE handle)
{
  pthread_mutex_lock(&lock);
  for (CK_ULONG i = 0; i < swapped_count; i++)
    if (swapped[i].real == handle) {
      handle = swapped[i].given;
      break;
    }
  pthread_mutex_unlock(&lock);
  return handle;
}

void forget_handles(void)
{
  pthread_mutex_lock(&lock);
  before_count = swapped_count = 0;
  pthread_mutex_unlock(&lock);
}

static CK_ULONG token_keys(CK_SESSION_HANDLE s, struct key *keys)
{
  CK_OBJECT_CLASS class = CKO_SECRET_KEY;
  CK_BBOOL yes = CK_TRUE;
  CK_ATTRIBUTE wanted[] = {{CKA_CLASS, &class, sizeof class}, {CKA_TOKEN, &yes, 1}};
  CK_OBJECT_HANDLE found[ROOM];
  CK_ULONG count = 0;
  if (real->C_FindObjectsInit(s, wanted, 2) != CKR_OK) return 0;
  if (real->C_FindObjects(s, found, ROOM, &count) != CKR_OK) count = 0;
  real->C_FindObjectsFinal(s);
  for (CK_ULONG i = 0; i < count; i++) {
    keys[i] = (struct key){.given = given_handle(found[i]), .real = found[i]};
    CK_ATTRIBUTE id = {CKA_ID, keys[i].id, sizeof keys[i].id};
    if (real->C_GetAttributeValue(s, found[i], &id, 1) == CKR_OK) keys[i].id_length = id.ulValueLen;
  }
  return count;
}

/* Before a reset. */
void remember_handles(CK_SLOT_ID slot)
{
  CK_SESSION_HANDLE s;
  if (real->C_OpenSession(slot, CKF_SERIAL_SESSION, NULL, NULL, &s) != CKR_OK) return;
  before_count = token_keys(s, before);
  real->C_CloseSession(s);
}

/* After the login that follows a reset: each key gets the handle that its neighbour had. */
void swap_handles(CK_SESSION_HANDLE s)
{
  struct key now[ROOM];
  if (before_count < 2) return;
  CK_ULONG count = token_keys(s, now);
  pthread_mutex_lock(&lock);
  swapped_count = 0;
  for (CK_ULONG i = 0; i < count; i++)
    for (CK_ULONG k = 0; k < before_count; k++) {
      if (now[i].id_length != before[k].id_length || memcmp(now[i].id, before[k].id, now[i].id_length) != 0) continue;
      swapped[swapped_count] = now[i];
      swapped[swapped_count++].given = before[(k + 1) % before_count].given;
      break;
    }
  before_count = 0;
  pthread_mutex_unlock(&lock);
}

static bool holds(const struct attribute_rule *rule, const CK_ATTRIBUTE *a)
{
  if (a->type != rule->type) return false;
  if (!rule->has_value) return true;
  if (rule->length == 0) return a->ulValueLen == 0;
  return a->ulValueLen == 1 && *(CK_BBOOL *)a->pValue == rule->value;
}

CK_RV template(enum function function, CK_ATTRIBUTE_PTR given, CK_ULONG *count, CK_ATTRIBUTE_PTR copy)
{
  struct control *c = control();
  if (*count) memcpy(copy, given, *count * sizeof *given);
  for (int i = 0; i < c->attribute_count; i++) {
    struct attribute_rule *rule = &c->attributes[i];
    if (rule->fault == SAY || (rule->function != F_ANY && rule->function != function)) continue;
    /* A change of one attribute need not hold the others. */
    if (rule->fault != REFUSE && rule->function == F_ANY && function == F_C_SetAttributeValue) continue;
    CK_ATTRIBUTE *there = NULL;
    bool matches = false;
    for (CK_ULONG k = 0; k < *count; k++) {
      if (copy[k].type == rule->type) there = &copy[k];
      matches = matches || holds(rule, &copy[k]);
    }
    if (rule->fault == REFUSE && matches) return rule->rv;
    if (rule->fault == REQUIRE && !matches) return rule->rv;
    if (rule->fault == MAKE) *(there ? there : &copy[(*count)++]) = (CK_ATTRIBUTE){rule->type, &rule->value, 1};
  }
  return CKR_OK;
}

CK_RV own_C_GetAttributeValue(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR t, CK_ULONG n)
{
  struct control *c = control();
  CK_RV rv = real->C_GetAttributeValue(s, real_handle(o), t, n);
  for (int i = 0; i < c->attribute_count; i++)
    for (CK_ULONG k = 0; k < n && c->attributes[i].fault == SAY; k++)
      if (t[k].type == c->attributes[i].type && t[k].pValue && t[k].ulValueLen == 1)
        *(CK_BBOOL *)t[k].pValue = c->attributes[i].value;
  return rv;
}

CK_RV own_C_FindObjects(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE_PTR objects, CK_ULONG most, CK_ULONG_PTR count)
{
  CK_ULONG portion = control()->portion;
  CK_RV rv = real->C_FindObjects(s, objects, portion && portion < most ? portion : most, count);
  for (CK_ULONG i = 0; rv == CKR_OK && i < *count; i++) objects[i] = given_handle(objects[i]);
  return rv;
}
