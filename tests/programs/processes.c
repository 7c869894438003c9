#include "check.h"

extern char **environ;

static long elapsed_ms(const struct timespec *start) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    return (end.tv_sec - start->tv_sec) * 1000 + (end.tv_nsec - start->tv_nsec) / 1000000;
}

static int end_of(pid_t child) {
    int status = -1;
    pid_t ended;
    while ((ended = waitpid(child, &status, 0)) < 0 && errno == EINTR) {}
    return ended == child ? status : -1;
}

static void fork_and_wait(void) {
    int status, value = 1;
    pid_t child = fork();
    if (child == 0) {
        value = 2;
        _exit(value == 2 && getppid() > 1 ? 7 : 8);
    }
    CHECK(child > 0 && wait(&status) == child && WIFEXITED(status) && WEXITSTATUS(status) == 7 && value == 1);
    FAILS(ECHILD, wait(&status));
    FAILS(ECHILD, waitpid(getpid(), &status, 0));
    int gate[2];
    pipe(gate);
    child = fork();
    if (child == 0) {
        char byte;
        read(gate[0], &byte, 1);
        raise(SIGTERM);
    }
    CHECK(waitpid(child, &status, WNOHANG) == 0);
    siginfo_t information = {0};
    CHECK(waitid(P_PID, child, &information, WEXITED | WNOHANG) == 0 && information.si_pid == 0);
    write(gate[1], "x", 1);
    CHECK(waitid(P_PID, child, &information, WEXITED | WNOWAIT) == 0);
    CHECK(information.si_pid == child && information.si_code == CLD_KILLED && information.si_status == SIGTERM);
    struct rusage usage;
    CHECK(wait4(child, &status, 0, &usage) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGTERM);
    pid_t children[20];
    for (int i = 0; i < 20; i++)
        if ((children[i] = fork()) == 0) _exit(i);
    int sum = 0;
    for (int i = 0; i < 20; i++) sum += WEXITSTATUS(end_of(children[19 - i]));
    CHECK(sum == 190);
    // Memory is copied in both directions, also what was touched before and after.
    static char large[1 << 20];
    memset(large, 'a', sizeof large);
    child = fork();
    if (child == 0) {
        for (unsigned i = 0; i < sizeof large; i += 4096) {
            if (large[i] != 'a') _exit(1);
            large[i] = 'c';
        }
        _exit(0);
    }
    for (unsigned i = 0; i < sizeof large; i += 4096) large[i + 1] = 'p';
    CHECK(end_of(child) == 0 && large[0] == 'a' && large[1] == 'p' && large[sizeof large - 4096] == 'a');
}

static void orphans(void) {
    int gate[2];
    pipe(gate);
    pid_t child = fork();
    if (child == 0) {
        if (fork() == 0) {
            while (getppid() != 1) usleep(1000);
            int parent = getppid();
            write(gate[1], &parent, sizeof parent);
            _exit(0);
        }
        _exit(0);
    }
    CHECK(end_of(child) == 0);
    int parent = 0;
    CHECK(read(gate[0], &parent, sizeof parent) == sizeof parent && parent == 1);
}

static void adopted_orphans(void) {
    int wants = 0;
    CHECK(prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 && prctl(PR_GET_CHILD_SUBREAPER, &wants) == 0 && wants == 1);
    for (int late = 0; late < 2; late++) {
        // A grandchild that ends after its parent, and one that ended before and was not waited for.
        pid_t child = fork();
        if (child == 0) {
            pid_t grandchild = fork();
            if (grandchild == 0) {
                while (late && getppid() == child) usleep(1000);
                _exit(late ? 5 : 6);
            }
            siginfo_t end;
            if (!late) waitid(P_PID, grandchild, &end, WEXITED | WNOWAIT);
            _exit(0);
        }
        CHECK(end_of(child) == 0);
        int status = -1;
        CHECK(wait(&status) > 0 && WEXITSTATUS(status) == (late ? 5 : 6));
    }
    // Not inherited.
    pid_t child = fork();
    if (child == 0) _exit(prctl(PR_GET_CHILD_SUBREAPER, &wants) != 0 || wants);
    CHECK(end_of(child) == 0);
}

