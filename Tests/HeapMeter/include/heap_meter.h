#pragma once

/* Bytes that the C library has given out by malloc and not got back, over all its arenas. What a process has resident
   is more, by what the arenas keep for later and by the stacks of threads, and does not tell what was lost. */
unsigned long heap_in_use(void);

/* Gives back what the arenas keep for later. */
void heap_give_back(void);
