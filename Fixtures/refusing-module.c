/* A PKCS#11 module for tests: SoftHSM, but it changes no attribute, copies no object and takes no key from outside.
   Tokens like that exist; SoftHSM cannot be told to be one. */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>

static CK_FUNCTION_LIST functions;
static CK_FUNCTION_LIST_PTR softhsm;

static CK_RV refuse_set(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_PTR template, CK_ULONG count)
{
  return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV refuse_copy(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object, CK_ATTRIBUTE_PTR template, CK_ULONG count,
                         CK_OBJECT_HANDLE_PTR copy)
{
  return CKR_FUNCTION_NOT_SUPPORTED;
}

static CK_RV create_no_token_keys(CK_SESSION_HANDLE session, CK_ATTRIBUTE_PTR template, CK_ULONG count,
                                  CK_OBJECT_HANDLE_PTR object)
{
  CK_OBJECT_CLASS class = CKO_DATA;
  CK_BBOOL on_token = CK_FALSE;
  for (CK_ULONG i = 0; i < count; i++) {
    if (template[i].type == CKA_CLASS) class = *(CK_OBJECT_CLASS *)template[i].pValue;
    if (template[i].type == CKA_TOKEN) on_token = *(CK_BBOOL *)template[i].pValue;
  }
  if (class == CKO_SECRET_KEY && on_token) return CKR_TEMPLATE_INCONSISTENT;
  return softhsm->C_CreateObject(session, template, count, object);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list)
{
  if (!softhsm) {
    void *library = dlopen(SOFTHSM, RTLD_NOW);
    CK_C_GetFunctionList get = library ? (CK_C_GetFunctionList)dlsym(library, "C_GetFunctionList") : 0;
    if (!get || get(&softhsm) != CKR_OK) return CKR_GENERAL_ERROR;
    functions = *softhsm;
    functions.C_SetAttributeValue = refuse_set;
    functions.C_CopyObject = refuse_copy;
    functions.C_CreateObject = create_no_token_keys;
  }
  *list = &functions;
  return CKR_OK;
}