static void signal_at_parents_end(void) {
    // Asked for before exec, it still comes.
    int ends[2];
    pipe(ends);
    pid_t child = fork();
    if (child == 0) {
        dup2(ends[1], 1);
        close(ends[0]);
        close(ends[1]);
        if (vfork() == 0) {
            prctl(PR_SET_PDEATHSIG, SIGTERM);
            execl("/bin/sh", "sh", "-c", "trap 'echo told; exit' TERM; echo ready; while :; do sleep 0.1; done", (char *)0);
            _exit(9);
        }
        pause();
    }
    close(ends[1]);
    FILE *words = fdopen(ends[0], "r");
    char line[16] = "";
    CHECK(fgets(line, sizeof line, words) && strcmp(line, "ready\n") == 0);
    kill(child, SIGKILL);
    CHECK(end_of(child) == SIGKILL);
    CHECK(fgets(line, sizeof line, words) && strcmp(line, "told\n") == 0);
    fclose(words);
}

static void programs(const char *mode, char **argv) {
    if (strcmp(mode, "arguments") == 0) {
        int good = strcmp(argv[3], "a b") == 0 && argv[4][0] == 0 && argv[5] == 0;
        good &= getenv("X") && strcmp(getenv("X"), "=y") == 0 && environ[1] == 0;
        good &= fcntl(70, F_GETFD) == -1 && fcntl(71, F_GETFD) == 0;
        struct sigaction action;
        good &= sigaction(SIGUSR1, 0, &action) == 0 && action.sa_handler == SIG_DFL;
        good &= sigaction(SIGUSR2, 0, &action) == 0 && action.sa_handler == SIG_IGN;
        sigset_t mask;
        sigprocmask(SIG_SETMASK, 0, &mask);
        good &= sigismember(&mask, SIGHUP);
        _exit(good ? 42 : 1);
    }
    if (strcmp(mode, "pid") == 0) _exit(getpid() == atoi(argv[3]) ? 0 : 1);
}

static char self[PATH_MAX];

static void nothing(int signal) { (void)signal; }

static void execute(void) {
    char *arguments[] = {"x", "--child", "arguments", "a b", "", 0}, *environment[] = {"X==y", 0};
    pid_t child = fork();
    if (child == 0) {
        signal(SIGUSR1, nothing);
        signal(SIGUSR2, SIG_IGN);
        sigset_t mask;
        sigemptyset(&mask);
        sigaddset(&mask, SIGHUP);
        sigprocmask(SIG_BLOCK, &mask, 0);
        dup2(1, 70);
        fcntl(70, F_SETFD, FD_CLOEXEC);
        dup2(1, 71);
        execve(self, arguments, environment);
        _exit(2);
    }
    CHECK(end_of(child) == 42 << 8);
    child = fork();
    if (child == 0) {
        char number[16];
        snprintf(number, sizeof number, "%d", getpid());
        char *same[] = {self, "--child", "pid", number, 0};
        execv(self, same);
        _exit(2);
    }
    CHECK(end_of(child) == 0);
    char *none[] = {"x", 0};
    FAILS(ENOENT, execve("/missing", none, environment));
    FAILS(EACCES, execve("/tmp", none, environment));
    FILE *file = fopen("/tmp/no-program", "w");
    fputs("neither ELF nor script", file);
    fclose(file);
    FAILS(EACCES, execve("/tmp/no-program", none, environment));
    chmod("/tmp/no-program", 0755);
    FAILS(ENOEXEC, execve("/tmp/no-program", none, environment));
    unlink("/tmp/no-program");
    static char huge[200000];
    memset(huge, 'a', sizeof huge - 1);
    char *too_much[] = {"x", huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, huge, 0};
    FAILS(E2BIG, execve(self, too_much, environment));
    file = fopen("/tmp/script", "w");
    fputs("#!/bin/sh\nexit $#$1\n", file);
    fclose(file);
    chmod("/tmp/script", 0755);
    child = fork();
    if (child == 0) {
        char *words[] = {"s", "3", "4", 0};
        execv("/tmp/script", words);
        _exit(2);
    }
    CHECK(end_of(child) == 23 << 8);
    unlink("/tmp/script");
    CHECK(setenv("PATH", "/bin", 1) == 0);
    child = fork();
    if (child == 0) {
        execlp("sh", "sh", "-c", "exit 9", NULL);
        _exit(2);
    }
    CHECK(end_of(child) == 9 << 8);
}

