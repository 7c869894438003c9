#include "check.h"

#include <sys/syscall.h>
#include <ucontext.h>

static volatile sig_atomic_t count, order[64], masked;
static volatile siginfo_t last;
// The count as other processes see it, if they are to.
static volatile sig_atomic_t *shown;

static void counts(int signal, siginfo_t *information, void *context) {
    (void)context;
    last = *information;
    if (count < 64) order[count] = signal;
    count++;
    if (shown) *shown = count;
}

static void handle(int signal, int flags) {
    struct sigaction action = {.sa_sigaction = counts, .sa_flags = SA_SIGINFO | flags};
    count = 0;
    if (shown) *shown = 0;
    CHECK(sigaction(signal, &action, NULL) == 0);
}

static void sleep_ms(int milliseconds) {
    struct timespec length = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    while (nanosleep(&length, &length) && errno == EINTR) {}
}

static int end_of(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return status;
}

static sigset_t only(int signal) {
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, signal);
    return set;
}

static void what_a_handler_is_told(void) {
    handle(SIGUSR1, 0);
    CHECK(kill(getpid(), SIGUSR1) == 0 && count == 1);
    CHECK(last.si_signo == SIGUSR1 && last.si_code == SI_USER && last.si_pid == getpid() && last.si_uid == getuid());
    CHECK(raise(SIGUSR1) == 0 && count == 2 && last.si_code == SI_TKILL && last.si_pid == getpid());
    CHECK(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_ptr = (void *)0x123456789}) == 0 && count == 3);
    CHECK(last.si_code == SI_QUEUE && last.si_pid == getpid() && last.si_value.sival_ptr == (void *)0x123456789);
    CHECK(pthread_kill(pthread_self(), SIGUSR1) == 0 && count == 4 && last.si_code == SI_TKILL);
    siginfo_t wish = {.si_signo = SIGUSR1, .si_code = SI_QUEUE};
    wish.si_pid = getpid(), wish.si_value.sival_int = 99;
    CHECK(syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGUSR1, &wish) == 0);
    CHECK(count == 5 && last.si_value.sival_int == 99 && last.si_code == SI_QUEUE);
    pid_t child = fork();
    if (child == 0) _exit(sigqueue(getppid(), SIGUSR1, (union sigval){.sival_int = 7}));
    CHECK(end_of(child) == 0);
    CHECK(count == 6 && last.si_pid == child && last.si_value.sival_int == 7);
    FAILS(EINVAL, kill(getpid(), 65));
    FAILS(EINVAL, kill(getpid(), -1));
    FAILS(EINVAL, sigqueue(getpid(), 1000, (union sigval){0}));
    FAILS(ESRCH, kill(child, SIGUSR1));
    FAILS(ESRCH, kill(-child, 0));
    CHECK(kill(getpid(), 0) == 0 && count == 6);
}

// A process is told of a signal wherever it is on its way back from a fork, its first or a later one.
static void signals_after_forks(void) {
    for (int i = 0; i < 60; i++) {
        pid_t parent = fork();
        if (parent == 0) {
            int lost = 0;
            handle(SIGUSR1, 0);
            for (int j = 1; j <= 3; j++) {
                pid_t child = fork();
                if (child == 0) _exit(kill(getppid(), SIGUSR1));
                lost += end_of(child) != 0 || count != j;
            }
            _exit(lost);
        }
        CHECK(end_of(parent) == 0);
    }
}

static volatile int child_codes[8], child_status[8], child_count;

static void child_changed(int signal, siginfo_t *information, void *context) {
    (void)signal, (void)context;
    if (child_count < 8) {
        child_codes[child_count] = information->si_code;
        child_status[child_count] = information->si_status;
        last = *information;
        child_count++;
    }
}

static void until(volatile int *value, int wanted) {
    while (*value < wanted) sleep_ms(5);
}

