#include "check.h"

static volatile sig_atomic_t count;
static volatile siginfo_t last;

static void counts(int signal, siginfo_t *information, void *context) {
    (void)signal, (void)context;
    last = *information;
    count++;
}

static void handle(int signal) {
    struct sigaction action = {.sa_sigaction = counts, .sa_flags = SA_SIGINFO};
    count = 0;
    CHECK(sigaction(signal, &action, NULL) == 0);
}

static long long now_ns(clockid_t clock) {
    struct timespec now;
    if (clock_gettime(clock, &now)) return -1;
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

// Use the processor until `clock` has gone on by so much.
static void compute_ms(clockid_t clock, int milliseconds) {
    long long end = now_ns(clock) + milliseconds * 1000000LL;
    while (now_ns(clock) < end) {}
}

static void sleep_ms(int milliseconds) {
    struct timespec length = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    while (clock_nanosleep(CLOCK_MONOTONIC, 0, &length, &length) == EINTR) {}
}

static struct itimerspec spec(int value_ms, int interval_ms) {
    struct itimerspec spec = {
        {interval_ms / 1000, interval_ms % 1000 * 1000000L},
        {value_ms / 1000, value_ms % 1000 * 1000000L},
    };
    return spec;
}

static void interval_timers_of_cpu_time(void) {
    const struct {
        int which, signal;
    } kinds[] = {{ITIMER_VIRTUAL, SIGVTALRM}, {ITIMER_PROF, SIGPROF}};
    for (int i = 0; i < 2; i++) {
        handle(kinds[i].signal);
        struct itimerval value = {{0, 20000}, {0, 20000}}, left;
        CHECK(setitimer(kinds[i].which, &value, NULL) == 0);
        // Sleeping uses none: there are no more than of what was used besides.
        long long before = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        sleep_ms(150);
        int seen = count;
        CHECK(seen <= 1 + (now_ns(CLOCK_PROCESS_CPUTIME_ID) - before) / 20000000);
        CHECK(getitimer(kinds[i].which, &left) == 0 && left.it_interval.tv_usec == 20000 && left.it_value.tv_usec > 0);
        CHECK(left.it_value.tv_usec <= 30000 && left.it_value.tv_sec == 0);
        count = 0;
        long long start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
        while (count < 4 && now_ns(CLOCK_PROCESS_CPUTIME_ID) - start < 100000000000LL) {}
        CHECK(count >= 4 && now_ns(CLOCK_PROCESS_CPUTIME_ID) - start >= 60000000LL);
        memset(&value, 0, sizeof value);
        CHECK(setitimer(kinds[i].which, &value, &left) == 0 && left.it_interval.tv_usec == 20000);
        count = 0;
        compute_ms(CLOCK_PROCESS_CPUTIME_ID, 60);
        CHECK(count == 0);
        CHECK(getitimer(kinds[i].which, &left) == 0 && left.it_value.tv_usec == 0 && left.it_value.tv_sec == 0);
    }
    struct itimerval bad = {{0, 0}, {0, 1000000}};
    FAILS(EINVAL, setitimer(ITIMER_REAL, &bad, NULL));
    FAILS(EINVAL, setitimer(3, NULL, NULL));
}

static void the_real_timer_repeats_and_does_not_flood(void) {
    handle(SIGALRM);
    struct itimerval value = {{0, 10000}, {0, 10000}}, none = {0};
    CHECK(setitimer(ITIMER_REAL, &value, NULL) == 0);
    long long start = now_ns(CLOCK_MONOTONIC);
    while (count < 5) pause();
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 49000000);
    CHECK(last.si_signo == SIGALRM);
    // One that nobody takes, with an interval that no system could keep.
    sigset_t set, old;
    sigemptyset(&set), sigaddset(&set, SIGALRM);
    sigprocmask(SIG_BLOCK, &set, &old);
    value.it_interval.tv_usec = value.it_value.tv_usec = 1;
    CHECK(setitimer(ITIMER_REAL, &value, NULL) == 0);
    sleep_ms(100);
    CHECK(setitimer(ITIMER_REAL, &none, NULL) == 0);
    count = 0;
    sigprocmask(SIG_SETMASK, &old, NULL);
    CHECK(count == 1);
    // alarm() tells what was left of an earlier one.
    CHECK(alarm(1000) == 0);
    unsigned rest = alarm(0);
    CHECK(rest > 500 && rest <= 1000 && alarm(0) == 0);
}