static void spawn(void) {
    volatile int shared = 1;
    int file = open("/dev/null", O_RDONLY);
    pid_t child = vfork();
    if (child == 0) {
        // The memory is the parent's, the descriptors are not.
        shared = 2;
        close(file);
        execl("/missing", "x", NULL);
        _exit(errno == ENOENT ? 5 : 6);
    }
    CHECK(end_of(child) == 5 << 8 && shared == 2 && fcntl(file, F_GETFD) == 0);
    pid_t spawned;
    char *words[] = {"sh", "-c", "read x; exit $x", 0};
    CHECK(posix_spawnp(&spawned, "there-is-none", 0, 0, words, environ) == ENOENT);
    CHECK(fcntl(file, F_GETFD) == 0);
    int ends[2];
    pipe(ends);
    write(ends[1], "6\n", 2);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[0], 0);
    posix_spawn_file_actions_addclose(&actions, ends[1]);
    CHECK(posix_spawn(&spawned, "/bin/sh", &actions, 0, words, environ) == 0 && end_of(spawned) == 6 << 8);
    CHECK(fcntl(ends[1], F_GETFD) == 0);
    for (int i = 0; i < 20; i++) {
        char *quick[] = {"true", 0};
        CHECK(posix_spawn(&spawned, "/bin/true", 0, 0, quick, environ) == 0 && end_of(spawned) == 0);
    }
}

static volatile sig_atomic_t caught, caught_count;
static volatile siginfo_t caught_information;

static void note(int signal) {
    caught = signal;
    caught_count++;
}

static void note_information(int signal, siginfo_t *information, void *context) {
    (void)context;
    caught = signal;
    caught_count++;
    caught_information = *information;
}

static void handle(int signal, void (*handler)(int, siginfo_t *, void *), int flags) {
    struct sigaction action = {.sa_flags = flags | SA_SIGINFO};
    action.sa_sigaction = handler;
    sigemptyset(&action.sa_mask);
    if (sigaction(signal, &action, 0)) failed(__FILE__, __LINE__, "sigaction");
}

static void signals(void) {
    signal(SIGUSR1, note);
    CHECK(raise(SIGUSR1) == 0 && caught == SIGUSR1 && caught_count == 1);
    handle(SIGUSR2, note_information, 0);
    CHECK(kill(getpid(), SIGUSR2) == 0 && caught == SIGUSR2);
    CHECK(caught_information.si_pid == getpid() && caught_information.si_code == SI_USER);
    union sigval value = {.sival_int = 99};
    CHECK(sigqueue(getpid(), SIGUSR2, value) == 0 && caught_information.si_value.sival_int == 99);
    CHECK(caught_information.si_code == SI_QUEUE);
    sigset_t set, old, pending;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    caught = 0;
    CHECK(sigprocmask(SIG_BLOCK, &set, &old) == 0 && raise(SIGUSR1) == 0 && caught == 0);
    CHECK(sigpending(&pending) == 0 && sigismember(&pending, SIGUSR1) && !sigismember(&pending, SIGUSR2));
    CHECK(sigprocmask(SIG_SETMASK, &old, 0) == 0 && caught == SIGUSR1);
    // In a handler its own signal is blocked, and the mask is restored by it.
    sigprocmask(SIG_BLOCK, 0, &old);
    CHECK(!sigismember(&old, SIGUSR1));
    FAILS(EINVAL, kill(getpid(), 65));
    FAILS(EINVAL, signal(SIGKILL, note) == SIG_ERR ? -1 : 0);
    FAILS(ESRCH, kill(30000, 0));
    CHECK(kill(getpid(), 0) == 0);
    sigprocmask(SIG_BLOCK, &set, 0);
    raise(SIGUSR1);
    siginfo_t information;
    struct timespec limit = {0, 50000000};
    caught = 0;
    CHECK(sigtimedwait(&set, &information, &limit) == SIGUSR1 && information.si_signo == SIGUSR1 && caught == 0);
    FAILS(EAGAIN, sigtimedwait(&set, &information, &limit));
    pid_t parent = getpid(), child = fork();
    if (child == 0) {
        usleep(30000);
        kill(parent, SIGUSR1);
        _exit(0);
    }
    sigset_t none;
    sigemptyset(&none);
    FAILS(EINTR, sigsuspend(&none));
    CHECK(caught == SIGUSR1 && end_of(child) == 0);
    // Reset by the first.
    struct sigaction action = {.sa_handler = note, .sa_flags = SA_RESETHAND}, before;
    sigaction(SIGHUP, &action, 0);
    raise(SIGHUP);
    CHECK(sigaction(SIGHUP, 0, &before) == 0 && before.sa_handler == SIG_DFL);
}

