/* fillkeys: puts AES-256 keys on a token, as the suite would make them, for measuring how time grows with them.
 *   cc -O2 $(pkg-config --cflags p11-kit-1) -o fillkeys fillkeys.c -ldl
 *   ./fillkeys MODULE TOKEN_LABEL PIN COUNT
 */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

static CK_FUNCTION_LIST_PTR p11;

static void need(CK_RV rv, const char *what) {
    if (rv != CKR_OK) {
        fprintf(stderr, "%s: CKR 0x%lx\n", what, rv);
        exit(1);
    }
}

int main(int argc, char **argv) {
    if (argc != 5) return fprintf(stderr, "usage: %s MODULE TOKEN_LABEL PIN COUNT\n", argv[0]), 2;
    void *lib = dlopen(argv[1], RTLD_NOW);
    if (!lib) return fprintf(stderr, "%s\n", dlerror()), 1;
    need(((CK_C_GetFunctionList)dlsym(lib, "C_GetFunctionList"))(&p11), "C_GetFunctionList");
    need(p11->C_Initialize(NULL), "C_Initialize");
    CK_SLOT_ID slots[64], slot = 0;
    CK_ULONG n = 64;
    need(p11->C_GetSlotList(CK_TRUE, slots, &n), "C_GetSlotList");
    for (CK_ULONG i = 0; i < n; i++) {
        CK_TOKEN_INFO info;
        if (p11->C_GetTokenInfo(slots[i], &info) == CKR_OK && !memcmp(info.label, argv[2], strlen(argv[2]))) slot = slots[i];
    }
    CK_SESSION_HANDLE s;
    need(p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &s), "C_OpenSession");
    need(p11->C_Login(s, CKU_USER, (CK_UTF8CHAR *)argv[3], strlen(argv[3])), "C_Login");
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ULONG size = 32;
    for (int i = 0; i < atoi(argv[4]); i++) {
        struct timespec now;
        clock_gettime(CLOCK_REALTIME, &now);
        unsigned long long ms = now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
        unsigned char id[16]; /* a UUIDv7 */
        getrandom(id, sizeof id, 0);
        for (int b = 0; b < 6; b++) id[b] = ms >> (40 - 8 * b);
        id[6] = 0x70 | (id[6] & 0x0F);
        id[8] = 0x80 | (id[8] & 0x3F);
        char label[32];
        int length = snprintf(label, sizeof label, "fill-%d", i);
        CK_ATTRIBUTE t[] = {{CKA_TOKEN, &yes, 1},       {CKA_PRIVATE, &yes, 1}, {CKA_SENSITIVE, &yes, 1},
                            {CKA_EXTRACTABLE, &no, 1},  {CKA_ENCRYPT, &no, 1},  {CKA_DECRYPT, &no, 1},
                            {CKA_SIGN, &no, 1},         {CKA_VERIFY, &no, 1},   {CKA_WRAP, &yes, 1},
                            {CKA_UNWRAP, &yes, 1},      {CKA_ID, id, sizeof id}, {CKA_LABEL, label, length},
                            {CKA_VALUE_LEN, &size, sizeof size}};
        CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL, 0};
        CK_OBJECT_HANDLE key;
        need(p11->C_GenerateKey(s, &generate, t, sizeof t / sizeof *t, &key), "C_GenerateKey");
    }
    p11->C_Finalize(NULL);
    return 0;
}