static void posix_timers_send_signals_with_values(void) {
    handle(SIGUSR1);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 0x1234};
    timer_t timer, other;
    NEED(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    NEED(timer_create(CLOCK_REALTIME, &event, &other) == 0);
    struct itimerspec value = spec(30, 0), left;
    long long start = now_ns(CLOCK_MONOTONIC);
    CHECK(timer_settime(timer, 0, &value, NULL) == 0);
    CHECK(timer_gettime(timer, &left) == 0 && left.it_value.tv_nsec <= 30000000);
    CHECK(left.it_value.tv_nsec > 0 || now_ns(CLOCK_MONOTONIC) - start >= 30000000);
    while (!count) sleep_ms(1);
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 30000000);
    CHECK(last.si_code == SI_TIMER && last.si_value.sival_int == 0x1234 && last.si_signo == SIGUSR1);
    CHECK(timer_gettime(timer, &left) == 0 && left.it_value.tv_nsec == 0 && left.it_value.tv_sec == 0);
    // A moment of the time of day; one that has passed expires at once.
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct itimerspec at = {{0, 0}, {now.tv_sec - 1, 0}};
    count = 0;
    CHECK(timer_settime(other, TIMER_ABSTIME, &at, NULL) == 0);
    while (!count) sleep_ms(1);
    CHECK(count == 1);
    clock_gettime(CLOCK_REALTIME, &now);
    at.it_value.tv_sec = now.tv_sec + 10000;
    CHECK(timer_settime(other, TIMER_ABSTIME, &at, NULL) == 0);
    CHECK(timer_gettime(other, &left) == 0 && left.it_value.tv_sec >= 9000 && left.it_value.tv_sec <= 10000);
    CHECK(timer_settime(other, 0, &(struct itimerspec){0}, &left) == 0 && left.it_value.tv_sec >= 9000);
    CHECK(timer_gettime(other, &left) == 0 && left.it_value.tv_sec == 0 && left.it_value.tv_nsec == 0);
    CHECK(timer_delete(timer) == 0 && timer_delete(other) == 0);
    CHECK(timer_delete(timer) != 0);
    FAILS(EINVAL, timer_gettime(timer, &left));
    FAILS(EINVAL, timer_settime(timer, 0, &value, NULL));
    FAILS(EINVAL, timer_getoverrun(timer));
    FAILS(EINVAL, timer_create(77, &event, &timer));
    event.sigev_signo = 1000;
    FAILS(EINVAL, timer_create(CLOCK_REALTIME, &event, &timer));
    // Without an event: SIGALRM, with the timer's number.
    handle(SIGALRM);
    NEED(timer_create(CLOCK_REALTIME, NULL, &timer) == 0);
    value.it_value.tv_nsec = 1000000000;
    FAILS(EINVAL, timer_settime(timer, 0, &value, NULL));
    value = spec(5, 0);
    CHECK(timer_settime(timer, 0, &value, NULL) == 0);
    while (!count) sleep_ms(1);
    CHECK(last.si_code == SI_TIMER);
    CHECK(timer_delete(timer) == 0);
    // One that only is looked at.
    event.sigev_notify = SIGEV_NONE;
    NEED(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    value = spec(50, 20);
    CHECK(timer_settime(timer, 0, &value, NULL) == 0);
    sleep_ms(100);
    CHECK(timer_gettime(timer, &left) == 0 && left.it_value.tv_nsec > 0 && left.it_value.tv_nsec <= 20000000);
}

