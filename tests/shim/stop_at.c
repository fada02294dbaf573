/* Preloaded into a process, counts every change that it makes to files below one directory and ends it before one of
 * them. System calls are caught by the kernel (seccomp), not by name in libc: none slips by, whoever makes it.
 *
 * STOP_DIR    the directory (absolute); more of them separated by ':'
 * STOP_TRACE  a file outside of it that gets a line a change: "call path"
 * STOP_AT     ends the process (exit status 86) before this change, counted from 1; 0 or nothing: never
 * STOP_HALF   "1": if that change is a write, its first half is written before
 * STOP_GATE   counts only while this file exists
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <ucontext.h>
#include <unistd.h>

/* The sixth argument of calls that have fewer: tells our own from the process's. */
#define OURS 0x51751975
#define STATUS 86
#define PATH 4096

static const char *dirs, *gate;
static long stop_at;
static int trace = -1, half;
static volatile int turn;
static long count;

#define real(number, a, b, c, d, e) syscall(number, (long)(a), (long)(b), (long)(c), (long)(d), (long)(e), (long)OURS)

static void end(int status) {
    syscall(SYS_exit_group, status);
}

static void fail(const char *why) {
    real(SYS_write, 2, why, strlen(why), 0, 0);
    end(87);
}

static int below(const char *path) {
    const char *from = dirs;
    while (*from) {
        size_t len = strcspn(from, ":");
        if (len && !strncmp(path, from, len) && (path[len] == '/' || path[len] == 0)) return 1;
        from += len + (from[len] == ':');
    }
    return 0;
}

/* The path of an open regular file or directory below our directories. */
static int of_fd(long fd, char *out) {
    char name[64];
    snprintf(name, sizeof name, "/proc/self/fd/%ld", fd);
    long len = readlink(name, out, PATH - 1);
    if (len <= 0) return 0;
    out[len] = 0;
    return out[0] == '/' && below(out);
}

static int of_path(long at, const char *path, char *out) {
    if (!path) return 0;
    if (path[0] == '/') {
        snprintf(out, PATH, "%s", path);
    } else {
        char base[PATH];
        if ((int)at == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) return 0;
        } else {
            char name[64];
            snprintf(name, sizeof name, "/proc/self/fd/%d", (int)at);
            long len = readlink(name, base, PATH - 1);
            if (len <= 0) return 0;
            base[len] = 0;
        }
        if (snprintf(out, PATH, "%s/%s", base, path) >= PATH) fail("stop_at: a path is too long\n");
    }
    return below(out);
}

static int exists(const char *path) {
    struct stat found;
    return !stat(path, &found);
}

static void first_half(long number, long *a) {
    if (number == SYS_write) real(SYS_write, a[0], a[1], a[2] / 2, 0, 0);
    if (number == SYS_pwrite64) real(SYS_pwrite64, a[0], a[1], a[2] / 2, a[3], 0);
    if (number == SYS_writev && a[2] > 0) {
        const struct iovec *first = (const struct iovec *)a[1];
        real(SYS_write, a[0], first->iov_base, a[2] > 1 ? first->iov_len : first->iov_len / 2, 0, 0);
    }
}

/* The name of the change that a call makes below our directories, or nothing. */
static const char *change(long number, long *a, char *path) {
    switch (number) {
    case SYS_write: case SYS_pwrite64: case SYS_writev: case SYS_pwritev:
        return of_fd(a[0], path) ? "write" : NULL;
    case SYS_fsync: case SYS_fdatasync:
        return of_fd(a[0], path) ? "sync" : NULL;
    case SYS_ftruncate:
        return of_fd(a[0], path) ? "truncate" : NULL;
    case SYS_fallocate:
        return of_fd(a[0], path) ? "reserve" : NULL;
#ifdef SYS_open
    case SYS_open:
        return of_path(AT_FDCWD, (const char *)a[0], path) && ((a[1] & O_TRUNC) || !exists(path)) ? "create" : NULL;
    case SYS_rename:
        return of_path(AT_FDCWD, (const char *)a[1], path) ? "rename" : NULL;
    case SYS_unlink: case SYS_rmdir:
        return of_path(AT_FDCWD, (const char *)a[0], path) && exists(path) ? "remove" : NULL;
    case SYS_mkdir:
        return of_path(AT_FDCWD, (const char *)a[0], path) && !exists(path) ? "create" : NULL;
#endif
    case SYS_openat:
        return of_path(a[0], (const char *)a[1], path) && ((a[2] & O_TRUNC) || !exists(path)) ? "create" : NULL;
#ifdef SYS_renameat
    case SYS_renameat:
#endif
    case SYS_renameat2:
        return of_path(a[2], (const char *)a[3], path) ? "rename" : NULL;
    case SYS_unlinkat:
        return of_path(a[0], (const char *)a[1], path) && exists(path) ? "remove" : NULL;
    case SYS_mkdirat:
        return of_path(a[0], (const char *)a[1], path) && !exists(path) ? "create" : NULL;
    default:
        fail("stop_at: a call that changes files and is not counted\n");
        return NULL;
    }
}

