#pragma once
#include <p11-kit/p11-kit.h>
#include <p11-kit/pkcs11.h>
#include <p11-kit/uri.h>

/* Macros with casts. */
static const CK_ULONG STRONGROOM_CK_UNAVAILABLE = CK_UNAVAILABLE_INFORMATION;