static void overruns_are_counted(void) {
    handle(SIGRTMIN + 1);
    sigset_t set, old;
    sigemptyset(&set), sigaddset(&set, SIGRTMIN + 1);
    sigprocmask(SIG_BLOCK, &set, &old);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGRTMIN + 1};
    timer_t timer;
    NEED(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec value = spec(10, 10), none = spec(0, 0);
    CHECK(timer_settime(timer, 0, &value, NULL) == 0);
    sleep_ms(105);
    siginfo_t information;
    CHECK(sigwaitinfo(&set, &information) == SIGRTMIN + 1 && information.si_code == SI_TIMER);
    CHECK(timer_getoverrun(timer) >= 8 && information.si_overrun == timer_getoverrun(timer));
    // There is a next.
    CHECK(sigwaitinfo(&set, &information) == SIGRTMIN + 1);
    CHECK(timer_settime(timer, 0, &none, NULL) == 0);
    sigprocmask(SIG_SETMASK, &old, NULL);
    CHECK(count <= 1);
    // A blocked signal waits though nobody would do anything about it, and counts when it is let go.
    sigemptyset(&set), sigaddset(&set, SIGCONT);
    sigprocmask(SIG_BLOCK, &set, &old);
    struct sigevent idle = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGCONT};
    timer_t second;
    NEED(timer_create(CLOCK_MONOTONIC, &idle, &second) == 0 && timer_settime(second, 0, &value, NULL) == 0);
    sleep_ms(105);
    sigprocmask(SIG_SETMASK, &old, NULL);
    CHECK(timer_getoverrun(second) >= 8);
    CHECK(timer_delete(second) == 0);
}

static void *waits_for_timer(void *argument) {
    (void)argument;
    while (!count) sleep_ms(5);
    return (void *)(intptr_t)count;
}

static volatile int notified;

static void notify(union sigval value) {
    notified = value.sival_int;
}

static void timers_notify_threads_and_measure_cpu_time(void) {
    handle(SIGUSR2);
    pthread_t thread;
    pthread_create(&thread, NULL, waits_for_timer, NULL);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2};
    timer_t timer;
    NEED(timer_create(CLOCK_PROCESS_CPUTIME_ID, &event, &timer) == 0);
    struct itimerspec value = spec(40, 0);
    long long start = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    CHECK(timer_settime(timer, 0, &value, NULL) == 0);
    sleep_ms(20);
    CHECK(count == 0 || now_ns(CLOCK_PROCESS_CPUTIME_ID) - start >= 40000000);
    while (!count) {}
    CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) - start >= 40000000);
    pthread_join(thread, NULL);
    CHECK(timer_delete(timer) == 0);
    CHECK(timer_create(CLOCK_THREAD_CPUTIME_ID, &event, &timer) == 0 && timer_delete(timer) == 0);
    struct sigevent in_thread = {.sigev_notify = SIGEV_THREAD, .sigev_value.sival_int = 77};
    in_thread.sigev_notify_function = notify;
    NEED(timer_create(CLOCK_REALTIME, &in_thread, &timer) == 0);
    value = spec(10, 0);
    CHECK(timer_settime(timer, 0, &value, NULL) == 0);
    while (!notified) sleep_ms(5);
    CHECK(notified == 77);
    CHECK(timer_delete(timer) == 0);
}

