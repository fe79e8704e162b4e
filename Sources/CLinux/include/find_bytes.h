#pragma once
#include <stddef.h>

/* memmem(3), which needs _GNU_SOURCE; 0 or 1. */
int linux_contains(const void *bytes, size_t size, const void *text, size_t text_size);
