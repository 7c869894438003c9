#include "check.h"

static volatile sig_atomic_t count;

static void counts(int signal) {
    (void)signal;
    count++;
}

static void set(int resource, rlim_t soft, rlim_t hard) {
    struct rlimit limit = {soft, hard};
    CHECK(setrlimit(resource, &limit) == 0);
}

static void descriptors(void) {
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= 64);
    set(RLIMIT_NOFILE, 10, limit.rlim_max);
    int last = -1, next;
    while ((next = dup(0)) >= 0) last = next;
    CHECK(errno == EMFILE && last == 9);
    FAILS(EMFILE, open("/dev/null", O_RDONLY));
    int pair[2];
    FAILS(EMFILE, pipe(pair));
    FAILS(EBADF, dup2(0, 10));
    FAILS(EINVAL, fcntl(0, F_DUPFD, 10));
    CHECK(sysconf(_SC_OPEN_MAX) == 10);
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (dup(0) != -1 || errno != EMFILE) _exit(1);
        char *arguments[] = {"limits", "--descriptors", NULL};
        execv("/proc/self/exe", arguments);
        _exit(2);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    // What is open already stays open below a new limit.
    set(RLIMIT_NOFILE, 5, limit.rlim_max);
    CHECK(fcntl(9, F_GETFD) == 0 && close(9) == 0);
}

static void lengths_of_files(void) {
    char path[] = "/tmp/limits.XXXXXX", bytes[4096] = {0};
    int file = mkstemp(path);
    NEED(file >= 0);
    signal(SIGXFSZ, counts);
    set(RLIMIT_FSIZE, 6000, RLIM_INFINITY);
    CHECK(write(file, bytes, 4096) == 4096);
    CHECK(write(file, bytes, 4096) == 6000 - 4096);
    CHECK(count == 0);
    FAILS(EFBIG, write(file, bytes, 1));
    CHECK(count == 1);
    FAILS(EFBIG, pwrite(file, bytes, 1, 6000));
    CHECK(pwrite(file, bytes, 100, 5950) == 50 && count == 2);
    FAILS(EFBIG, ftruncate(file, 6001));
    FAILS(EFBIG, truncate(path, 7000));
    CHECK(count == 4 && ftruncate(file, 3000) == 0);
    CHECK(fcntl(file, F_SETFL, O_APPEND) == 0 && lseek(file, 0, SEEK_SET) == 0);
    int appending = open(path, O_WRONLY | O_APPEND);
    CHECK(write(appending, bytes, 4096) == 3000);
    FAILS(EFBIG, write(appending, bytes, 1));
    // Pipes are not files of that kind.
    int pair[2];
    CHECK(pipe(pair) == 0 && write(pair[1], bytes, 4096) == 4096 && write(pair[1], bytes, 4096) == 4096);
    int status;
    pid_t child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_DFL);
        write(appending, bytes, 1);
        _exit(1);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
    child = fork();
    if (child == 0) {
        signal(SIGXFSZ, SIG_IGN);
        char *arguments[] = {"limits", "--file", path, NULL};
        execv("/proc/self/exe", arguments);
        _exit(2);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    unlink(path);
}

