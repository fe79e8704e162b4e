#pragma once
/* Linux calls and flags that Swift's Glibc module does not export. */
#include <spawn.h>
#include <semaphore.h>
#include <sys/types.h>

extern const int linux_o_tmpfile;

ssize_t linux_copy_file_range(int source, off_t *source_offset, int target, off_t *target_offset, size_t count);

/* rename(2), but where the new name is taken: EEXIST. */
int linux_rename_to_free_name(const char *old, const char *name);

/* memmem(3): 1 when `text` stands in `bytes`. */
int linux_contains(const void *bytes, size_t size, const void *text, size_t text_size);

/* The spawned process gets no descriptor from `first` on. */
int linux_spawn_close_from(posix_spawn_file_actions_t *actions, int first);

/* A pipe whose ends no process inherits that is started meanwhile. */
int linux_pipe(int ends[2]);

/* How many processors this process may use; 1 at least. */
int linux_usable_processors(void);

/* The processor that this runs on, from 0; it may be another at once. */
int linux_processor(void);

/* Whether the semaphore was taken within that time of the monotonic clock. */
int linux_semaphore_wait(sem_t *semaphore, long nanoseconds);

/* syncfs(2): everything that was written to the file system that the file is on, names as well. */
int linux_sync_file_system(int file);

/* The kind of file system that the file is on, as in statfs(2); 0 when that cannot be said. */
unsigned linux_file_system(int file);

/* Gives `file` the access control list of the file named, where that has one: 0; -1 where it could not, with errno. */
int linux_copy_acl(const char *from, int file);

/* Switches a terminal's echo off until linux_unsilence_terminal; 0 when it is. A signal that ends the process meanwhile
   finds it on again. For one caller at a time. */
int linux_silence_terminal(int terminal);
void linux_unsilence_terminal(void);

/* One look of many at a value that another thread is about to change. */
static inline void linux_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb");
#endif
}