static void timers_over_fork_and_exec(void) {
    handle(SIGUSR1);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
    timer_t timer;
    NEED(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
    struct itimerspec value = spec(20, 0), left;
    CHECK(timer_settime(timer, 0, &value, NULL) == 0);
    struct itimerval real = {{0, 0}, {5000, 0}}, seen;
    CHECK(setitimer(ITIMER_REAL, &real, NULL) == 0);
    int status;
    pid_t child = fork();
    if (child == 0) {
        count = 0;
        int bad = timer_gettime(timer, &left) != -1 || errno != EINVAL;
        bad |= getitimer(ITIMER_REAL, &seen) != 0 || seen.it_value.tv_sec != 0 || seen.it_value.tv_usec != 0;
        sleep_ms(60);
        _exit(bad + (count != 0) * 2);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    CHECK(status == 0);
    // exec keeps the alarm, not the POSIX timer (its signal would end the new program).
    child = fork();
    if (child == 0) {
        NEED(timer_create(CLOCK_MONOTONIC, &event, &timer) == 0);
        value = spec(100, 0);
        timer_settime(timer, 0, &value, NULL);
        alarm(1);
        execl("/proc/self/exe", "timers", "--sleep", (char *)NULL);
        _exit(99);
    }
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM);
}

static long long used_us(const struct rusage *used) {
    return (used->ru_utime.tv_sec + used->ru_stime.tv_sec) * 1000000LL + used->ru_utime.tv_usec + used->ru_stime.tv_usec;
}

static void clocks_of_cpu_time(void) {
    long long process = now_ns(CLOCK_PROCESS_CPUTIME_ID), thread = now_ns(CLOCK_THREAD_CPUTIME_ID);
    CHECK(process >= 0 && thread >= 0);
    // Sleeping uses none.
    long long start = now_ns(CLOCK_MONOTONIC);
    process = now_ns(CLOCK_PROCESS_CPUTIME_ID);
    sleep_ms(50);
    long long used = now_ns(CLOCK_PROCESS_CPUTIME_ID) - process;
    CHECK(now_ns(CLOCK_MONOTONIC) - start - used >= 40000000);
    compute_ms(CLOCK_THREAD_CPUTIME_ID, 50);
    CHECK(now_ns(CLOCK_PROCESS_CPUTIME_ID) - process >= 50000000);
    clockid_t clock;
    CHECK(clock_getcpuclockid(0, &clock) == 0 && now_ns(clock) >= process);
    CHECK(clock_getcpuclockid(getppid(), &clock) == 0);
    CHECK(pthread_getcpuclockid(pthread_self(), &clock) == 0 && now_ns(clock) >= thread);
    pid_t child = fork();
    if (child == 0) {
        compute_ms(CLOCK_PROCESS_CPUTIME_ID, 120);
        for (;;) pause();
    }
    CHECK(clock_getcpuclockid(child, &clock) == 0);
    while (now_ns(clock) < 120000000) sleep_ms(5);
    struct rusage own, before, children;
    struct tms times_before, times_after;
    getrusage(RUSAGE_CHILDREN, &before);
    times(&times_before);
    kill(child, SIGKILL);
    int status;
    CHECK(wait4(child, &status, 0, &own) == child);
    CHECK(used_us(&own) >= 120000);
    getrusage(RUSAGE_CHILDREN, &children);
    CHECK(used_us(&children) >= used_us(&before) + 100000);
    CHECK(children.ru_maxrss > 0 && own.ru_maxrss > 0);
    CHECK(times(&times_after) > 0 && times_after.tms_cutime + times_after.tms_cstime >= times_before.tms_cutime + 10);
    CHECK(clock_getcpuclockid(child, &clock) != 0);
    CHECK(getrusage(RUSAGE_THREAD, &own) == 0 && own.ru_utime.tv_usec >= 0);
    FAILS(EINVAL, getrusage(55, &own));
    FAILS(EFAULT, getrusage(RUSAGE_SELF, (void *)-1));
}

static void sleeping_by_several_clocks(void) {
    struct timespec now, wish = {0, 30000000};
    long long start = now_ns(CLOCK_MONOTONIC);
    CHECK(clock_gettime(CLOCK_REALTIME, &now) == 0);
    now.tv_nsec += 40000000;
    if (now.tv_nsec >= 1000000000) now.tv_nsec -= 1000000000, now.tv_sec++;
    CHECK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &now, NULL) == 0);
    CHECK(now_ns(CLOCK_MONOTONIC) - start >= 35000000);
    now.tv_sec -= 100;
    CHECK(clock_nanosleep(CLOCK_REALTIME, TIMER_ABSTIME, &now, NULL) == 0);
    CHECK(clock_nanosleep(CLOCK_BOOTTIME, 0, &wish, NULL) == 0);
    wish.tv_nsec = 1000000000;
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &wish, NULL) == EINVAL);
    wish.tv_nsec = -1;
    FAILS(EINVAL, nanosleep(&wish, NULL));
    CHECK(clock_nanosleep(99, 0, &(struct timespec){0, 1}, NULL) == EINVAL);
    // By CPU time: of a process that computes.
    int status;
    clockid_t clock;
    pid_t child = fork();
    if (child == 0)
        for (;;) {}
    NEED(clock_getcpuclockid(child, &clock) == 0);
    long long used = now_ns(clock);
    CHECK(clock_nanosleep(clock, 0, &(struct timespec){0, 50000000}, NULL) == 0 && now_ns(clock) - used >= 50000000);
    kill(child, SIGKILL), waitpid(child, &status, 0);
    struct timespec resolution;
    CHECK(clock_getres(CLOCK_PROCESS_CPUTIME_ID, &resolution) == 0 && resolution.tv_sec == 0);
    FAILS(EINVAL, clock_getres(1000, &resolution));
    FAILS(EINVAL, clock_settime(CLOCK_MONOTONIC, &resolution));
    FAILS(EINVAL, clock_settime(CLOCK_REALTIME, &(struct timespec){0, -1}));
    // What interrupts says what is left, but not of an absolute one.
    handle(SIGALRM);
    alarms(30);
    struct timespec rest = {0, 0};
    errno = 0;
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &(struct timespec){1000, 0}, &rest) == EINTR);
    CHECK(rest.tv_sec >= 500 && rest.tv_sec < 1000);
}

