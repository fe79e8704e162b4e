#pragma once
#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <p11-kit/uri.h>

/* Macros with casts. */
static const CK_ULONG STRONGROOM_CK_UNAVAILABLE = CK_UNAVAILABLE_INFORMATION;

/* C_Initialize with a text for the module. NSS reads one pointer more than the standard's structure has. */
static inline CK_RV strongroom_initialize(CK_FUNCTION_LIST *functions, const char *text)
{
  struct {
    CK_C_INITIALIZE_ARGS standard;
    void *end;
  } args = {{.flags = CKF_OS_LOCKING_OK, .pReserved = (void *)text}, NULL};
  return functions->C_Initialize(&args);
}
