#pragma once
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

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

/* Stacks are macros. */
typedef STACK_OF(PKCS12_SAFEBAG) strongroom_bags;
typedef STACK_OF(PKCS7) strongroom_safes;

static inline strongroom_bags *strongroom_bags_new(void) { return sk_PKCS12_SAFEBAG_new_null(); }
static inline int strongroom_bags_push(strongroom_bags *bags, PKCS12_SAFEBAG *bag) {
    return sk_PKCS12_SAFEBAG_push(bags, bag);
}
static inline int strongroom_bags_count(const strongroom_bags *bags) { return sk_PKCS12_SAFEBAG_num(bags); }
static inline PKCS12_SAFEBAG *strongroom_bags_at(const strongroom_bags *bags, int i) {
    return sk_PKCS12_SAFEBAG_value(bags, i);
}
/* Wipes the secrets before it frees them: ASN.1 strings are freed as they are. */
static inline void strongroom_bags_free(strongroom_bags *bags) {
    for (int i = 0; i < sk_PKCS12_SAFEBAG_num(bags); i++) {
        PKCS12_SAFEBAG *bag = sk_PKCS12_SAFEBAG_value(bags, i);
        if (PKCS12_SAFEBAG_get_nid(bag) != NID_secretBag) continue;
        const ASN1_TYPE *value = PKCS12_SAFEBAG_get0_bag_obj(bag);
        if (value != NULL && value->type == V_ASN1_OCTET_STRING)
            OPENSSL_cleanse(value->value.octet_string->data, (size_t)value->value.octet_string->length);
    }
    sk_PKCS12_SAFEBAG_pop_free(bags, PKCS12_SAFEBAG_free);
}

/* One AuthSafe of encrypted data, takes nothing over; NULL on failure. */
static inline PKCS12 *strongroom_pkcs12_make(strongroom_bags *bags, const char *passphrase, int size, int iterations) {
    PKCS12 *store = NULL;
    strongroom_safes *safes = sk_PKCS7_new_null();
    PKCS7 *safe = PKCS12_pack_p7encdata(NID_aes_256_cbc, passphrase, size, NULL, 16, iterations, bags);
    if (safes != NULL && safe != NULL && sk_PKCS7_push(safes, safe) > 0) {
        safe = NULL;
        store = PKCS12_add_safes(safes, 0);
        if (store != NULL && !PKCS12_set_mac(store, passphrase, size, NULL, 16, iterations, EVP_sha256())) {
            PKCS12_free(store);
            store = NULL;
        }
    }
    PKCS7_free(safe);
    sk_PKCS7_pop_free(safes, PKCS7_free);
    return store;
}

/* Iterations of an HMAC with SHA-256; 0 without one. */
static inline long strongroom_pkcs12_mac_iterations(const PKCS12 *store) {
    const ASN1_INTEGER *iterations = NULL;
    const X509_ALGOR *algorithm = NULL;
    if (!PKCS12_mac_present(store)) return 0;
    PKCS12_get0_mac(NULL, &algorithm, NULL, &iterations, store);
    if (OBJ_obj2nid(algorithm->algorithm) != NID_sha256) return 0;
    return iterations == NULL ? 1 : ASN1_INTEGER_get(iterations);
}

/* Iterations of PBKDF2 with HMAC-SHA-256 if the data is encrypted by PBES2 with AES-256-CBC; 0 for anything else. */
static inline long strongroom_pkcs7_pbkdf2_iterations(const PKCS7 *safe) {
    long result = 0;
    if (!PKCS7_type_is_encrypted((PKCS7 *)safe)) return 0;
    const X509_ALGOR *algorithm = safe->d.encrypted->enc_data->algorithm;
    if (OBJ_obj2nid(algorithm->algorithm) != NID_pbes2) return 0;
    PBE2PARAM *scheme = (PBE2PARAM *)ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBE2PARAM), algorithm->parameter);
    if (scheme == NULL) return 0;
    if (OBJ_obj2nid(scheme->encryption->algorithm) == NID_aes_256_cbc &&
        OBJ_obj2nid(scheme->keyfunc->algorithm) == NID_id_pbkdf2) {
        PBKDF2PARAM *derivation =
            (PBKDF2PARAM *)ASN1_TYPE_unpack_sequence(ASN1_ITEM_rptr(PBKDF2PARAM), scheme->keyfunc->parameter);
        if (derivation != NULL && derivation->prf != NULL &&
            OBJ_obj2nid(derivation->prf->algorithm) == NID_hmacWithSHA256)
            result = ASN1_INTEGER_get(derivation->iter);
        PBKDF2PARAM_free(derivation);
    }
    PBE2PARAM_free(scheme);
    return result;
}

static inline strongroom_safes *strongroom_pkcs12_safes(const PKCS12 *store) { return PKCS12_unpack_authsafes(store); }
static inline int strongroom_safes_count(const strongroom_safes *safes) { return sk_PKCS7_num(safes); }
static inline PKCS7 *strongroom_safes_at(const strongroom_safes *safes, int i) { return sk_PKCS7_value(safes, i); }
static inline void strongroom_safes_free(strongroom_safes *safes) { sk_PKCS7_pop_free(safes, PKCS7_free); }
static inline strongroom_bags *strongroom_pkcs7_bags(PKCS7 *safe, const char *passphrase, int size) {
    return PKCS12_unpack_p7encdata(safe, passphrase, size);
}