static void what_a_parent_is_told(void) {
    struct sigaction action = {.sa_sigaction = child_changed, .sa_flags = SA_SIGINFO | SA_RESTART};
    CHECK(sigaction(SIGCHLD, &action, NULL) == 0);
    int status;
    siginfo_t information;
    pid_t child = fork();
    if (child == 0) {
        for (;;) pause();
    }
    kill(child, SIGSTOP), until(&child_count, 1);
    CHECK(child_count == 1 && child_codes[0] == CLD_STOPPED && child_status[0] == SIGSTOP && last.si_pid == child);
    CHECK(waitid(P_PID, child, &information, WSTOPPED | WNOWAIT) == 0 && information.si_code == CLD_STOPPED);
    CHECK(information.si_status == SIGSTOP && information.si_pid == child && information.si_signo == SIGCHLD);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    CHECK(waitpid(child, &status, WUNTRACED | WNOHANG) == 0);
    kill(child, SIGCONT), until(&child_count, 2);
    CHECK(child_codes[1] == CLD_CONTINUED && child_status[1] == SIGCONT);
    CHECK(waitid(P_ALL, 0, &information, WCONTINUED) == 0 && information.si_code == CLD_CONTINUED);
    CHECK(information.si_status == SIGCONT);
    kill(child, SIGTERM), until(&child_count, 3);
    CHECK(child_codes[2] == CLD_KILLED && child_status[2] == SIGTERM);
    CHECK(waitid(P_PGID, getpgrp(), &information, WEXITED) == 0 && information.si_code == CLD_KILLED);
    CHECK(information.si_status == SIGTERM && information.si_uid == getuid());
    child = fork();
    if (child == 0) _exit(300);
    until(&child_count, 4);
    CHECK(child_codes[3] == CLD_EXITED && child_status[3] == (300 & 0xff));
    CHECK(waitid(P_PID, child, &information, WEXITED | WNOHANG) == 0 && information.si_code == CLD_EXITED);
    FAILS(ECHILD, waitid(P_ALL, 0, &information, WEXITED));
    FAILS(EINVAL, waitid(P_ALL, 0, &information, 0));
    FAILS(EINVAL, waitid(77, 0, &information, WEXITED));
    FAILS(EINVAL, waitpid(-1, &status, 0x1000));
    FAILS(ECHILD, waitpid(child, &status, 0));
    // SA_NOCLDSTOP: not of stops.
    action.sa_flags |= SA_NOCLDSTOP;
    sigaction(SIGCHLD, &action, NULL);
    child_count = 0;
    child = fork();
    if (child == 0)
        for (;;) pause();
    kill(child, SIGSTOP);
    CHECK(waitpid(child, &status, WUNTRACED) == child && WIFSTOPPED(status));
    kill(child, SIGCONT);
    CHECK(waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status));
    CHECK(child_count == 0);
    kill(child, SIGKILL);
    CHECK(end_of(child) == SIGKILL && child_count == 1);
    // SA_NOCLDWAIT, and SIG_IGN: no zombies, and wait() waits for all of them.
    for (int ignored = 0; ignored < 2; ignored++) {
        action.sa_flags = SA_SIGINFO | SA_NOCLDWAIT | SA_RESTART;
        if (ignored) signal(SIGCHLD, SIG_IGN);
        else sigaction(SIGCHLD, &action, NULL);
        child_count = 0;
        for (int i = 0; i < 3; i++)
            if (fork() == 0) sleep_ms(10 * i), _exit(0);
        FAILS(ECHILD, wait(&status));
        CHECK(ignored ? child_count == 0 : child_count > 0);
    }
}

static void flags_of_actions(void) {
    struct sigaction old;
    handle(SIGUSR1, SA_RESETHAND);
    raise(SIGUSR1);
    CHECK(count == 1 && sigaction(SIGUSR1, NULL, &old) == 0 && old.sa_handler == SIG_DFL);
    sigset_t set;
    FAILS(EINVAL, sigaction(SIGKILL, &old, NULL));
    FAILS(EINVAL, sigaction(SIGSTOP, &old, NULL));
    FAILS(EINVAL, sigaction(65, NULL, &old));
    FAILS(EINVAL, sigaction(0, NULL, &old));
    CHECK(sigaction(SIGKILL, NULL, &old) == 0);
    sigemptyset(&set), sigaddset(&set, SIGKILL), sigaddset(&set, SIGSTOP), sigaddset(&set, SIGUSR2);
    CHECK(sigprocmask(SIG_BLOCK, &set, NULL) == 0 && sigprocmask(SIG_BLOCK, NULL, &set) == 0);
    CHECK(!sigismember(&set, SIGKILL) && !sigismember(&set, SIGSTOP) && sigismember(&set, SIGUSR2));
    FAILS(EINVAL, sigprocmask(77, &set, NULL));
    // Ignoring forgets what waits.
    handle(SIGUSR2, 0);
    raise(SIGUSR2);
    CHECK(sigpending(&set) == 0 && sigismember(&set, SIGUSR2) && count == 0);
    signal(SIGUSR2, SIG_IGN);
    CHECK(sigpending(&set) == 0 && !sigismember(&set, SIGUSR2));
    handle(SIGUSR2, 0);
    set = only(SIGUSR2);
    sigprocmask(SIG_UNBLOCK, &set, NULL);
    CHECK(count == 0);
}

