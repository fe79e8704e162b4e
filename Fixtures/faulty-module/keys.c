/* Making, wrapping and unwrapping keys. */
#include "own.h"
#include <string.h>
#include <sys/random.h>

CK_RV mechanism(CK_MECHANISM_PTR given, CK_MECHANISM *used)
{
  struct control *c = control();
  if (!given) return CKR_ARGUMENTS_BAD;
  *used = *given;
  for (int i = 0; i < c->mechanism_count; i++) {
    struct mechanism_rule *rule = &c->mechanisms[i];
    if (rule->fault == RENUMBER && given->mechanism == rule->as) {
      used->mechanism = rule->type;
      return CKR_OK;
    }
    if (rule->fault != UNLIST && given->mechanism == rule->type) return CKR_MECHANISM_INVALID;
  }
  return CKR_OK;
}

bool is_listed(CK_MECHANISM_TYPE type)
{
  struct control *c = control();
  for (int i = 0; i < c->mechanism_count; i++)
    if (c->mechanisms[i].fault <= UNLIST && c->mechanisms[i].type == type) return false;
  return true;
}

CK_MECHANISM_TYPE listed_as(CK_MECHANISM_TYPE type)
{
  struct control *c = control();
  for (int i = 0; i < c->mechanism_count; i++)
    if (c->mechanisms[i].fault == RENUMBER && c->mechanisms[i].type == type) return c->mechanisms[i].as;
  return type;
}

#define USING_MECHANISM(m) \
  CK_MECHANISM used; \
  CK_RV rv = mechanism(m, &used); \
  if (rv != CKR_OK) return rv;
#define USING_TEMPLATE(function, t, n, copy) \
  CK_ATTRIBUTE copy[n + MOST]; \
  CK_ULONG copy##_count = n; \
  if ((rv = template(function, t, &copy##_count, copy)) != CKR_OK) return rv;

CK_RV own_C_CreateObject(CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR t, CK_ULONG n, CK_OBJECT_HANDLE_PTR o)
{
  CK_RV rv;
  USING_TEMPLATE(F_C_CreateObject, t, n, copy)
  return real->C_CreateObject(s, copy, copy_count, o);
}

CK_RV own_C_CopyObject(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE from, CK_ATTRIBUTE_PTR t, CK_ULONG n,
                       CK_OBJECT_HANDLE_PTR o)
{
  CK_RV rv;
  USING_TEMPLATE(F_C_CopyObject, t, n, copy)
  return real->C_CopyObject(s, real_handle(from), copy, copy_count, o);
}

CK_RV own_C_SetAttributeValue(CK_SESSION_HANDLE s, CK_OBJECT_HANDLE o, CK_ATTRIBUTE_PTR t, CK_ULONG n)
{
  CK_RV rv;
  USING_TEMPLATE(F_C_SetAttributeValue, t, n, copy)
  bool is_part = control()->one_attribute && copy_count > 1;
  rv = real->C_SetAttributeValue(s, real_handle(o), copy, is_part ? 1 : copy_count);
  return rv == CKR_OK && is_part ? CKR_TEMPLATE_INCONSISTENT : rv;
}

CK_RV own_C_GenerateKey(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR t, CK_ULONG n,
                        CK_OBJECT_HANDLE_PTR o)
{
  USING_MECHANISM(m)
  USING_TEMPLATE(F_C_GenerateKey, t, n, copy)
  return real->C_GenerateKey(s, &used, copy, copy_count, o);
}

CK_RV own_C_GenerateKeyPair(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_ATTRIBUTE_PTR t1, CK_ULONG n1,
                            CK_ATTRIBUTE_PTR t2, CK_ULONG n2, CK_OBJECT_HANDLE_PTR o1, CK_OBJECT_HANDLE_PTR o2)
{
  USING_MECHANISM(m)
  return real->C_GenerateKeyPair(s, &used, t1, n1, t2, n2, o1, o2);
}

CK_RV own_C_DeriveKey(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key, CK_ATTRIBUTE_PTR t, CK_ULONG n,
                      CK_OBJECT_HANDLE_PTR o)
{
  USING_MECHANISM(m)
  USING_TEMPLATE(F_C_DeriveKey, t, n, copy)
  return real->C_DeriveKey(s, &used, real_handle(key), copy, copy_count, o);
}

CK_RV own_C_WrapKey(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE kek, CK_OBJECT_HANDLE key,
                    CK_BYTE_PTR wrapped, CK_ULONG_PTR length)
{
  USING_MECHANISM(m)
  CK_ULONG room = *length;
  rv = real->C_WrapKey(s, &used, real_handle(kek), real_handle(key), wrapped, length);
  return put_out(rv, wrapped, room, length);
}

/* Another key of 32 bytes in the place of the one that was unwrapped. */
static CK_RV replace(CK_SESSION_HANDLE s, CK_ATTRIBUTE_PTR t, CK_ULONG n, CK_OBJECT_HANDLE_PTR o)
{
  CK_BYTE value[32];
  CK_ATTRIBUTE all[n + 1];
  CK_ULONG count = 0;
  if (getrandom(value, sizeof value, 0) != sizeof value) return CKR_GENERAL_ERROR;
  for (CK_ULONG i = 0; i < n; i++)
    if (t[i].type != CKA_VALUE_LEN) all[count++] = t[i];
  all[count++] = (CK_ATTRIBUTE){CKA_VALUE, value, sizeof value};
  real->C_DestroyObject(s, *o);
  return real->C_CreateObject(s, all, count, o);
}

CK_RV own_C_UnwrapKey(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE kek, CK_BYTE_PTR wrapped,
                      CK_ULONG length, CK_ATTRIBUTE_PTR t, CK_ULONG n, CK_OBJECT_HANDLE_PTR o)
{
  USING_MECHANISM(m)
  USING_TEMPLATE(F_C_UnwrapKey, t, n, copy)
  rv = real->C_UnwrapKey(s, &used, real_handle(kek), wrapped, length, copy, copy_count, o);
  return rv == CKR_OK && wrong_key ? replace(s, copy, copy_count, o) : rv;
}

CK_RV own_C_DigestInit(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m)
{
  USING_MECHANISM(m)
  return real->C_DigestInit(s, &used);
}

CK_RV own_C_SignInit(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key)
{
  USING_MECHANISM(m)
  return real->C_SignInit(s, &used, real_handle(key));
}

CK_RV own_C_VerifyInit(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key)
{
  USING_MECHANISM(m)
  return real->C_VerifyInit(s, &used, real_handle(key));
}