static void memory(void) {
    set(RLIMIT_AS, 64 << 20, RLIM_INFINITY);
    FAILS(ENOMEM, mmap(NULL, 64 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    void *some = mmap(NULL, 16 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    CHECK(some != MAP_FAILED);
    FAILS(ENOMEM, mmap(NULL, 56 << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    FAILS(ENOMEM, mremap(some, 16 << 20, 80 << 20, MREMAP_MAYMOVE));
    CHECK(munmap(some, 16 << 20) == 0);
    set(RLIMIT_AS, RLIM_INFINITY, RLIM_INFINITY);
    set(RLIMIT_DATA, 8 << 20, RLIM_INFINITY);
    errno = 0;
    CHECK(malloc(32 << 20) == NULL && errno == ENOMEM);
    CHECK(sbrk(16 << 20) == (void *)-1 && errno == ENOMEM);
    some = mmap(NULL, 16 << 20, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(some != MAP_FAILED);
    some = mmap(NULL, 16 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(some != MAP_FAILED);
    void *little = malloc(1 << 20);
    CHECK(little != NULL);
}

static void stacks(void) {
    int status;
    static const rlim_t lengths[] = {1 << 20, 32 << 20};
    for (int i = 0; i < 2; i++) {
        pid_t child = fork();
        if (child == 0) {
            struct rlimit limit = {lengths[i], RLIM_INFINITY};
            setrlimit(RLIMIT_STACK, &limit);
            char *arguments[] = {"limits", "--stack", i ? "24" : "4", NULL};
            execv("/proc/self/exe", arguments);
            _exit(2);
        }
        CHECK(waitpid(child, &status, 0) == child);
        CHECK(i ? status == 0 : WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    }
}

static void processes(void) {
    int status;
    pid_t child = fork();
    if (child == 0) {
        if (setuid(4242)) _exit(1);
        struct rlimit limit = {3, 3};
        if (setrlimit(RLIMIT_NPROC, &limit)) _exit(2);
        int made = 0;
        pid_t children[5], next;
        while (made < 5 && (next = fork()) >= 0) {
            if (next == 0)
                for (;;) pause();
            children[made++] = next;
        }
        int error = errno;
        pthread_t thread;
        int refused = pthread_create(&thread, NULL, (void *(*)(void *))(void *)pause, NULL);
        for (int i = 0; i < made; i++) kill(children[i], SIGKILL);
        if (made != 2 || error != EAGAIN || refused != EAGAIN) _exit(3);
        limit.rlim_max = 4;
        if (setrlimit(RLIMIT_NPROC, &limit) != -1 || errno != EPERM) _exit(4);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void limits_of_others(void) {
    struct rlimit limit = {3, 2}, old;
    FAILS(EINVAL, setrlimit(RLIMIT_CORE, &limit));
    FAILS(EINVAL, setrlimit(77, &limit));
    FAILS(EFAULT, getrlimit(RLIMIT_CORE, (void *)-1));
    set(RLIMIT_CORE, 0, RLIM_INFINITY);
    CHECK(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0);
    int gate[2], status;
    char byte;
    CHECK(pipe(gate) == 0);
    pid_t child = fork();
    if (child == 0) {
        read(gate[0], &byte, 1);
        struct rlimit seen;
        getrlimit(RLIMIT_CPU, &seen);
        _exit(seen.rlim_cur == 77 && seen.rlim_max == 78 ? 0 : 1);
    }
    limit.rlim_cur = 77, limit.rlim_max = 78;
    CHECK(prlimit(child, RLIMIT_CPU, &limit, &old) == 0 && old.rlim_cur == RLIM_INFINITY);
    CHECK(prlimit(child, RLIMIT_CPU, NULL, &old) == 0 && old.rlim_cur == 77);
    write(gate[1], "x", 1);
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    FAILS(ESRCH, prlimit(child, RLIMIT_CPU, NULL, &old));
    // Signals that wait.
    CHECK(getrlimit(RLIMIT_SIGPENDING, &limit) == 0 && limit.rlim_cur >= 32);
    limit.rlim_cur = 5;
    CHECK(setrlimit(RLIMIT_SIGPENDING, &limit) == 0);
    sigset_t blocked;
    sigemptyset(&blocked), sigaddset(&blocked, SIGRTMIN + 2);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    int queued = 0;
    // Those of the user's other processes count on Linux, too.
    while (queued < 100 && sigqueue(getpid(), SIGRTMIN + 2, (union sigval){.sival_int = queued}) == 0) queued++;
    CHECK(errno == EAGAIN && queued <= 5);
    siginfo_t information;
    for (int i = 0; i < queued; i++)
        CHECK(sigwaitinfo(&blocked, &information) == SIGRTMIN + 2 && information.si_value.sival_int == i && information.si_code == SI_QUEUE);
    struct timespec none = {0, 0};
    FAILS(EAGAIN, sigtimedwait(&blocked, &information, &none));
}

static const struct test tests[] = {
    TEST(descriptors), TEST(lengths_of_files), TEST(memory), TEST(stacks), TEST(processes), TEST(limits_of_others),
};

static int deep(int megabytes) {
    volatile char room[1 << 20];
    for (int i = 0; i < (1 << 20); i += 4096) room[i] = 1;
    return megabytes <= 1 ? room[0] : deep(megabytes - 1) + room[4096];
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--descriptors") == 0) return !(dup(0) == -1 && errno == EMFILE);
    if (argc > 2 && strcmp(argv[1], "--stack") == 0) return deep(atoi(argv[2])) == 0;
    if (argc > 2 && strcmp(argv[1], "--file") == 0) {
        int file = open(argv[2], O_WRONLY | O_APPEND);
        return !(write(file, "x", 1) == -1 && errno == EFBIG);
    }
    return RUN_TESTS(tests);
}