static void interrupted_calls(void) {
    int ends[2];
    pipe(ends);
    char byte;
    pid_t parent = getpid();
    volatile int *broken_off = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int restart = 0; restart < 2; restart++) {
        handle(SIGUSR1, note_information, restart ? SA_RESTART : 0);
        caught_count = 0;
        pid_t child = fork();
        if (child == 0) {
            // One alone might come before the parent waits.
            for (int i = 0; restart ? i < 5 : !*broken_off; i++) {
                usleep(20000);
                kill(parent, SIGUSR1);
            }
            write(ends[1], "z", 1);
            _exit(0);
        }
        errno = 0;
        long result = read(ends[0], &byte, 1);
        *broken_off = 1;
        CHECK(caught_count >= 1);
        if (restart) CHECK(result == 1 && byte == 'z');
        else {
            CHECK(result == -1 && errno == EINTR);
            while ((result = read(ends[0], &byte, 1)) == -1 && errno == EINTR) {}
            CHECK(result == 1);
        }
        CHECK(end_of(child) == 0);
    }
    signal(SIGALRM, note);
    struct itimerval timer = {{0, 50000}, {0, 50000}};
    caught = 0;
    CHECK(setitimer(ITIMER_REAL, &timer, 0) == 0 && pause() == -1 && errno == EINTR && caught == SIGALRM);
    struct timespec start, wish = {1000, 0}, rest;
    FAILS(EINTR, nanosleep(&wish, &rest));
    CHECK(rest.tv_sec >= 500 && rest.tv_sec < 1000);
    timer = (struct itimerval){{0, 10000}, {0, 10000}};
    caught_count = 0;
    setitimer(ITIMER_REAL, &timer, 0);
    while (caught_count < 5) {}
    struct itimerval left;
    CHECK(getitimer(ITIMER_REAL, &left) == 0 && left.it_interval.tv_usec == 10000);
    timer = (struct itimerval){{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &timer, 0);
    caught = 0;
    clock_gettime(CLOCK_MONOTONIC, &start);
    alarm(1);
    while (!caught) usleep(1000);
    CHECK(caught == SIGALRM && elapsed_ms(&start) >= 950);
    alarm(1000);
    unsigned rest_of_alarm = alarm(0);
    CHECK(rest_of_alarm > 500 && rest_of_alarm <= 1000);
}

static sigjmp_buf place;
static volatile long fault_address;
static volatile int on_other_stack;
static char *other_stack;

static void jump_back(int signal, siginfo_t *information, void *context) {
    (void)context;
    char here;
    fault_address = (long)information->si_addr;
    on_other_stack = &here > other_stack && &here < other_stack + 65536;
    caught_information = *information;
    siglongjmp(place, signal);
}

static int overflow(int depth) {
    volatile char room[4096];
    room[0] = depth;
    return overflow(depth + 1) + room[0];
}

