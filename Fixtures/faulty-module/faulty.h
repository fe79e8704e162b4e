/* A PKCS#11 module that stands in front of a real one and misbehaves as its control file says. See README.md. */
#pragma once
#include <p11-kit/pkcs11.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

/* Every function of Cryptoki 2.40, in the order of its list. */
#define FUNCTIONS(X) \
  X(C_Initialize) X(C_Finalize) X(C_GetInfo) X(C_GetFunctionList) X(C_GetSlotList) X(C_GetSlotInfo) \
  X(C_GetTokenInfo) X(C_GetMechanismList) X(C_GetMechanismInfo) X(C_InitToken) X(C_InitPIN) X(C_SetPIN) \
  X(C_OpenSession) X(C_CloseSession) X(C_CloseAllSessions) X(C_GetSessionInfo) X(C_GetOperationState) \
  X(C_SetOperationState) X(C_Login) X(C_Logout) X(C_CreateObject) X(C_CopyObject) X(C_DestroyObject) \
  X(C_GetObjectSize) X(C_GetAttributeValue) X(C_SetAttributeValue) X(C_FindObjectsInit) X(C_FindObjects) \
  X(C_FindObjectsFinal) X(C_EncryptInit) X(C_Encrypt) X(C_EncryptUpdate) X(C_EncryptFinal) X(C_DecryptInit) \
  X(C_Decrypt) X(C_DecryptUpdate) X(C_DecryptFinal) X(C_DigestInit) X(C_Digest) X(C_DigestUpdate) X(C_DigestKey) \
  X(C_DigestFinal) X(C_SignInit) X(C_Sign) X(C_SignUpdate) X(C_SignFinal) X(C_SignRecoverInit) X(C_SignRecover) \
  X(C_VerifyInit) X(C_Verify) X(C_VerifyUpdate) X(C_VerifyFinal) X(C_VerifyRecoverInit) X(C_VerifyRecover) \
  X(C_DigestEncryptUpdate) X(C_DecryptDigestUpdate) X(C_SignEncryptUpdate) X(C_DecryptVerifyUpdate) \
  X(C_GenerateKey) X(C_GenerateKeyPair) X(C_WrapKey) X(C_UnwrapKey) X(C_DeriveKey) X(C_SeedRandom) \
  X(C_GenerateRandom) X(C_GetFunctionStatus) X(C_CancelFunction) X(C_WaitForSlotEvent)

enum function {
#define X(name) F_##name,
  FUNCTIONS(X)
#undef X
  F_COUNT,
  F_ANY = F_COUNT
};
extern const char *const function_names[F_COUNT];

/* Numbers of CKR_…, CKM_… and CKA_… names, or of a number written as such. */
bool number_named(const char *name, CK_ULONG *number);
const char *ckr_name(CK_RV rv);

/* "on FUNCTION [WHEN] ACTION": what happens when a call comes in. */
enum action {
  FAIL, DELAY, HANG, DROP_SESSIONS, RESET, LOGOUT, WRONG_KEY, CORRUPT, FINISH, ALONE, FULL_LENGTH, WRONG_SIZE, SKIP
};
enum when { ALWAYS, AT, EVERY, FROM, PERCENT };
struct rule {
  enum function function;
  enum when when;
  double number;
  enum action action;
  CK_ULONG argument; /* CKR or milliseconds; 0 without */
  atomic_ulong calls;
};

/* "refuse", "require", "make" and "say". */
enum attribute_fault { REFUSE, REQUIRE, MAKE, SAY };
struct attribute_rule {
  enum attribute_fault fault;
  enum function function;
  CK_ATTRIBUTE_TYPE type;
  bool has_value;
  CK_BBOOL value;
  CK_ULONG length; /* of the value: 0 or 1 */
  CK_RV rv;
};

enum mechanism_fault { HIDE, UNLIST, LIST_ONLY, RENUMBER };
struct mechanism_rule {
  enum mechanism_fault fault;
  CK_MECHANISM_TYPE type, as;
};

enum gcm_iv { IV_CALLER, IV_OVERWRITE, IV_PREFIX, IV_SUFFIX };

#define MOST 64
struct control {
  struct rule rules[MOST];
  struct attribute_rule attributes[MOST];
  struct mechanism_rule mechanisms[MOST];
  enum action now[MOST];
  int rule_count, attribute_count, mechanism_count, now_count;
  bool missing[F_COUNT], is_broken;
  bool absent, one_attribute, strict_gcm, silent_pin, empty_slot, read_write_only, has_pin_lengths;
  char real[4096], trace[4096], sessions[4096], serial[17];
  int firmware[2]; /* -1: the real one */
  CK_ULONG slot_offset, session_limit, pin_tries, portion, pin_lengths[2];
  CK_ULONG iv_room; /* of an IV in the output */
  enum gcm_iv gcm_iv;
  struct control *previous; /* a call that is under way may still use it */
};

/* The control file as it is now. */
struct control *control(void);
/* Frees those before `c`, if no other call is under way that may still use one. */
void forget_previous(struct control *c);
bool is_alone(void);
const char *control_path(void);
extern CK_FUNCTION_LIST_PTR real;

/* Around every call. `enter` makes what is to happen happen; after CKR_OK the call is made, and `leave` ends it. */
CK_RV enter(enum function function);
void leave(void);
CK_RV traced(enum function function, CK_RV rv);
/* What `enter` found for the call that this thread is in. */
extern _Thread_local bool wrong_key, corrupt, full_length, wrong_size, skipped;
extern _Thread_local CK_RV finish;
/* Spoils what a call puts out; `room` is what *length was before it. */
CK_RV put_out(CK_RV rv, CK_BYTE_PTR out, CK_ULONG room, CK_ULONG_PTR length);

/* Sessions, so that they can be counted, dropped and have a GCM operation. */
struct session {
  CK_SESSION_HANDLE handle;
  CK_SLOT_ID slot;
  CK_BYTE iv[16];
  CK_ULONG iv_length; /* of an encryption with an IV of the token's own; 0 without */
  CK_BYTE_PTR callers_iv;
};
CK_ULONG session_count(void);
void session_opened(CK_SESSION_HANDLE handle, CK_SLOT_ID slot);
void session_closed(CK_SESSION_HANDLE handle);
void sessions_closed(CK_SLOT_ID slot);
struct session *session(CK_SESSION_HANDLE handle);
/* Alone in the module. */
void drop_sessions(void);
void reset(void);
void log_out(void);

/* Object handles as the application knows them, which after a reset are not the real ones. */
CK_OBJECT_HANDLE real_handle(CK_OBJECT_HANDLE handle);
CK_OBJECT_HANDLE given_handle(CK_OBJECT_HANDLE real);
void remember_handles(CK_SLOT_ID slot);
void swap_handles(CK_SESSION_HANDLE session);
void forget_handles(void);

CK_RV mechanism(CK_MECHANISM_PTR given, CK_MECHANISM *used);
bool is_listed(CK_MECHANISM_TYPE type);
CK_MECHANISM_TYPE listed_as(CK_MECHANISM_TYPE type);

/* Applies "refuse", "require" and "make" to a template; `copy` has room for `count` and MOST more. */
CK_RV template(enum function function, CK_ATTRIBUTE_PTR given, CK_ULONG *count, CK_ATTRIBUTE_PTR copy);
