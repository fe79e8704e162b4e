#include "include/fuzz_meter.h"
#include <stdbool.h>
#include <stddef.h>

/* Of the sanitizers' runtime, which is not there in other builds. */
__attribute__((weak)) int __sanitizer_install_malloc_and_free_hooks(void (*)(const volatile void *, size_t),
                                                                    void (*)(const volatile void *));
__attribute__((weak)) size_t __sanitizer_get_allocated_size(const volatile void *);

static bool is_counting;
static long live, peak;

static void allocated(const volatile void *start, size_t size)
{
  if (!is_counting) return;
  live += (long)size;
  if (live > peak) peak = live;
}

static void freed(const volatile void *start)
{
  if (is_counting && start) live -= (long)__sanitizer_get_allocated_size(start);
}

/* libFuzzer calls it first. */
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
  if (__sanitizer_install_malloc_and_free_hooks) __sanitizer_install_malloc_and_free_hooks(allocated, freed);
  return 0;
}

void fuzz_meter_begin(void)
{
  live = peak = 0;
  is_counting = true;
}

long fuzz_meter_peak(void)
{
  is_counting = false;
  return peak;
}
