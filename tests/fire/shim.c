/* Count the system calls that write below one folder; let one of them fail, or let it be the last.

   Built and preloaded by writers.py. A forked child calls fault_arm(root, n, kind) and then does its work: the n-th call (from 1)
   that opens for writing, writes, syncs, renames, removes or makes something below `root` fails with `kind` as errno, or,
   where kind is 0, the process dies there as by SIGKILL. With n = 0 calls are only counted: fault_count(). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX], last[64];
static long fault_n, fault_seen;
static int fault_kind, armed;

void fault_arm(const char *folder, long n, int kind) {
    if (!realpath(folder, root)) strncpy(root, folder, sizeof root - 1);
    fault_n = n; fault_kind = kind; fault_seen = 0; armed = 1;
}
long fault_count(void) { return fault_seen; }
const char *fault_last(void) { return last; }

/* Return nonzero where this call must fail (errno is set); never return where it must be the last. */
static int strike(const char *name) {
    fault_seen++;
    if (fault_seen != fault_n) return 0;
    strncpy(last, name, sizeof last - 1);
    if (!fault_kind) { kill(getpid(), SIGKILL); pause(); }
    errno = fault_kind;
    return 1;
}
static int below(int folder, const char *path) {
    char whole[2 * PATH_MAX], base[PATH_MAX];
    if (!armed || !path) return 0;
    if (path[0] == '/') snprintf(whole, sizeof whole, "%s", path);
    else {
        if (folder == AT_FDCWD) { if (!getcwd(base, sizeof base)) return 0; }
        else {
            char link[64]; snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
            ssize_t n = readlink(link, base, sizeof base - 1);
            if (n < 0) return 0;
            base[n] = 0;
        }
        snprintf(whole, sizeof whole, "%s/%s", base, path);
    }
    return !strncmp(whole, root, strlen(root));
}
static int opened_below(int fd) {
    char link[64], path[PATH_MAX];
    if (!armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return !strncmp(path, root, strlen(root));
}
#define REAL(name) ({ static void *real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

#define OPEN(name) \
int name(const char *path, int flags, ...) { \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); } \
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && below(AT_FDCWD, path) && strike("open")) return -1; \
    return ((int (*)(const char *, int, mode_t)) REAL(name))(path, flags, mode); }
OPEN(open)
OPEN(open64)
#define OPENAT(name) \
int name(int folder, const char *path, int flags, ...) { \
    mode_t mode = 0; \
    if (flags & (O_CREAT | O_TMPFILE)) { va_list a; va_start(a, flags); mode = va_arg(a, mode_t); va_end(a); } \
    if ((flags & (O_WRONLY | O_RDWR | O_CREAT)) && below(folder, path) && strike("open")) return -1; \
    return ((int (*)(int, const char *, int, mode_t)) REAL(name))(folder, path, flags, mode); }
OPENAT(openat)
OPENAT(openat64)
FILE *fopen(const char *path, const char *mode) {
    if (strpbrk(mode, "wa+") && below(AT_FDCWD, path) && strike("fopen")) return NULL;
    return ((FILE *(*)(const char *, const char *)) REAL(fopen))(path, mode); }
FILE *fopen64(const char *path, const char *mode) {
    if (strpbrk(mode, "wa+") && below(AT_FDCWD, path) && strike("fopen")) return NULL;
    return ((FILE *(*)(const char *, const char *)) REAL(fopen64))(path, mode); }
ssize_t write(int fd, const void *data, size_t n) {
    if (opened_below(fd) && strike("write")) return -1;
    return ((ssize_t (*)(int, const void *, size_t)) REAL(write))(fd, data, n); }
ssize_t pwrite64(int fd, const void *data, size_t n, off64_t at) {
    if (opened_below(fd) && strike("pwrite")) return -1;
    return ((ssize_t (*)(int, const void *, size_t, off64_t)) REAL(pwrite64))(fd, data, n, at); }
ssize_t writev(int fd, const struct iovec *parts, int n) {
    if (opened_below(fd) && strike("writev")) return -1;
    return ((ssize_t (*)(int, const struct iovec *, int)) REAL(writev))(fd, parts, n); }
int fsync(int fd) {
    if (opened_below(fd) && strike("fsync")) return -1;
    return ((int (*)(int)) REAL(fsync))(fd); }
int ftruncate64(int fd, off64_t size) {
    if (opened_below(fd) && strike("ftruncate")) return -1;
    return ((int (*)(int, off64_t)) REAL(ftruncate64))(fd, size); }
int rename(const char *a, const char *b) {
    if (below(AT_FDCWD, b) && strike("rename")) return -1;
    return ((int (*)(const char *, const char *)) REAL(rename))(a, b); }
int renameat(int f, const char *a, int g, const char *b) {
    if (below(g, b) && strike("rename")) return -1;
    return ((int (*)(int, const char *, int, const char *)) REAL(renameat))(f, a, g, b); }
int unlink(const char *path) {
    if (below(AT_FDCWD, path) && strike("unlink")) return -1;
    return ((int (*)(const char *)) REAL(unlink))(path); }
int unlinkat(int folder, const char *path, int flags) {
    if (below(folder, path) && strike("unlink")) return -1;
    return ((int (*)(int, const char *, int)) REAL(unlinkat))(folder, path, flags); }
int rmdir(const char *path) {
    if (below(AT_FDCWD, path) && strike("rmdir")) return -1;
    return ((int (*)(const char *)) REAL(rmdir))(path); }
int mkdir(const char *path, mode_t mode) {
    if (below(AT_FDCWD, path) && strike("mkdir")) return -1;
    return ((int (*)(const char *, mode_t)) REAL(mkdir))(path, mode); }