static void faults(void) {
    other_stack = malloc(65536);
    stack_t stack = {.ss_sp = other_stack, .ss_size = 65536};
    CHECK(sigaltstack(&stack, 0) == 0);
    int kinds[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP};
    for (int i = 0; i < 5; i++) handle(kinds[i], jump_back, SA_ONSTACK);
    int signal = sigsetjmp(place, 1);
    if (!signal) *(volatile int *)0x1234 = 1;
    CHECK(signal == SIGSEGV && fault_address == 0x1234 && on_other_stack && caught_information.si_code == SEGV_MAPERR);
    static const int constant = 5;
    if (!(signal = sigsetjmp(place, 1))) *(volatile int *)&constant = 6;
    CHECK(signal == SIGSEGV && fault_address == (long)&constant && caught_information.si_code == SEGV_ACCERR);
    if (!(signal = sigsetjmp(place, 1))) overflow(0);
    CHECK(signal == SIGSEGV && on_other_stack);
    if (!(signal = sigsetjmp(place, 1))) __asm__ volatile("ud2");
    CHECK(signal == SIGILL);
    if (!(signal = sigsetjmp(place, 1))) __asm__ volatile("idivl %0" : : "r"(0), "a"(1), "d"(0));
    CHECK(signal == SIGFPE && caught_information.si_code == FPE_INTDIV);
    if (!(signal = sigsetjmp(place, 1))) __asm__ volatile("int3");
    CHECK(signal == SIGTRAP);
    // Page protection changes count.
    char *page = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page[0] = 1;
    mprotect(page, 4096, PROT_READ);
    if (!(signal = sigsetjmp(place, 1))) page[0] = 2;
    CHECK(signal == SIGSEGV && page[0] == 1);
    mprotect(page, 4096, PROT_READ | PROT_WRITE);
    page[0] = 3;
    munmap(page, 4096);
    if (!(signal = sigsetjmp(place, 1))) page[0] = 2;
    CHECK(signal == SIGSEGV);
    // Beyond the end of a mapped file.
    int file = open("/tmp/short", O_RDWR | O_CREAT | O_TRUNC, 0600);
    write(file, "x", 1);
    char *shown = mmap(0, 8192, PROT_READ, MAP_SHARED, file, 0);
    if (!(signal = sigsetjmp(place, 1))) signal = 1000 + ((volatile char *)shown)[4096];
    CHECK(signal == SIGBUS);
    shown = mmap(0, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (!(signal = sigsetjmp(place, 1))) shown[12345] = 1;
    CHECK(signal == SIGBUS && fault_address == (long)shown + 12345);
    unlink("/tmp/short");
    // A jump to where only a kernel could be.
    if (!(signal = sigsetjmp(place, 1))) ((void (*)(void))0xffffffffff500000)();
    CHECK(signal == SIGSEGV && fault_address == 0xffffffffff500000);
    stack_t now;
    CHECK(sigaltstack(0, &now) == 0 && now.ss_sp == other_stack);
}

static void child_signals(void) {
    handle(SIGCHLD, note_information, SA_RESTART);
    pid_t child = fork();
    if (child == 0) _exit(3);
    CHECK(end_of(child) == 3 << 8 && caught == SIGCHLD && caught_information.si_pid == child);
    CHECK(caught_information.si_status == 3 && caught_information.si_code == CLD_EXITED);
    signal(SIGCHLD, SIG_IGN);
    child = fork();
    if (child == 0) _exit(3);
    FAILS(ECHILD, waitpid(child, 0, 0));
    signal(SIGCHLD, SIG_DFL);
    signal(SIGPIPE, note);
    int ends[2];
    pipe(ends);
    close(ends[0]);
    FAILS(EPIPE, write(ends[1], "x", 1));
    CHECK(caught == SIGPIPE);
    prctl(PR_SET_NAME, "a-new-name");
    char name[17] = "";
    CHECK(prctl(PR_GET_NAME, name) == 0 && strcmp(name, "a-new-name") == 0);
}

static void stop_and_continue(void) {
    int ends[2], status;
    pipe(ends);
    pid_t child = fork();
    if (child == 0) {
        for (;;) {
            write(ends[1], "x", 1);
            usleep(1000);
        }
    }
    char byte;
    read(ends[0], &byte, 1);
    CHECK(kill(child, SIGSTOP) == 0 && waitpid(child, &status, WUNTRACED) == child);
    CHECK(WIFSTOPPED(status) && WSTOPSIG(status) == SIGSTOP);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    while (read(ends[0], &byte, 1) == 1) {}
    usleep(50000);
    FAILS(EAGAIN, read(ends[0], &byte, 1));
    CHECK(kill(child, SIGCONT) == 0 && waitpid(child, &status, WCONTINUED) == child && WIFCONTINUED(status));
    fcntl(ends[0], F_SETFL, 0);
    CHECK(read(ends[0], &byte, 1) == 1);
    kill(child, SIGSTOP);
    waitpid(child, &status, WUNTRACED);
    CHECK(kill(child, SIGKILL) == 0 && waitpid(child, &status, 0) == child && WTERMSIG(status) == SIGKILL);
}

static void groups_and_sessions(void) {
    pid_t child = fork();
    if (child == 0) {
        failures = 0;
        CHECK(setpgid(0, 0) == 0 && getpgrp() == getpid() && getpgid(0) == getpid());
        FAILS(EPERM, setsid());
        _exit(failures);
    }
    CHECK(end_of(child) == 0);
    child = fork();
    if (child == 0) {
        failures = 0;
        CHECK(setsid() == getpid() && getsid(0) == getpid() && getpgrp() == getpid());
        FAILS(ENXIO, open("/dev/tty", O_RDWR));
        FAILS(EPERM, setpgid(0, 0));
        _exit(failures);
    }
    CHECK(end_of(child) == 0);
    // A signal to a group reaches all of it.
    pid_t first = fork();
    if (first == 0) {
        setpgid(0, 0);
        for (;;) pause();
    }
    setpgid(first, first);
    pid_t second = fork();
    if (second == 0) {
        for (;;) pause();
    }
    CHECK(setpgid(second, first) == 0 && getpgid(second) == first);
    CHECK(killpg(first, SIGINT) == 0 && end_of(first) == SIGINT && end_of(second) == SIGINT);
    FAILS(ESRCH, killpg(first, 0));
    FAILS(ECHILD, waitpid(-first, 0, 0));
}

static void identity_and_time(void) {
    CHECK(getuid() == geteuid() && getgid() == getegid());
    struct utsname names;
    CHECK(uname(&names) == 0 && strcmp(names.sysname, "Linux") == 0 && strcmp(names.machine, "x86_64") == 0);
    struct sysinfo system;
    CHECK(sysinfo(&system) == 0 && system.totalram > system.freeram && system.procs > 0);
    struct timespec first, second, resolution;
    CHECK(clock_gettime(CLOCK_MONOTONIC, &first) == 0 && clock_getres(CLOCK_MONOTONIC, &resolution) == 0);
    for (int i = 0; i < 1000; i++) {
        clock_gettime(CLOCK_MONOTONIC, &second);
        CHECK(second.tv_sec > first.tv_sec || (second.tv_sec == first.tv_sec && second.tv_nsec >= first.tv_nsec));
        first = second;
    }
    struct timespec wish = {0, 30000000};
    clock_gettime(CLOCK_MONOTONIC, &first);
    CHECK(clock_nanosleep(CLOCK_MONOTONIC, 0, &wish, 0) == 0 && elapsed_ms(&first) >= 30);
    CHECK(time(0) > 1700000000);
    // At a fixed address since before there was a vDSO: dietlibc's programs use it.
    struct timeval day = {0, 0};
    long begin = time(0);
    CHECK(((int (*)(struct timeval *, void *))0xffffffffff600000)(&day, 0) == 0 && day.tv_sec >= begin);
    CHECK(((long (*)(long *))0xffffffffff600400)(0) >= begin);
    struct tms times_used;
    CHECK(times(&times_used) != -1);
    struct rusage usage;
    for (volatile int i = 0; i < 20000000; i++) {}
    CHECK(getrusage(RUSAGE_SELF, &usage) == 0 && usage.ru_utime.tv_sec * 1000000 + usage.ru_utime.tv_usec > 0);
    CHECK(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &first) == 0 && first.tv_sec * 1000000000 + first.tv_nsec > 0);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_STACK, &limit) == 0 && limit.rlim_cur >= 1 << 20);
    cpu_set_t set;
    CHECK(sched_getaffinity(0, sizeof set, &set) == 0 && CPU_COUNT(&set) >= 1);
    // The saved id follows the effective one only if one of the two changes.
    gid_t real, effective, saved;
    CHECK(setresgid(0, 0, 0) == 0 && setregid(-1, 0) == 0 && setresgid(-1, 5, -1) == 0);
    CHECK(getresgid(&real, &effective, &saved) == 0 && real == 0 && effective == 5 && saved == 0);
    CHECK(setregid(-1, 0) == 0 && getresgid(&real, &effective, &saved) == 0 && effective == 0 && saved == 0);
    CHECK(setregid(5, -1) == 0 && getresgid(&real, &effective, &saved) == 0 && real == 5 && saved == 0);
    CHECK(setresgid(0, 0, 0) == 0);
    errno = 0;
    CHECK(getpriority(PRIO_PROCESS, 0) == 0 && errno == 0 && setpriority(PRIO_PROCESS, 0, 5) == 0);
    CHECK(getpriority(PRIO_PROCESS, 0) == 5 && sched_yield() == 0);
    pid_t child = fork();
    if (child == 0) {
        // Ids are bookkeeping.
        _exit(setgid(100) || setuid(200) || getuid() != 200 || getegid() != 100);
    }
    CHECK(end_of(child) == 0);
    int descriptor = syscall(SYS_pidfd_open, getpid(), 0);
    CHECK(descriptor >= 0 && close(descriptor) == 0);
}

int main(int argc, char **argv) {
    if (argc > 2 && strcmp(argv[1], "--child") == 0) {
        programs(argv[2], argv);
        return 3;
    }
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) strcpy(self, argv[0]);
    static const struct test tests[] = {
        TEST(fork_and_wait), TEST(orphans), TEST(adopted_orphans), TEST(signal_at_parents_end), TEST(execute), TEST(spawn), TEST(signals), TEST(interrupted_calls), TEST(faults),
        TEST(child_signals), TEST(stop_and_continue), TEST(groups_and_sessions), TEST(identity_and_time),
    };
    return RUN_TESTS(tests);
}
