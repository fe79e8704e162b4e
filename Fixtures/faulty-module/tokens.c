/* Slots, tokens, mechanism lists and the PIN. */
#include "own.h"
#include <stdio.h>
#include <string.h>

static CK_SLOT_ID real_slot(CK_SLOT_ID slot) { return slot - control()->slot_offset; }
#define NEEDS_SLOT(slot) \
  if ((slot) < control()->slot_offset) return CKR_SLOT_ID_INVALID;
/* The first in the list, when there is one. */
#define EMPTY_SLOT ((CK_SLOT_ID)-2)
#define IS_EMPTY(slot) (control()->empty_slot && (slot) == EMPTY_SLOT)
#define NEEDS_TOKEN(slot) \
  NEEDS_SLOT(slot) \
  if (control()->absent || IS_EMPTY(slot)) return CKR_TOKEN_NOT_PRESENT;

CK_RV own_C_GetSlotList(CK_BBOOL present, CK_SLOT_ID_PTR slots, CK_ULONG_PTR count)
{
  if (present && control()->absent) return *count = 0, CKR_OK;
  CK_ULONG extra = control()->empty_slot, rest = slots && *count > extra ? *count - extra : 0;
  CK_RV rv = real->C_GetSlotList(present, slots ? slots + extra : NULL, &rest);
  *count = rest + extra;
  if (rv != CKR_OK || !slots) return rv;
  for (CK_ULONG i = extra; i < *count; i++) slots[i] += control()->slot_offset;
  if (extra) slots[0] = EMPTY_SLOT;
  return rv;
}

CK_RV own_C_GetSlotInfo(CK_SLOT_ID slot, CK_SLOT_INFO_PTR info)
{
  NEEDS_SLOT(slot)
  if (IS_EMPTY(slot)) return *info = (CK_SLOT_INFO){0}, CKR_OK;
  CK_RV rv = real->C_GetSlotInfo(real_slot(slot), info);
  if (rv == CKR_OK && control()->absent) info->flags &= ~(CK_FLAGS)CKF_TOKEN_PRESENT;
  return rv;
}

/* Wrong PINs are counted in a file beside the control file: a token remembers them when the program ends. */
static FILE *pin_file(const char *mode)
{
  char path[4200];
  snprintf(path, sizeof path, "%s.wrong-pins", control_path());
  return fopen(path, mode);
}

static CK_ULONG wrong_pins(void)
{
  CK_ULONG count = 0;
  FILE *file = pin_file("r");
  if (file && fscanf(file, "%lu", &count) != 1) count = 0;
  if (file) fclose(file);
  return count;
}

static void set_wrong_pins(CK_ULONG count)
{
  FILE *file = pin_file("w");
  if (!file) return;
  fprintf(file, "%lu\n", count);
  fclose(file);
}

CK_RV own_C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
  NEEDS_TOKEN(slot)
  struct control *c = control();
  CK_RV rv = real->C_GetTokenInfo(real_slot(slot), info);
  if (rv != CKR_OK) return rv;
  if (*c->serial && info->flags & CKF_TOKEN_INITIALIZED) {
    memset(info->serialNumber, ' ', sizeof info->serialNumber);
    memcpy(info->serialNumber, c->serial, strlen(c->serial));
  }
  if (c->firmware[0] >= 0) info->firmwareVersion = (CK_VERSION){c->firmware[0], c->firmware[1]};
  if (c->has_pin_lengths) info->ulMinPinLen = c->pin_lengths[0], info->ulMaxPinLen = c->pin_lengths[1];
  if (c->silent_pin) info->flags &= ~(CK_FLAGS)(CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED);
  if (!c->pin_tries || c->silent_pin) return rv;
  CK_ULONG wrong = wrong_pins();
  if (wrong > 0) info->flags |= CKF_USER_PIN_COUNT_LOW;
  if (wrong + 1 == c->pin_tries) info->flags |= CKF_USER_PIN_FINAL_TRY;
  if (wrong >= c->pin_tries) info->flags |= CKF_USER_PIN_LOCKED;
  return rv;
}