static void nested(int signal) {
    sigset_t set;
    sigprocmask(SIG_BLOCK, NULL, &set);
    masked = sigismember(&set, signal) + 2 * sigismember(&set, SIGUSR2);
    if (++count == 1) raise(signal);
}

static void masks_while_handlers_run(void) {
    struct sigaction action = {.sa_handler = nested};
    sigaddset(&action.sa_mask, SIGUSR2);
    sigaction(SIGUSR1, &action, NULL);
    count = 0;
    raise(SIGUSR1);
    CHECK(count == 2 && masked == 3);
    action.sa_flags = SA_NODEFER;
    sigemptyset(&action.sa_mask);
    sigaction(SIGUSR1, &action, NULL);
    count = 0;
    raise(SIGUSR1);
    CHECK(count == 2 && masked == 0);
    sigset_t set;
    sigprocmask(SIG_BLOCK, NULL, &set);
    CHECK(!sigismember(&set, SIGUSR1) && !sigismember(&set, SIGUSR2));
}

static void real_time_signals_in_order(void) {
    sigset_t all, old;
    sigemptyset(&all);
    for (int i = 0; i < 3; i++) sigaddset(&all, SIGRTMIN + i);
    sigaddset(&all, SIGUSR1);
    sigprocmask(SIG_BLOCK, &all, &old);
    for (int i = 0; i < 3; i++)
        for (int j = 2; j >= 0; j--) CHECK(sigqueue(getpid(), SIGRTMIN + j, (union sigval){.sival_int = i}) == 0);
    raise(SIGUSR1), raise(SIGUSR1);
    siginfo_t information;
    CHECK(sigwaitinfo(&all, &information) == SIGUSR1);
    for (int j = 0; j < 3; j++)
        for (int i = 0; i < 3; i++)
            CHECK(sigwaitinfo(&all, &information) == SIGRTMIN + j && information.si_value.sival_int == i);
    struct timespec some = {0, 20000000};
    FAILS(EAGAIN, sigtimedwait(&all, &information, &some));
    some.tv_nsec = 1000000000;
    FAILS(EINVAL, sigtimedwait(&all, &information, &some));
    // Handlers see them in order, too.
    for (int i = 0; i < 3; i++) handle(SIGRTMIN + i, 0);
    struct sigaction action = {.sa_sigaction = counts, .sa_flags = SA_SIGINFO, .sa_mask = all};
    for (int i = 0; i < 3; i++) sigaction(SIGRTMIN + i, &action, NULL);
    for (int j = 2; j >= 0; j--) sigqueue(getpid(), SIGRTMIN + j, (union sigval){0}), sigqueue(getpid(), SIGRTMIN + j, (union sigval){0});
    sigprocmask(SIG_SETMASK, &old, NULL);
    CHECK(count == 6 && order[0] == SIGRTMIN && order[1] == SIGRTMIN && order[2] == SIGRTMIN + 1 && order[5] == SIGRTMIN + 2);
    // Another signal breaks the wait off.
    handle(SIGALRM, 0);
    alarms(20);
    // (musl's sigwaitinfo makes the call again.)
    FAILS(EINTR, syscall(SYS_rt_sigtimedwait, &all, NULL, NULL, 8));
    alarms(0);
    int signal = 0;
    sigprocmask(SIG_BLOCK, &all, &old);
    pid_t child = fork();
    if (child == 0) sleep_ms(20), _exit(kill(getppid(), SIGUSR1));
    CHECK(sigwait(&all, &signal) == 0 && signal == SIGUSR1);
    CHECK(end_of(child) == 0);
}

