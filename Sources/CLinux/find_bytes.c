#define _GNU_SOURCE
#include "linux_calls.h"
#include <string.h>

int linux_contains(const void *bytes, size_t size, const void *text, size_t text_size) {
    return memmem(bytes, size, text, text_size) != NULL;
}