static inline void OPENSSL_free_(void *memory) { OPENSSL_free(memory); }

/* RSAES-OAEP (RFC 8017) with SHA-256 for hash and MGF1, and the empty label. */
static inline EVP_PKEY_CTX *strongroom_oaep(EVP_PKEY *key, int encrypting, int sha1) {
    const EVP_MD *hash = sha1 ? EVP_sha1() : EVP_sha256();
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    if (context != NULL && (encrypting ? EVP_PKEY_encrypt_init(context) : EVP_PKEY_decrypt_init(context)) > 0 &&
        EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_OAEP_PADDING) > 0 &&
        EVP_PKEY_CTX_set_rsa_oaep_md(context, hash) > 0 &&
        EVP_PKEY_CTX_set_rsa_mgf1_md(context, hash) > 0)
        return context;
    EVP_PKEY_CTX_free(context);
    return NULL;
}

/* A private key from PEM; `passphrase` is NULL where there is none: then OpenSSL must not ask. */
static inline int strongroom_no_passphrase(char *buffer, int size, int writing, void *user) { return -1; }
struct strongroom_passphrase { const unsigned char *bytes; int count; };
static inline int strongroom_given_passphrase(char *buffer, int size, int writing, void *user) {
    const struct strongroom_passphrase *given = (const struct strongroom_passphrase *)user;
    if (given->count > size) return -1;
    for (int i = 0; i < given->count; i++) buffer[i] = (char)given->bytes[i];
    return given->count;
}
static inline EVP_PKEY *strongroom_private_key(const unsigned char *pem, int size, const unsigned char *passphrase,
                                               int passphrase_size) {
    struct strongroom_passphrase given = {passphrase, passphrase_size};
    BIO *source = BIO_new_mem_buf(pem, size);
    if (source == NULL) return NULL;
    EVP_PKEY *key = PEM_read_bio_PrivateKey(
        source, NULL, passphrase == NULL ? strongroom_no_passphrase : strongroom_given_passphrase, &given);
    BIO_free(source);
    return key;
}

static inline EVP_PKEY *strongroom_public_key(const unsigned char *pem, int size) {
    BIO *source = BIO_new_mem_buf(pem, size);
    if (source == NULL) return NULL;
    EVP_PKEY *key = PEM_read_bio_PUBKEY(source, NULL, strongroom_no_passphrase, NULL);
    BIO_free(source);
    return key;
}

static inline int strongroom_public_key_is_sound(EVP_PKEY *key) {
    EVP_PKEY_CTX *context = EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL);
    int sound = context != NULL && EVP_PKEY_public_check(context) == 1;
    EVP_PKEY_CTX_free(context);
    return sound;
}

/* ECDSA on P-256 with SHA-256. */
static inline EVP_PKEY *strongroom_if_p256(EVP_PKEY *key) {
    char group[32] = {0};
    if (key == NULL) return NULL;
    if (EVP_PKEY_is_a(key, "EC") != 1 ||
        EVP_PKEY_get_utf8_string_param(key, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof group, NULL) != 1 ||
        OBJ_sn2nid(group) != NID_X9_62_prime256v1) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return key;
}
static inline EVP_PKEY *strongroom_p256_make(void) { return EVP_EC_gen("P-256"); }
static inline EVP_PKEY *strongroom_p256_public_key(const unsigned char *der, size_t size) {
    const unsigned char *at = der;
    EVP_PKEY *key = d2i_PUBKEY(NULL, &at, (long)size);
    if (key != NULL && at != der + size) {
        EVP_PKEY_free(key);
        return NULL;
    }
    return strongroom_if_p256(key);
}
static inline EVP_PKEY *strongroom_p256_private_key(const unsigned char *der, size_t size) {
    const unsigned char *at = der;
    return strongroom_if_p256(d2i_AutoPrivateKey(NULL, &at, (long)size));
}
/* Bytes written; 0 when it does not fit or fails. */
static inline long strongroom_p256_pkcs8(const EVP_PKEY *key, unsigned char *output, size_t room) {
    PKCS8_PRIV_KEY_INFO *info = EVP_PKEY2PKCS8(key);
    int size = info == NULL ? 0 : i2d_PKCS8_PRIV_KEY_INFO(info, NULL);
    unsigned char *at = output;
    if (size > 0 && (size_t)size <= room) i2d_PKCS8_PRIV_KEY_INFO(info, &at);
    else size = 0;
    PKCS8_PRIV_KEY_INFO_free(info); /* wipes it */
    return size;
}
static inline int strongroom_ecdsa_sign(EVP_PKEY *key, const unsigned char *message, size_t size,
                                        unsigned char *signature, size_t *signature_size) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int done = context != NULL && EVP_DigestSignInit_ex(context, NULL, "SHA256", NULL, NULL, key, NULL) == 1 &&
               EVP_DigestSign(context, signature, signature_size, message, size) == 1;
    EVP_MD_CTX_free(context);
    return done;
}
static inline int strongroom_ecdsa_verify(EVP_PKEY *key, const unsigned char *message, size_t size,
                                          const unsigned char *signature, size_t signature_size) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    int good = context != NULL && EVP_DigestVerifyInit_ex(context, NULL, "SHA256", NULL, NULL, key, NULL) == 1 &&
               EVP_DigestVerify(context, signature, signature_size, message, size) == 1;
    EVP_MD_CTX_free(context);
    return good;
}
