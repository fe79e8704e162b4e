/* The function list: every call enters, is made, and leaves. */
#define _GNU_SOURCE
#include "own.h"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

CK_FUNCTION_LIST_PTR real;
static CK_FUNCTION_LIST list;

#define AROUND(name, params, call)             \
  static CK_RV faulty_##name params            \
  {                                            \
    CK_RV rv = enter(F_##name);                \
    if (rv == CKR_OK) {                        \
      rv = skipped ? CKR_OK : call;            \
      leave();                                 \
      if (rv == CKR_OK) rv = finish;           \
    }                                          \
    return traced(F_##name, rv);               \
  }
#define PLAIN(name, params, args) AROUND(name, params, real->name args)
#define OWN(name, params, args) AROUND(name, params, own_##name args)

typedef CK_SESSION_HANDLE S;
typedef CK_OBJECT_HANDLE O;
typedef CK_OBJECT_HANDLE_PTR OP;
typedef CK_ATTRIBUTE_PTR T;
typedef CK_MECHANISM_PTR M;
typedef CK_BYTE_PTR B;
typedef CK_ULONG N;
typedef CK_ULONG_PTR NP;
typedef CK_SLOT_ID L;

PLAIN(C_Initialize, (CK_VOID_PTR a), (a))
OWN(C_Finalize, (CK_VOID_PTR a), (a))
PLAIN(C_GetInfo, (CK_INFO_PTR a), (a))
OWN(C_GetSlotList, (CK_BBOOL a, CK_SLOT_ID_PTR b, NP c), (a, b, c))
OWN(C_GetSlotInfo, (L a, CK_SLOT_INFO_PTR b), (a, b))
OWN(C_GetTokenInfo, (L a, CK_TOKEN_INFO_PTR b), (a, b))
OWN(C_GetMechanismList, (L a, CK_MECHANISM_TYPE_PTR b, NP c), (a, b, c))
OWN(C_GetMechanismInfo, (L a, CK_MECHANISM_TYPE b, CK_MECHANISM_INFO_PTR c), (a, b, c))
OWN(C_InitToken, (L a, CK_UTF8CHAR_PTR b, N c, CK_UTF8CHAR_PTR d), (a, b, c, d))
PLAIN(C_InitPIN, (S s, CK_UTF8CHAR_PTR a, N b), (s, a, b))
PLAIN(C_SetPIN, (S s, CK_UTF8CHAR_PTR a, N b, CK_UTF8CHAR_PTR c, N d), (s, a, b, c, d))
OWN(C_OpenSession, (L a, CK_FLAGS b, CK_VOID_PTR c, CK_NOTIFY d, CK_SESSION_HANDLE_PTR e), (a, b, c, d, e))
OWN(C_CloseSession, (S s), (s))
OWN(C_CloseAllSessions, (L a), (a))
OWN(C_GetSessionInfo, (S s, CK_SESSION_INFO_PTR a), (s, a))
PLAIN(C_GetOperationState, (S s, B a, NP b), (s, a, b))
PLAIN(C_SetOperationState, (S s, B a, N b, O c, O d), (s, a, b, real_handle(c), real_handle(d)))
OWN(C_Login, (S s, CK_USER_TYPE a, CK_UTF8CHAR_PTR b, N c), (s, a, b, c))
PLAIN(C_Logout, (S s), (s))
OWN(C_CreateObject, (S s, T a, N b, OP c), (s, a, b, c))
OWN(C_CopyObject, (S s, O a, T b, N c, OP d), (s, a, b, c, d))
PLAIN(C_DestroyObject, (S s, O a), (s, real_handle(a)))
PLAIN(C_GetObjectSize, (S s, O a, NP b), (s, real_handle(a), b))
OWN(C_GetAttributeValue, (S s, O a, T b, N c), (s, a, b, c))
OWN(C_SetAttributeValue, (S s, O a, T b, N c), (s, a, b, c))
PLAIN(C_FindObjectsInit, (S s, T a, N b), (s, a, b))
OWN(C_FindObjects, (S s, OP a, N b, NP c), (s, a, b, c))
PLAIN(C_FindObjectsFinal, (S s), (s))
OWN(C_EncryptInit, (S s, M a, O b), (s, a, b))
OWN(C_Encrypt, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
PLAIN(C_EncryptUpdate, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
PLAIN(C_EncryptFinal, (S s, B a, NP b), (s, a, b))
OWN(C_DecryptInit, (S s, M a, O b), (s, a, b))
OWN(C_Decrypt, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
PLAIN(C_DecryptUpdate, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
PLAIN(C_DecryptFinal, (S s, B a, NP b), (s, a, b))
OWN(C_DigestInit, (S s, M a), (s, a))
PLAIN(C_Digest, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
PLAIN(C_DigestUpdate, (S s, B a, N b), (s, a, b))
PLAIN(C_DigestKey, (S s, O a), (s, real_handle(a)))
PLAIN(C_DigestFinal, (S s, B a, NP b), (s, a, b))
OWN(C_SignInit, (S s, M a, O b), (s, a, b))
PLAIN(C_Sign, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
PLAIN(C_SignUpdate, (S s, B a, N b), (s, a, b))
PLAIN(C_SignFinal, (S s, B a, NP b), (s, a, b))
PLAIN(C_SignRecoverInit, (S s, M a, O b), (s, a, real_handle(b)))
PLAIN(C_SignRecover, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
OWN(C_VerifyInit, (S s, M a, O b), (s, a, b))
PLAIN(C_Verify, (S s, B a, N b, B c, N d), (s, a, b, c, d))
PLAIN(C_VerifyUpdate, (S s, B a, N b), (s, a, b))
PLAIN(C_VerifyFinal, (S s, B a, N b), (s, a, b))
PLAIN(C_VerifyRecoverInit, (S s, M a, O b), (s, a, real_handle(b)))
PLAIN(C_VerifyRecover, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
PLAIN(C_DigestEncryptUpdate, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
PLAIN(C_DecryptDigestUpdate, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
PLAIN(C_SignEncryptUpdate, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
PLAIN(C_DecryptVerifyUpdate, (S s, B a, N b, B c, NP d), (s, a, b, c, d))
OWN(C_GenerateKey, (S s, M a, T b, N c, OP d), (s, a, b, c, d))
OWN(C_GenerateKeyPair, (S s, M a, T b, N c, T d, N e, OP f, OP g), (s, a, b, c, d, e, f, g))
OWN(C_WrapKey, (S s, M a, O b, O c, B d, NP e), (s, a, b, c, d, e))
OWN(C_UnwrapKey, (S s, M a, O b, B c, N d, T e, N f, OP g), (s, a, b, c, d, e, f, g))
OWN(C_DeriveKey, (S s, M a, O b, T c, N d, OP e), (s, a, b, c, d, e))
PLAIN(C_SeedRandom, (S s, B a, N b), (s, a, b))
PLAIN(C_GenerateRandom, (S s, B a, N b), (s, a, b))
PLAIN(C_GetFunctionStatus, (S s), (s))
PLAIN(C_CancelFunction, (S s), (s))

/* It may wait for ever, so it holds nothing. */
static CK_RV faulty_C_WaitForSlotEvent(CK_FLAGS flags, CK_SLOT_ID_PTR slot, CK_VOID_PTR reserved)
{
  return real->C_WaitForSlotEvent(flags, slot, reserved);
}

static void load(void)
{
  const char *path = control()->real;
  if (!*path) path = getenv("FAULTY_MODULE_REAL");
  if (!path || !*path) path = "/usr/lib/softhsm/libsofthsm2.so";
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  CK_C_GetFunctionList get = library ? (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList") : NULL;
  if (!get || get(&real) != CKR_OK) {
    fprintf(stderr, "faulty-module: %s: %s\n", path, library ? "no PKCS#11 module" : dlerror());
    real = NULL;
    return;
  }
  list.version = real->version;
#define X(name) list.name = faulty_##name;
#define faulty_C_GetFunctionList C_GetFunctionList
  FUNCTIONS(X)
#undef X
}

__attribute__((visibility("default"))) CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR result)
{
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, load);
  if (!real) return CKR_GENERAL_ERROR;
  *result = &list;
  return CKR_OK;
}
