#define _GNU_SOURCE
#include "linux_calls.h"

#include <fcntl.h>
#include <malloc.h>
#include <spawn.h>
#include <unistd.h>

const int linux_o_tmpfile = O_TMPFILE | O_CLOEXEC;

ssize_t linux_copy_file_range(int source, off_t *source_offset, int target, off_t *target_offset, size_t count) {
    return copy_file_range(source, source_offset, target, target_offset, count, 0);
}

void linux_use_one_malloc_arena(void) {
    mallopt(M_ARENA_MAX, 1);
}

int linux_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
    return posix_spawn_file_actions_addclosefrom_np(actions, first);
}