CK_RV own_C_GetMechanismList(CK_SLOT_ID slot, CK_MECHANISM_TYPE_PTR types, CK_ULONG_PTR count)
{
  NEEDS_TOKEN(slot)
  CK_MECHANISM_TYPE all[1024];
  CK_ULONG all_count = 1024, kept = 0;
  CK_RV rv = real->C_GetMechanismList(real_slot(slot), all, &all_count);
  if (rv != CKR_OK) return rv;
  for (CK_ULONG i = 0; i < all_count; i++)
    if (is_listed(all[i])) all[kept++] = listed_as(all[i]);
  CK_ULONG room = *count;
  *count = kept;
  if (!types) return CKR_OK;
  if (room < kept) return CKR_BUFFER_TOO_SMALL;
  memcpy(types, all, kept * sizeof *all);
  return CKR_OK;
}

CK_RV own_C_GetMechanismInfo(CK_SLOT_ID slot, CK_MECHANISM_TYPE type, CK_MECHANISM_INFO_PTR info)
{
  NEEDS_TOKEN(slot)
  CK_MECHANISM given = {type, NULL, 0}, used = given;
  if (!is_listed(type)) return CKR_MECHANISM_INVALID;
  CK_RV rv = mechanism(&given, &used);
  if (rv != CKR_OK && listed_as(type) != type) return rv;
  memset(info, 0, sizeof *info); /* SoftHSM ORs into it */
  return real->C_GetMechanismInfo(real_slot(slot), used.mechanism, info);
}

CK_RV own_C_InitToken(CK_SLOT_ID slot, CK_UTF8CHAR_PTR pin, CK_ULONG length, CK_UTF8CHAR_PTR label)
{
  NEEDS_TOKEN(slot)
  return real->C_InitToken(real_slot(slot), pin, length, label);
}

CK_RV own_C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, CK_VOID_PTR data, CK_NOTIFY notify,
                        CK_SESSION_HANDLE_PTR handle)
{
  NEEDS_TOKEN(slot)
  if (control()->read_write_only && !(flags & CKF_RW_SESSION)) return CKR_FUNCTION_FAILED;
  CK_ULONG limit = control()->session_limit;
  if (limit && session_count() >= limit) return CKR_SESSION_COUNT;
  CK_RV rv = real->C_OpenSession(real_slot(slot), flags, data, notify, handle);
  if (rv == CKR_OK) session_opened(*handle, real_slot(slot));
  return rv;
}

CK_RV own_C_CloseSession(CK_SESSION_HANDLE handle)
{
  CK_RV rv = real->C_CloseSession(handle);
  if (rv == CKR_OK) session_closed(handle);
  return rv;
}

CK_RV own_C_CloseAllSessions(CK_SLOT_ID slot)
{
  NEEDS_TOKEN(slot)
  CK_RV rv = real->C_CloseAllSessions(real_slot(slot));
  if (rv == CKR_OK) sessions_closed(real_slot(slot));
  return rv;
}

CK_RV own_C_GetSessionInfo(CK_SESSION_HANDLE handle, CK_SESSION_INFO_PTR info)
{
  CK_RV rv = real->C_GetSessionInfo(handle, info);
  if (rv == CKR_OK) info->slotID += control()->slot_offset;
  return rv;
}

CK_RV own_C_Login(CK_SESSION_HANDLE s, CK_USER_TYPE user, CK_UTF8CHAR_PTR pin, CK_ULONG length)
{
  struct control *c = control();
  CK_ULONG tries = user == CKU_USER ? c->pin_tries : 0;
  CK_ULONG wrong = tries ? wrong_pins() : 0;
  if (tries && wrong >= tries && !c->silent_pin) return CKR_PIN_LOCKED;
  if (c->pin_lengths[1] && (length < c->pin_lengths[0] || length > c->pin_lengths[1])) return CKR_PIN_LEN_RANGE;
  CK_RV rv = real->C_Login(s, user, pin, length);
  if (tries && wrong >= tries && rv == CKR_OK) return real->C_Logout(s), CKR_PIN_LOCKED;
  if (tries && rv == CKR_PIN_INCORRECT) set_wrong_pins(wrong + 1);
  if (tries && rv == CKR_OK) set_wrong_pins(0);
  if (rv == CKR_OK && user == CKU_USER) swap_handles(s);
  return rv;
}

CK_RV own_C_Finalize(CK_VOID_PTR reserved)
{
  CK_RV rv = real->C_Finalize(reserved);
  if (rv != CKR_OK) return rv;
  forget_handles();
  sessions_closed(CK_UNAVAILABLE_INFORMATION);
  return rv;
}
