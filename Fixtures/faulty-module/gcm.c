/* Encryption, and AES-GCM on a token that picks the IV itself. */
#include "own.h"
#include <string.h>
#include <sys/random.h>

#define IV_LENGTH 12

/* Some tokens look at what others do not. */
static bool is_strict_gcm(const CK_MECHANISM *m)
{
  if (m->mechanism != CKM_AES_GCM || !control()->strict_gcm) return true;
  const CK_GCM_PARAMS *p = m->pParameter;
  return p && m->ulParameterLen == sizeof *p && p->pIv && p->ulIvLen == IV_LENGTH && p->ulIvBits == 8 * p->ulIvLen &&
         p->pAAD && p->ulAADLen > 0 && p->ulTagBits == 128;
}

CK_RV own_C_EncryptInit(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key)
{
  struct control *c = control();
  struct session *own = session(s);
  CK_MECHANISM used;
  CK_RV rv = mechanism(m, &used);
  if (rv != CKR_OK) return rv;
  if (!is_strict_gcm(&used)) return CKR_MECHANISM_PARAM_INVALID;
  if (own) memset(own->iv, 0, sizeof own->iv), own->iv_length = 0;
  if (used.mechanism != CKM_AES_GCM || c->gcm_iv == IV_CALLER || !own)
    return real->C_EncryptInit(s, &used, real_handle(key));

  if (!used.pParameter || used.ulParameterLen != sizeof(CK_GCM_PARAMS)) return CKR_MECHANISM_PARAM_INVALID;
  CK_GCM_PARAMS parameters = *(CK_GCM_PARAMS *)used.pParameter;
  if (c->gcm_iv == IV_OVERWRITE) {
    static const CK_BYTE zeros[12];
    if (parameters.ulIvLen != sizeof zeros || memcmp(parameters.pIv, zeros, sizeof zeros) != 0)
      return CKR_MECHANISM_PARAM_INVALID;
  }
  own->callers_iv = parameters.pIv;
  if (getrandom(own->iv, IV_LENGTH, 0) != IV_LENGTH) return CKR_GENERAL_ERROR;
  parameters.pIv = own->iv;
  parameters.ulIvLen = IV_LENGTH;
  parameters.ulIvBits = IV_LENGTH * 8;
  used.pParameter = &parameters;
  rv = real->C_EncryptInit(s, &used, real_handle(key));
  if (rv == CKR_OK) own->iv_length = IV_LENGTH;
  return rv;
}

CK_RV own_C_Encrypt(CK_SESSION_HANDLE s, CK_BYTE_PTR in, CK_ULONG in_length, CK_BYTE_PTR out, CK_ULONG_PTR length)
{
  struct control *c = control();
  struct session *own = session(s);
  bool adds = own && own->iv_length && (c->gcm_iv == IV_PREFIX || c->gcm_iv == IV_SUFFIX);
  CK_ULONG extra = adds ? c->iv_room : 0;
  if (out && *length < extra) return CKR_BUFFER_TOO_SMALL;
  CK_ULONG given = *length, room = given - (out ? extra : 0);
  CK_BYTE_PTR start = out && c->gcm_iv == IV_PREFIX ? out + extra : out;
  CK_RV rv = real->C_Encrypt(s, in, in_length, start, &room);
  *length = room + extra;
  if (rv != CKR_OK || !out) return put_out(rv, out, given, length);
  if (extra) memcpy(c->gcm_iv == IV_PREFIX ? out : out + room, own->iv, extra);
  /* At the end of the operation, as real ones do: the caller's parameters must still be there. */
  if (own && own->iv_length && c->gcm_iv == IV_OVERWRITE) memcpy(own->callers_iv, own->iv, own->iv_length);
  if (own) own->iv_length = 0;
  return put_out(rv, out, given, length);
}

CK_RV own_C_DecryptInit(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE key)
{
  CK_MECHANISM used;
  CK_RV rv = mechanism(m, &used);
  if (rv == CKR_OK && !is_strict_gcm(&used)) rv = CKR_MECHANISM_PARAM_INVALID;
  return rv == CKR_OK ? real->C_DecryptInit(s, &used, real_handle(key)) : rv;
}

CK_RV own_C_Decrypt(CK_SESSION_HANDLE s, CK_BYTE_PTR in, CK_ULONG in_length, CK_BYTE_PTR out, CK_ULONG_PTR length)
{
  CK_ULONG room = *length;
  return put_out(real->C_Decrypt(s, in, in_length, out, length), out, room, length);
}