// A call that waits, made again after each of several handlers with SA_RESTART, and broken off without.
static void restarts(const char *name, long (*call)(void), long wanted, int error, void (*finish)(void)) {
    for (int flag = 0; flag < 2; flag++) {
        handle(SIGALRM, flag ? SA_RESTART : 0);
        pid_t child = -1;
        if (flag && finish) {
            child = fork();
            if (child == 0) {
                until(shown, 3);
                finish();
                _exit(0);
            }
        }
        alarms(40);
        errno = 0;
        long result = call();
        int seen = errno;
        alarms(0);
        int is_right = count >= 1 && (flag && finish ? result == wanted : result == -1 && seen == error);
        if (!is_right) printf("  %s, SA_RESTART %d: result %ld, errno %d, count %d\n", name, flag, result, seen, count), failures++;
        if (child > 0) end_of(child);
    }
}

static int gate[2], full[2], locked = -1;
static char byte;
static struct pollfd polled;
static sem_t *semaphore;
static pid_t waited;

static long do_read(void) { return read(gate[0], &byte, 1); }
static void finish_read(void) { write(gate[1], "x", 1); }
static long do_write(void) { return write(full[1], "x", 1); }
static void finish_write(void) { char room[4096]; read(full[0], room, sizeof room); }
static long do_wait(void) { return waitpid(waited, NULL, 0); }
static void finish_wait(void) { kill(waited, SIGKILL); }
static long do_poll(void) { return poll(&polled, 1, 1000000); }
static long do_select(void) {
    fd_set set;
    FD_ZERO(&set);
    FD_SET(gate[0], &set);
    struct timeval time = {1000, 0};
    return select(gate[0] + 1, &set, NULL, NULL, &time);
}
static long do_pause(void) { return pause(); }
static long do_sleep(void) { return nanosleep(&(struct timespec){1000, 0}, NULL); }
static long do_suspend(void) { sigset_t none; sigemptyset(&none); return sigsuspend(&none); }
static long do_semaphore(void) { return sem_wait(semaphore); }
static void finish_semaphore(void) { sem_post(semaphore); }
static long do_lock(void) {
    struct flock lock = {.l_type = F_WRLCK};
    return fcntl(locked, F_SETLKW, &lock);
}
static long do_flock(void) { return flock(locked, LOCK_EX); }

static void restart_over_every_wait(void) {
    NEED(pipe(gate) == 0 && pipe(full) == 0);
    fcntl(full[1], F_SETFL, O_NONBLOCK);
    static char room[4096];
    while (write(full[1], room, sizeof room) > 0) {}
    while (write(full[1], room, 1) > 0) {}
    fcntl(full[1], F_SETFL, 0);
    polled.fd = gate[0], polled.events = POLLIN;
    semaphore = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    shown = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    sem_init(semaphore, 1, 0);
    restarts("read", do_read, 1, EINTR, finish_read);
    restarts("write", do_write, 1, EINTR, finish_write);
    waited = fork();
    if (waited == 0)
        for (;;) pause();
    restarts("waitpid", do_wait, waited, EINTR, finish_wait);
    restarts("sem_wait", do_semaphore, 0, EINTR, finish_semaphore);
    restarts("poll", do_poll, 0, EINTR, NULL);
    restarts("select", do_select, 0, EINTR, NULL);
    restarts("pause", do_pause, 0, EINTR, NULL);
    restarts("nanosleep", do_sleep, 0, EINTR, NULL);
    restarts("sigsuspend", do_suspend, 0, EINTR, NULL);
    // Locks of another process, which lets go after a while.
    char path[] = "/tmp/signals.XXXXXX";
    locked = mkstemp(path);
    int ready[2];
    for (int which = 0; which < 2; which++) {
        NEED(pipe(ready) == 0);
        pid_t holder = fork();
        if (holder == 0) {
            int own = open(path, O_RDWR);
            struct flock lock = {.l_type = F_WRLCK};
            if (which ? flock(own, LOCK_EX) : fcntl(own, F_SETLKW, &lock)) _exit(1);
            write(ready[1], "x", 1);
            until(&shown[1], which + 1);
            until(shown, 3);
            _exit(0);
        }
        read(ready[0], &byte, 1);
        handle(SIGALRM, 0);
        alarms(30);
        FAILS(EINTR, which ? do_flock() : do_lock());
        handle(SIGALRM, SA_RESTART);
        // Now it lets go, after some more alarms.
        shown[1] = which + 1;
        CHECK((which ? do_flock() : do_lock()) == 0 && count >= 3);
        alarms(0);
        CHECK(end_of(holder) == 0);
    }
    unlink(path);
}

