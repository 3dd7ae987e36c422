/* Kills its process at a chosen system call that changes files: for tests/kills.rs and tools/kill-test.
 *
 *     cc -shared -fPIC -O1 -o kill_at.so kill_at.c && LD_PRELOAD=./kill_at.so KILL_UNDER=/run KILL_AT=17 melos …
 *
 * Counted are the calls that make, write, synchronise, cut, rename or remove what lies under one of the
 * folders in KILL_UNDER (absolute, with colons between them). Before call number KILL_AT the process is
 * killed (SIGKILL); a write is done by half first. Without KILL_AT nothing is killed, and at its end the
 * number of calls is written to the file KILL_COUNT.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static long calls;

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* Whether a path lies under one of the folders. */
static int under(const char *path) {
    for (const char *root = getenv("KILL_UNDER"); root && *root;) {
        size_t length = strcspn(root, ":");
        if (!strncmp(path, root, length) && (path[length] == '/' || !path[length])) return 1;
        root += length + (root[length] == ':');
    }
    return 0;
}

/* What a path means beside the folder `at`, as far as names go. */
static int counts_at(int at, const char *path) {
    char whole[2 * PATH_MAX + 2], link[64];
    if (*path == '/') return under(path);
    if (at == AT_FDCWD) {
        if (!getcwd(whole, PATH_MAX)) return 0;
    } else {
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t length = readlink(link, whole, PATH_MAX);
        if (length < 0) return 0;
        whole[length] = 0;
    }
    size_t length = strlen(whole);
    snprintf(whole + length, sizeof whole - length, "/%s", path);
    return under(whole);
}

static int counts_fd(int fd) {
    char path[PATH_MAX + 1], link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX);
    if (length < 0) return 0;
    path[length] = 0;
    return under(path);
}

/* Whether this is the call before which to die. */
static int is_last(void) {
    const char *at = getenv("KILL_AT");
    return __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST) == (at ? atol(at) : 0);
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

#define MAYBE(counts) do { if ((counts) && is_last()) die(); } while (0)

static int opened(int at, const char *path, int flags, mode_t mode, int (*real)(int, const char *, int, ...)) {
    MAYBE((flags & (O_CREAT | O_TRUNC)) && counts_at(at, path));
    return real(at, path, flags, mode);
}

#define OPEN_MODE \
    mode_t mode = 0; \
    if (flags & O_CREAT) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); }

int open(const char *path, int flags, ...) { OPEN_MODE return opened(AT_FDCWD, path, flags, mode, REAL(openat)); }
int open64(const char *path, int flags, ...) { OPEN_MODE return opened(AT_FDCWD, path, flags, mode, REAL(openat64)); }
int openat(int at, const char *path, int flags, ...) { OPEN_MODE return opened(at, path, flags, mode, REAL(openat)); }
int openat64(int at, const char *path, int flags, ...) { OPEN_MODE return opened(at, path, flags, mode, REAL(openat64)); }

ssize_t write(int fd, const void *bytes, size_t count) {
    if (counts_fd(fd) && is_last()) {
        REAL(write)(fd, bytes, count / 2);
        die();
    }
    return REAL(write)(fd, bytes, count);
}

int fsync(int fd) { MAYBE(counts_fd(fd)); return REAL(fsync)(fd); }
int fdatasync(int fd) { MAYBE(counts_fd(fd)); return REAL(fdatasync)(fd); }
int ftruncate64(int fd, off64_t length) { MAYBE(counts_fd(fd)); return REAL(ftruncate64)(fd, length); }
int rename(const char *from, const char *to) { MAYBE(counts_at(AT_FDCWD, to)); return REAL(rename)(from, to); }
int unlink(const char *path) { MAYBE(counts_at(AT_FDCWD, path)); return REAL(unlink)(path); }
int rmdir(const char *path) { MAYBE(counts_at(AT_FDCWD, path)); return REAL(rmdir)(path); }
int unlinkat(int at, const char *path, int flags) { MAYBE(counts_at(at, path)); return REAL(unlinkat)(at, path, flags); }
int mkdir(const char *path, mode_t mode) { MAYBE(counts_at(AT_FDCWD, path)); return REAL(mkdir)(path, mode); }

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("KILL_COUNT");
    FILE *out = path ? fopen(path, "w") : NULL;
    if (out) {
        fprintf(out, "%ld\n", calls);
        fclose(out);
    }
}
