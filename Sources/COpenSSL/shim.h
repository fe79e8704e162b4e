#pragma once
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>

/* Macros with casts, and OSSL_PARAM arrays, which Swift cannot build. */
static const int EVP_CIPHER_CTX_FLAG_WRAP_ALLOW_ = EVP_CIPHER_CTX_FLAG_WRAP_ALLOW;

static inline int strongroom_hkdf_sha256(EVP_KDF_CTX *context, const unsigned char *key, size_t key_size,
                                         const unsigned char *salt, size_t salt_size, const unsigned char *info,
                                         size_t info_size, unsigned char *output, size_t size) {
    OSSL_PARAM parameters[5] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA256", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key, key_size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_SALT, (void *)salt, salt_size),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_size),
        OSSL_PARAM_construct_end(),
    };
    return EVP_KDF_derive(context, output, size, parameters);
}