static void the_limit_of_cpu_time(void) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        handle(SIGXCPU);
        struct rlimit limit = {1, 2};
        if (setrlimit(RLIMIT_CPU, &limit)) _exit(1);
        while (!count) {}
        if (now_ns(CLOCK_PROCESS_CPUTIME_ID) < 900000000LL) _exit(2);
        signal(SIGXCPU, SIG_IGN);
        for (;;) {}
    }
    struct rusage used;
    CHECK(wait4(child, &status, 0, &used) == child);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    CHECK(used.ru_utime.tv_sec + used.ru_stime.tv_sec >= 1);
    child = fork();
    if (child == 0) {
        struct rlimit limit = {1, RLIM_INFINITY};
        setrlimit(RLIMIT_CPU, &limit);
        // It is inherited, and counts anew.
        pid_t inner = fork();
        if (inner == 0)
            for (;;) {}
        waitpid(inner, &status, 0);
        _exit(WIFSIGNALED(status) && WTERMSIG(status) == SIGXCPU ? 0 : 1);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void *policy_of_thread(void *argument) {
    struct sched_param parameter;
    int policy;
    pthread_getschedparam(pthread_self(), &policy, &parameter);
    *(int *)argument = policy * 100 + parameter.sched_priority;
    return NULL;
}

// musl's sched_* functions only say ENOSYS, so that the calls are made as they are.
static int set_policy(pid_t pid, int policy, int priority) {
    struct sched_param parameter = {.sched_priority = priority};
    return syscall(SYS_sched_setscheduler, pid, policy, &parameter);
}

static int policy_of(pid_t pid) {
    return syscall(SYS_sched_getscheduler, pid);
}

static int priority_of(pid_t pid) {
    struct sched_param parameter = {.sched_priority = -1};
    return syscall(SYS_sched_getparam, pid, &parameter) ? -1 : parameter.sched_priority;
}

static void scheduling_policies(void) {
    struct sched_param parameter = {.sched_priority = 10};
    CHECK(policy_of(0) == SCHED_OTHER && priority_of(0) == 0);
    CHECK(set_policy(0, SCHED_FIFO, 20) == 0 && policy_of(0) == SCHED_FIFO && priority_of(getpid()) == 20);
    CHECK(syscall(SYS_sched_setparam, 0, &parameter) == 0 && priority_of(0) == 10 && policy_of(0) == SCHED_FIFO);
    int status, seen = 0;
    pid_t child = fork();
    if (child == 0) _exit(policy_of(0) == SCHED_FIFO && priority_of(0) == 10 ? 0 : 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, policy_of_thread, &seen) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(seen == SCHED_FIFO * 100 + 10);
    CHECK(set_policy(0, SCHED_RR, 99) == 0 && policy_of(0) == SCHED_RR);
    struct timespec slice;
    CHECK(sched_rr_get_interval(0, &slice) == 0 && slice.tv_sec == 0 && slice.tv_nsec > 0);
    FAILS(EINVAL, set_policy(0, SCHED_FIFO, 0));
    FAILS(EINVAL, set_policy(0, SCHED_FIFO, 100));
    FAILS(EINVAL, set_policy(0, SCHED_OTHER, 1));
    FAILS(EINVAL, set_policy(0, 55, 1));
    FAILS(EINVAL, set_policy(-1, SCHED_OTHER, 0));
    FAILS(ESRCH, set_policy(30000, SCHED_OTHER, 0));
    FAILS(ESRCH, policy_of(30000));
    FAILS(ESRCH, sched_rr_get_interval(30000, &slice));
    CHECK(set_policy(0, SCHED_OTHER, 0) == 0);
    CHECK(sched_get_priority_max(SCHED_FIFO) == 99 && sched_get_priority_min(SCHED_RR) == 1);
    CHECK(sched_get_priority_max(SCHED_OTHER) == 0 && sched_get_priority_min(SCHED_OTHER) == 0);
    FAILS(EINVAL, sched_get_priority_max(55));
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    parameter.sched_priority = 33;
    CHECK(pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED) == 0);
    CHECK(pthread_attr_setschedpolicy(&attributes, SCHED_RR) == 0);
    CHECK(pthread_attr_setschedparam(&attributes, &parameter) == 0);
    CHECK(pthread_create(&thread, &attributes, policy_of_thread, &seen) == 0 && pthread_join(thread, NULL) == 0);
    CHECK(seen == SCHED_RR * 100 + 33);
    // A stronger one runs first: it takes the processor as soon as it is strong, and keeps it from one that has less to do.
    int gate[2], begin[2];
    char order[2] = {0};
    CHECK(pipe(gate) == 0 && pipe(begin) == 0);
    for (int i = 0; i < 2; i++) {
        child = fork();
        if (child == 0) {
            if (i == 1) set_policy(0, SCHED_FIFO, 50), write(begin[1], "x", 1);
            else read(begin[0], order, 1);
            compute_ms(CLOCK_PROCESS_CPUTIME_ID, i == 1 ? 60 : 5);
            write(gate[1], &"ws"[i], 1);
            _exit(0);
        }
    }
    while (wait(NULL) > 0) {}
    CHECK(read(gate[0], order, 2) == 2 && order[0] == 's' && order[1] == 'w');
    // Without privilege nothing is raised.
    child = fork();
    if (child == 0) {
        if (setuid(1000)) _exit(1);
        if (set_policy(0, SCHED_FIFO, 1) != -1 || errno != EPERM) _exit(2);
        errno = 0;
        if (setpriority(PRIO_PROCESS, 0, 5) || getpriority(PRIO_PROCESS, 0) != 5) _exit(3);
        if (setpriority(PRIO_PROCESS, 0, 0) != -1 || (errno != EACCES && errno != EPERM)) _exit(4);
        if (kill(getppid(), 0) != -1 || errno != EPERM) _exit(5);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static const struct test tests[] = {
    TEST(interval_timers_of_cpu_time),
    TEST(the_real_timer_repeats_and_does_not_flood),
    TEST(posix_timers_send_signals_with_values),
    TEST(overruns_are_counted),
    TEST(timers_notify_threads_and_measure_cpu_time),
    TEST(timers_over_fork_and_exec),
    TEST(clocks_of_cpu_time),
    TEST(sleeping_by_several_clocks),
    TEST(the_limit_of_cpu_time),
    TEST(scheduling_policies),
};

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--sleep") == 0) {
        for (;;) pause();
    }
    return RUN_TESTS(tests);
}