static char stack_room[65536];
static volatile int on_stack, auto_flags;

static void looks_at_stack(int signal, siginfo_t *information, void *context) {
    (void)signal, (void)information;
    char here;
    stack_t now;
    on_stack = &here >= stack_room && &here < stack_room + sizeof stack_room;
    sigaltstack(NULL, &now);
    auto_flags = now.ss_flags;
    ucontext_t *interrupted = context;
    if (interrupted->uc_stack.ss_sp != stack_room) on_stack += 10;
}

static void alternate_stacks(void) {
    stack_t stack = {.ss_sp = stack_room, .ss_size = sizeof stack_room}, old;
    CHECK(sigaltstack(NULL, &old) == 0 && old.ss_flags == SS_DISABLE);
    CHECK(sigaltstack(&stack, NULL) == 0 && sigaltstack(NULL, &old) == 0 && old.ss_sp == stack_room && old.ss_flags == 0);
    struct sigaction action = {.sa_sigaction = looks_at_stack, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    sigaction(SIGUSR1, &action, NULL);
    raise(SIGUSR1);
    CHECK(on_stack == 1 && auto_flags == SS_ONSTACK);
#ifndef SS_AUTODISARM
#define SS_AUTODISARM (1U << 31)
#endif
    stack.ss_flags = SS_AUTODISARM;
    CHECK(sigaltstack(&stack, NULL) == 0);
    raise(SIGUSR1);
    CHECK(on_stack == 1 && auto_flags == SS_DISABLE);
    CHECK(sigaltstack(NULL, &old) == 0 && old.ss_sp == stack_room && (unsigned)old.ss_flags == SS_AUTODISARM);
    stack.ss_flags = SS_DISABLE;
    CHECK(sigaltstack(&stack, NULL) == 0 && sigaltstack(NULL, &old) == 0 && old.ss_flags == SS_DISABLE);
    raise(SIGUSR1);
    CHECK(on_stack != 1);
    stack.ss_flags = 0, stack.ss_size = 100;
    FAILS(ENOMEM, sigaltstack(&stack, NULL));
    stack.ss_flags = 77, stack.ss_size = sizeof stack_room;
    FAILS(EINVAL, sigaltstack(&stack, NULL));
}

static volatile int thread_hits;

static void hits(int signal) {
    (void)signal;
    thread_hits++;
}

static void *blocks(void *argument) {
    sigset_t set = only(SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    (*(volatile int *)argument)++;
    int taken = 0;
    if (sigwait(&set, &taken)) return NULL;
    return (void *)(intptr_t)taken;
}

static void signals_and_threads(void) {
    signal(SIGUSR2, hits);
    int ready = 0;
    pthread_t thread;
    pthread_create(&thread, NULL, blocks, &ready);
    until(&ready, 1);
    sleep_ms(20);
    // To that thread alone: it is waited for, whoever else could take it.
    CHECK(pthread_kill(thread, SIGUSR2) == 0);
    void *taken;
    pthread_join(thread, &taken);
    CHECK(taken == (void *)(intptr_t)SIGUSR2 && thread_hits == 0);
    CHECK(kill(getpid(), SIGUSR2) == 0 && thread_hits == 1);
    // exec keeps the mask, what waits, and what is ignored.
    pid_t child = fork();
    if (child == 0) {
        sigset_t set = only(SIGUSR1);
        sigprocmask(SIG_BLOCK, &set, NULL);
        signal(SIGHUP, SIG_IGN);
        signal(SIGTERM, hits);
        raise(SIGUSR1);
        execl("/proc/self/exe", "signals", "--executed", (char *)NULL);
        _exit(99);
    }
    CHECK(end_of(child) == 0);
    child = fork();
    if (child == 0) {
        sigset_t set = only(SIGUSR1), pending;
        sigprocmask(SIG_BLOCK, &set, NULL);
        raise(SIGUSR1);
        pid_t inner = fork();
        if (inner == 0) _exit(sigpending(&pending) || sigismember(&pending, SIGUSR1));
        _exit(end_of(inner) != 0);
    }
    CHECK(end_of(child) == 0);
}

// A group that nobody could continue any more is hung up and continued.
static void orphaned_groups(void) {
    int ready[2];
    NEED(pipe(ready) == 0);
    pid_t middle = fork();
    if (middle == 0) {
        pid_t child = fork();
        if (child == 0) {
            setpgid(0, 0);
            signal(SIGHUP, hits);
            kill(getpid(), SIGSTOP);
            // Continued, with the hangup.
            write(ready[1], thread_hits ? "h" : "-", 1);
            _exit(0);
        }
        int status;
        waitpid(child, &status, WUNTRACED);
        _exit(WIFSTOPPED(status) ? 0 : 1);
    }
    CHECK(end_of(middle) == 0);
    struct pollfd answer = {.fd = ready[0], .events = POLLIN};
    CHECK(poll(&answer, 1, -1) == 1);
    CHECK(read(ready[0], &byte, 1) == 1 && byte == 'h');
    // In an orphaned group a stop from the terminal does nothing.
    pid_t child = fork();
    if (child == 0) {
        if (setsid() != getpid()) _exit(1);
        raise(SIGTSTP);
        raise(SIGTTIN);
        _exit(0);
    }
    CHECK(end_of(child) == 0);
}

static void descriptors_of_processes(void) {
    pid_t child = fork();
    if (child == 0)
        for (;;) pause();
    int file = syscall(SYS_pidfd_open, child, 0);
    NEED(file >= 0);
    struct pollfd ended = {.fd = file, .events = POLLIN};
    CHECK(poll(&ended, 1, 0) == 0);
    CHECK(syscall(SYS_pidfd_send_signal, file, 0, NULL, 0) == 0);
    siginfo_t information;
    CHECK(waitid(3, file, &information, WEXITED | WNOHANG) == 0 && information.si_pid == 0);
    CHECK(syscall(SYS_pidfd_send_signal, file, SIGTERM, NULL, 0) == 0);
    CHECK(poll(&ended, 1, -1) == 1 && (ended.revents & POLLIN));
    CHECK(waitid(3, file, &information, WEXITED) == 0 && information.si_status == SIGTERM && information.si_pid == child);
    FAILS(ESRCH, syscall(SYS_pidfd_send_signal, file, 0, NULL, 0));
    FAILS(ESRCH, syscall(SYS_pidfd_open, child, 0));
    FAILS(EINVAL, syscall(SYS_pidfd_open, -1, 0));
    FAILS(EBADF, syscall(SYS_pidfd_send_signal, 1, 0, NULL, 0));
    CHECK(fcntl(file, F_GETFD) == FD_CLOEXEC && close(file) == 0);
}

static const struct test tests[] = {
    TEST(what_a_handler_is_told), TEST(signals_after_forks), TEST(what_a_parent_is_told), TEST(flags_of_actions),
    TEST(masks_while_handlers_run), TEST(real_time_signals_in_order), TEST(restart_over_every_wait),
    TEST(alternate_stacks), TEST(signals_and_threads), TEST(orphaned_groups), TEST(descriptors_of_processes),
};

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--executed") == 0) {
        sigset_t blocked, pending;
        sigprocmask(SIG_BLOCK, NULL, &blocked), sigpending(&pending);
        struct sigaction ignored, reset;
        sigaction(SIGHUP, NULL, &ignored), sigaction(SIGTERM, NULL, &reset);
        return !(sigismember(&blocked, SIGUSR1) && sigismember(&pending, SIGUSR1) && ignored.sa_handler == SIG_IGN &&
                 reset.sa_handler == SIG_DFL);
    }
    return RUN_TESTS(tests);
}