static void caught(int signal, siginfo_t *info, void *context) {
    (void)signal;
    int before = errno;
    long number = info->si_syscall;
    mcontext_t *registers = &((ucontext_t *)context)->uc_mcontext;
#if defined(__x86_64__)
    greg_t *g = registers->gregs;
    long a[5] = {g[REG_RDI], g[REG_RSI], g[REG_RDX], g[REG_R10], g[REG_R8]};
#elif defined(__aarch64__)
    unsigned long long *g = registers->regs;
    long a[5] = {g[0], g[1], g[2], g[3], g[4]};
#else
#error "which registers hold a call's arguments on this machine?"
#endif
    char path[PATH];
    const char *what = change(number, a, path);
    int counted = what && (!gate || exists(gate));
    /* One change at a time, so that the trace is their order and nothing follows the end. */
    if (counted) {
        while (__sync_lock_test_and_set(&turn, 1)) {}
        count += 1;
        if (trace >= 0) {
            char line[PATH + 32];
            int len = snprintf(line, sizeof line, "%s %s\n", what, path);
            real(SYS_write, trace, line, len, 0, 0);
        }
        if (count == stop_at) {
            if (half) first_half(number, a);
            end(STATUS);
        }
    }
    long result = real(number, a[0], a[1], a[2], a[3], a[4]);
    if (result == -1) result = -errno;
    if (counted) __sync_lock_release(&turn);
#if defined(__x86_64__)
    g[REG_RAX] = result;
#else
    g[0] = result;
#endif
    errno = before;
}

#define LOAD(field) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, field))
#define TRAP BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRAP)
#define ALLOW BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)
/* On this call: trap, unless it is ours. */
#define CALL(number) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 4), LOAD(args[5]), BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OURS, 0, 1), ALLOW, TRAP
/* The same where an argument has one of these bits (the flags of an open). */
#define CALL_WITH(number, argument, bits) \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 7), LOAD(args[argument]), \
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, bits, 1, 0), ALLOW, LOAD(args[5]), \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, OURS, 0, 1), ALLOW, TRAP

__attribute__((constructor)) static void begin(void) {
    dirs = getenv("STOP_DIR");
    if (!dirs || !*dirs) return;
    gate = getenv("STOP_GATE");
    const char *at = getenv("STOP_AT"), *lines = getenv("STOP_TRACE"), *part = getenv("STOP_HALF");
    stop_at = at ? atol(at) : 0;
    half = part && *part == '1';
    if (lines) {
        trace = open(lines, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        if (trace < 0) fail("stop_at: the trace does not open\n");
    }
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = caught;
    action.sa_flags = SA_SIGINFO | SA_RESTART | SA_NODEFER;
    sigaction(SIGSYS, &action, NULL);
    struct sock_filter filter[] = {
        LOAD(nr),
        CALL(SYS_write), CALL(SYS_pwrite64), CALL(SYS_writev), CALL(SYS_pwritev), CALL(SYS_fsync), CALL(SYS_fdatasync),
        CALL(SYS_ftruncate), CALL(SYS_fallocate),
#ifdef SYS_open
        CALL_WITH(SYS_open, 1, O_CREAT | O_TRUNC), CALL(SYS_creat), CALL(SYS_rename), CALL(SYS_unlink), CALL(SYS_rmdir),
        CALL(SYS_mkdir), CALL(SYS_link), CALL(SYS_symlink),
#endif
        CALL_WITH(SYS_openat, 2, O_CREAT | O_TRUNC),
#ifdef SYS_renameat
        CALL(SYS_renameat),
#endif
        CALL(SYS_renameat2), CALL(SYS_unlinkat), CALL(SYS_mkdirat), CALL(SYS_truncate), CALL(SYS_linkat), CALL(SYS_symlinkat),
        CALL(SYS_sendfile), CALL(SYS_copy_file_range), CALL(SYS_pwritev2), CALL(SYS_sync_file_range),
        ALLOW,
    };
    struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
        fail("stop_at: this system has no seccomp filters\n");
}
