/* Names of numbers, from p11-kit's header (names.inc is made by the build script). */
#include "faulty.h"
#include <stdlib.h>
#include <string.h>

const char *const function_names[F_COUNT] = {
#define X(name) #name,
    FUNCTIONS(X)
#undef X
};

static const struct {
  const char *name;
  CK_ULONG number;
} names[] = {
#define X(name) {#name, name},
#include "names.inc"
#undef X
    {"CKM_AES_KEY_WRAP_KWP", 0x210B}, /* newer than the header */
};

bool number_named(const char *name, CK_ULONG *number)
{
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    if (strcmp(names[i].name, name) != 0) continue;
    *number = names[i].number;
    return true;
  }
  char *end;
  *number = strtoul(name, &end, 0);
  return *name && !*end;
}

const char *ckr_name(CK_RV rv)
{
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (names[i].number == rv && strncmp(names[i].name, "CKR_", 4) == 0) return names[i].name;
  return "CKR_?";
}
