#include "heap_meter.h"
#include <malloc.h>

unsigned long heap_in_use(void) {
  struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
}

void heap_give_back(void) { malloc_trim(0); }
