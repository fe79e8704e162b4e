#define _GNU_SOURCE
#include "linux_calls.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sched.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

const int linux_o_tmpfile = O_TMPFILE | O_CLOEXEC;

ssize_t linux_copy_file_range(int source, off_t *source_offset, int target, off_t *target_offset, size_t count) {
    return copy_file_range(source, source_offset, target, target_offset, count, 0);
}

int linux_rename_to_free_name(const char *old, const char *name) {
    return renameat2(AT_FDCWD, old, AT_FDCWD, name, RENAME_NOREPLACE);
}

int linux_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
    return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

int linux_usable_processors(void) {
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

int linux_semaphore_wait(sem_t *semaphore, long nanoseconds) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += nanoseconds / 1000000000 + (end.tv_nsec + nanoseconds % 1000000000) / 1000000000;
    end.tv_nsec = (end.tv_nsec + nanoseconds % 1000000000) % 1000000000;
    while (sem_clockwait(semaphore, CLOCK_MONOTONIC, &end) != 0)
        if (errno != EINTR) return 0;
    return 1;
}

unsigned linux_file_system(int file) {
    struct statfs info;
    return fstatfs(file, &info) == 0 ? (unsigned)info.f_type : 0;
}

int linux_sync_file_system(int file) { return syncfs(file); }

int linux_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC); }

int linux_processor(void) {
    int processor = sched_getcpu();
    return processor > 0 ? processor : 0;
}

int linux_copy_acl(const char *from, int file) {
    static const char name[] = "system.posix_acl_access";
    char list[65536]; /* the most that an attribute may have */
    ssize_t size = getxattr(from, name, list, sizeof list);
    if (size < 0) return errno == ENODATA || errno == ENOTSUP ? 0 : -1;
    return fsetxattr(file, name, list, (size_t)size, 0);
}
