// Stands between a program and the kernel (LD_PRELOAD), and makes happen what no test can wait for or may ask of the machine.
//
//   BETWEEN_CALL=socket|epoll_ctl BETWEEN_AFTER=N BETWEEN_ERRNO=E   from its N-th call on, this call fails with that error
//   SIGUSR2                                                        CLOCK_MONOTONIC stands two hours later from now on
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { JUMP_S = 7200 };

static _Atomic time_t ahead_s;
static atomic_long calls;

typedef long Syscall(long, ...);

static Syscall *kernel(void) {
    static Syscall *found;
    if (!found)
        found = (Syscall *)dlsym(RTLD_NEXT, "syscall");
    return found;
}

static void jump(int signal) {
    (void)signal;
    ahead_s = JUMP_S;
}

__attribute__((constructor)) static void begin(void) {
    signal(SIGUSR2, jump);
}

static int refuses(const char *call) {
    const char *which = getenv("BETWEEN_CALL");
    if (!which || strcmp(which, call) || atomic_fetch_add(&calls, 1) < atol(getenv("BETWEEN_AFTER")))
        return 0;
    errno = atoi(getenv("BETWEEN_ERRNO"));
    return 1;
}

int socket(int domain, int type, int protocol) {
    return refuses("socket") ? -1 : (int)kernel()(SYS_socket, domain, type, protocol);
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event) {
    if (what == EPOLL_CTL_ADD && refuses("epoll_ctl"))
        return -1;
    return (int)kernel()(SYS_epoll_ctl, epoll, what, fd, event);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = (int)kernel()(SYS_clock_gettime, clock, time);
    if (!failed && clock == CLOCK_MONOTONIC)
        time->tv_sec += ahead_s;
    return failed;
}

// What waits until an instant of that clock gives the kernel one of its own.
int timerfd_settime(int fd, int flags, const struct itimerspec *new, struct itimerspec *old) {
    struct itimerspec set = *new;
    if (flags & TFD_TIMER_ABSTIME && set.it_value.tv_sec > ahead_s)
        set.it_value.tv_sec -= ahead_s;
    return (int)kernel()(SYS_timerfd_settime, fd, flags, &set, old);
}

long syscall(long number, ...) {
    long a[6];
    va_list list;
    va_start(list, number);
    for (int i = 0; i < 6; i++)
        a[i] = va_arg(list, long);
    va_end(list);
    struct timespec until;
    if (number == SYS_futex && (a[1] & FUTEX_CMD_MASK) == FUTEX_WAIT_BITSET && a[3]) {
        until = *(struct timespec *)a[3];
        if (until.tv_sec > ahead_s)
            until.tv_sec -= ahead_s;
        a[3] = (long)&until;
    }
    return kernel()(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
