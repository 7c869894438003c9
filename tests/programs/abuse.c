// What a program may do wrong. Each argument names one way; the program is its only victim.
#include "check.h"

static void null_dereference(void) { *(volatile int *)0 = 1; }
static void jump_to_garbage(void) { ((void (*)(void))0x123456789a)(); }
static int deeper(int depth) {
    volatile char room[8192];
    room[0] = depth;
    return deeper(depth + 1) + room[0];
}
static void stack_overflow(void) { deeper(0); }
static void illegal_instruction(void) { __asm__ volatile("ud2"); }
static void privileged_instruction(void) { __asm__ volatile("hlt"); }
static void port_instruction(void) { __asm__ volatile("outb %%al, $0x80" : : "a"(0)); }
static void kernel_read(void) { *(volatile long *)0xffffffff80000000; }
static void kernel_write(void) { *(volatile long *)0xffff800000000000 = 1; }
static void non_canonical(void) { *(volatile long *)0x8000000000000000 = 1; }
static void stack_pointer_garbage(void) { __asm__ volatile("mov $0x1234567, %rsp; push %rax"); }
static void stack_pointer_call(void) { __asm__ volatile("mov $0x8765432100000000, %rsp; mov $39, %eax; syscall; push %rax"); }
static void endless_loop(void) {
    for (;;) {}
}

static void memory_until_failure(void) {
    // Touched, so that it is really there.
    unsigned long count = 0;
    for (char *block; (block = malloc(1 << 20)); count++)
        for (int i = 0; i < 1 << 20; i += 4096) block[i] = 1;
    printf("%s after %lu MiB\n", errno == ENOMEM ? "ENOMEM" : "another error", count);
    // With little left the program still works.
    FILE *file = fopen("/tmp/x", "w");
    if (file) fclose(file);
    exit(errno == ENOMEM && count > 50 ? 0 : 1);
}

static void fork_bomb(void) {
    for (;;) fork();
}

static void forks_until_failure(void) {
    setpgid(0, 0);
    int count = 0;
    for (pid_t child; (child = fork()) >= 0; count++)
        if (child == 0) {
            pause();
            _exit(0);
        }
    int limited = errno == EAGAIN || errno == ENOMEM;
    printf("%s\n", limited ? "limited" : strerror(errno));
    signal(SIGTERM, SIG_IGN);
    kill(0, SIGTERM);
    while (wait(0) > 0 || errno == EINTR) {}
    exit(limited && count >= 20 ? 0 : 1);
}

static void threads_until_failure(void) {
    int count = 0;
    pthread_t thread;
    while (count < 1200 && pthread_create(&thread, 0, (void *(*)(void *))pause, 0) == 0) count++;
    printf("%s\n", count >= 50 ? "many threads" : "few threads");
    exit(0);
}

static void random_bytes_as_programs(void) {
    int image_length;
    static unsigned char own[1 << 21], bad[1 << 21];
    int file = open("/proc/self/exe", O_RDONLY);
    image_length = read(file, own, sizeof own);
    close(file);
    unsigned state = 12345, refused = 0, killed = 0;
    for (int round = 0; round < 40; round++) {
        int length = image_length;
        memcpy(bad, own, length);
        state = state * 1103515245 + 12345;
        if (round < 5) length = state % 4096;
        else if (round < 10) bad[16 + round] ^= 0xff;
        else if (round < 12) bad[18] = 183;
        else if (round < 15) for (int i = 0; i < length; i++) bad[i] = (state = state * 1103515245 + 12345) >> 16;
        else for (int i = 0; i < 5; i++) bad[(state = state * 1103515245 + 12345) >> 8 & 1023] = state >> 20;
        file = open("/tmp/bad", O_WRONLY | O_CREAT | O_TRUNC, 0755);
        write(file, bad, length);
        close(file);
        pid_t child = fork();
        if (child == 0) {
            int none = open("/dev/null", O_RDWR);
            dup2(none, 1);
            dup2(none, 2);
            alarm(30);
            char *words[] = {"bad", "nothing", 0}, *environment[] = {0};
            execve("/tmp/bad", words, environment);
            _exit(errno == ENOEXEC ? 100 : errno == ENOMEM || errno == EFAULT || errno == EINVAL ? 101 : 102);
        }
        int status;
        waitpid(child, &status, 0);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 100) refused++;
        if (WIFEXITED(status) && WEXITSTATUS(status) == 102) printf("round %d: an odd error\n", round);
        if (WIFSIGNALED(status)) killed++;
        if (round < 5 && status != 100 << 8) printf("round %d: a truncated program gives %#x\n", round, status);
    }
    unlink("/tmp/bad");
    printf("%s\n", refused >= 10 ? "refused" : "too few were refused");
    exit(refused >= 10 ? 0 : 1);
}

// Calls that end, stop or block the caller or others by design, or leave their caller elsewhere.
static int harmful(long number) {
    static const short list[] = {
        SYS_exit, SYS_exit_group, SYS_fork, SYS_vfork, SYS_clone, SYS_clone3, SYS_execve, SYS_execveat, SYS_rt_sigreturn, SYS_pause,
        SYS_rt_sigsuspend, SYS_kill, SYS_tkill, SYS_tgkill, SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_reboot, SYS_alarm, SYS_setitimer,
        SYS_wait4, SYS_waitid, SYS_pselect6, SYS_select, SYS_poll, SYS_ppoll, SYS_nanosleep, SYS_clock_nanosleep, SYS_futex, SYS_read,
        SYS_readv, SYS_pread64, SYS_preadv, SYS_rt_sigtimedwait, SYS_arch_prctl, SYS_munmap, SYS_mmap, SYS_mremap, SYS_mprotect, SYS_brk,
        SYS_setrlimit, SYS_prlimit64, SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_sigaltstack, SYS_set_tid_address, SYS_set_robust_list,
        SYS_rseq, SYS_close_range, SYS_madvise, SYS_flock, SYS_vhangup, SYS_pivot_root, SYS_chroot, SYS_semtimedop, SYS_restart_syscall,
        SYS_ptrace, SYS_unlinkat, SYS_sync, SYS_setuid, SYS_setgid, SYS_accept, SYS_recvfrom, SYS_recvmsg, SYS_epoll_wait, SYS_epoll_pwait, SYS_io_getevents,
        SYS_mq_timedreceive, SYS_sched_setscheduler, SYS_sched_setparam, SYS_personality, SYS_close, SYS_dup2, SYS_dup3, SYS_prctl, SYS_ioctl,
    };
    for (unsigned i = 0; i < sizeof list / sizeof list[0]; i++)
        if (list[i] == number) return 1;
    return 0;
}

static void every_call_with_nonsense(void) {
    static const long values[] = {0, 1, 3, -1, 0x1000, 0x123456789000, 0x7fffffffffff, 0x8000000000000000, 0xffffffff80000000, 0x7fffffffe000, 4096};
    unsigned state = 1;
    chdir("/tmp");
    for (long number = 0; number < 460; number++) {
        if (harmful(number)) continue;
        pid_t child = fork();
        if (child == 0) {
            alarm(200);
            int none = open("/dev/null", O_RDWR);
            dup2(none, 0);
            dup2(none, 1);
            for (int round = 0; round < 60; round++) {
                long arguments[6];
                for (int i = 0; i < 6; i++) arguments[i] = values[(state = state * 1103515245 + 12345) >> 16 & 15 % 11];
                syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
            }
            _exit(0);
        }
        int status;
        waitpid(child, &status, 0);
        if (status) printf("call %ld: status %#x\n", number, status);
    }
    printf("done\n");
    exit(0);
}

static void wild_pointers(void) {
    void *wild[] = {(void *)0x1000, (void *)0x123456789000, (void *)0xffffffff80000000, (void *)0x8000000000000000, (void *)-8L};
    int file = open("/tmp/wild", O_RDWR | O_CREAT, 0600), ends[2];
    pipe(ends);
    write(file, "abcdefgh", 8);
    write(ends[1], "abcdefgh", 8);
    int directory = open("/tmp", O_RDONLY);
    for (int i = 0; i < 5; i++) {
        void *p = wild[i];
        long number;
#define WILD(...)                                                                                                      \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        number = syscall(__VA_ARGS__);                                                                                 \
        if (number != -1 || errno != EFAULT) printf("%s with %p: %ld, errno %d\n", #__VA_ARGS__, p, number, errno);     \
    } while (0)
        lseek(file, 0, SEEK_SET);
        WILD(SYS_read, file, p, 4);
        WILD(SYS_read, ends[0], p, 4);
        WILD(SYS_write, file, p, 4);
        WILD(SYS_write, ends[1], p, 4);
        WILD(SYS_pread64, file, p, 4, 0);
        WILD(SYS_pwrite64, file, p, 4, 0);
        WILD(SYS_readv, file, p, 1);
        WILD(SYS_writev, file, p, 1);
        struct iovec bad = {p, 4};
        WILD(SYS_readv, file, &bad, 1);
        WILD(SYS_writev, file, &bad, 1);
        WILD(SYS_open, p, 0);
        WILD(SYS_openat, AT_FDCWD, p, 0);
        WILD(SYS_stat, p, &bad);
        WILD(SYS_stat, "/tmp", p);
        WILD(SYS_lstat, "/tmp", p);
        WILD(SYS_fstat, file, p);
        WILD(SYS_newfstatat, AT_FDCWD, "/tmp", p, 0);
        WILD(SYS_statx, AT_FDCWD, "/tmp", 0, 0xfff, p);
        WILD(SYS_statfs, "/tmp", p);
        WILD(SYS_access, p, 0);
        WILD(SYS_getdents64, directory, p, 1000);
        WILD(SYS_getcwd, p, 1000);
        WILD(SYS_chdir, p);
        WILD(SYS_mkdir, p, 0700);
        WILD(SYS_rmdir, p);
        WILD(SYS_unlink, p);
        WILD(SYS_rename, p, "/tmp/y");
        WILD(SYS_rename, "/tmp/wild", p);
        WILD(SYS_link, "/tmp/wild", p);
        WILD(SYS_symlink, p, "/tmp/y");
        WILD(SYS_readlink, "/proc/self/exe", p, 10);
        WILD(SYS_chmod, p, 0600);
        WILD(SYS_utimensat, AT_FDCWD, "/tmp/wild", p, 0);
        WILD(SYS_pipe, p);
        WILD(SYS_pipe2, p, 0);
        WILD(SYS_fcntl, file, F_GETLK, p);
        WILD(SYS_poll, p, 1, 0);
        WILD(SYS_uname, p);
        WILD(SYS_sysinfo, p);
        WILD(SYS_clock_gettime, CLOCK_MONOTONIC, p);
        WILD(SYS_nanosleep, p, 0);
        WILD(SYS_getrusage, 0, p);
        WILD(SYS_times, p);
        WILD(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, p);
        WILD(SYS_getrandom, p, 8, 0);
        WILD(SYS_rt_sigaction, SIGUSR1, p, 0, 8);
        WILD(SYS_rt_sigprocmask, SIG_BLOCK, p, 0, 8);
        WILD(SYS_sigaltstack, p, 0);
        WILD(SYS_setitimer, ITIMER_REAL, p, 0);
        WILD(SYS_futex, p, 0, 0, 0);
        WILD(SYS_execve, p, 0, 0);
        WILD(SYS_execve, "/bin/sh", p, 0);
        if (fork() == 0) _exit(0);
        WILD(SYS_wait4, -1, p, 0, 0);
        while (wait(0) > 0) {}
    }
    unlink("/tmp/wild");
    printf("done\n");
    exit(0);
}

static void random_descriptors(void) {
    char bytes[64];
    unsigned state = 5;
    for (int i = 0; i < 5000; i++) {
        state = state * 1103515245 + 12345;
        int file = (int)(state >> (state & 15));
        if (file >= 0 && file < 3) continue;
        lseek(file, 0, SEEK_SET);
        read(file, bytes, 64);
        write(file, bytes, 64);
        fcntl(file, F_GETFL);
        close(file);
    }
    printf("done\n");
    exit(0);
}

// Where Baton's personality library and its data are (abi::NATIVE_BASE; protocol::process).
static char *const library = (char *)0x400010000000;
static char *const library_data = (char *)0x400020000000;

static void overwrite_library_code(void) { library[4096] = 1; }

static void overwrite_library_data(void) {
    alarm(60);
    for (long i = 0; i < 64 << 10; i++) library_data[i] = 0x55;
    // Whatever this does, it does to this program.
    for (int i = 0; i < 100; i++) {
        getpid();
        write(1, "", 0);
        open("/tmp/x", O_RDONLY);
        fork();
    }
    for (;;) {}
}

// A thread forks in a loop while others read a pipe and a file: no byte may be lost.
static volatile int forking = 1;
static int stream[2];

static void *fork_in_a_loop(void *argument) {
    (void)argument;
    while (forking) {
        pid_t child = fork();
        if (child == 0) _exit(0);
        if (child > 0) waitpid(child, 0, 0);
    }
    return 0;
}

static void *feed(void *argument) {
    (void)argument;
    static unsigned char piece[997];
    unsigned at = 0;
    for (int i = 0; i < 3000; i++) {
        for (unsigned j = 0; j < sizeof piece; j++) piece[j] = at++ * 13 >> 2;
        for (unsigned sent = 0; sent < sizeof piece;) {
            int count = write(stream[1], piece + sent, sizeof piece - sent);
            if (count > 0) sent += count;
        }
    }
    close(stream[1]);
    return 0;
}

static void forks_beside_readers(void) {
    static unsigned char content[200000], got[200000];
    for (unsigned i = 0; i < sizeof content; i++) content[i] = i * 31 >> 3;
    int file = open("/tmp/read", O_RDWR | O_CREAT | O_TRUNC, 0600);
    write(file, content, sizeof content);
    pipe(stream);
    pthread_t forker, feeder;
    pthread_create(&forker, 0, fork_in_a_loop, 0);
    pthread_create(&feeder, 0, feed, 0);
    unsigned at = 0, wrong = 0;
    static unsigned char piece[1500];
    for (int count; (count = read(stream[0], piece, sizeof piece)) > 0;) {
        for (int i = 0; i < count; i++) wrong += piece[i] != (unsigned char)(at++ * 13 >> 2);
        if (at % 7 == 0) {
            lseek(file, 0, SEEK_SET);
            unsigned filled = 0;
            for (int n; filled < sizeof got && (n = read(file, got + filled, 4999)) > 0;) filled += n;
            wrong += filled != sizeof got || memcmp(got, content, sizeof got) != 0;
        }
    }
    forking = 0;
    pthread_join(forker, 0);
    pthread_join(feeder, 0);
    unlink("/tmp/read");
    printf("%u bytes, %u wrong\n", at, wrong);
    exit(wrong || at != 3000 * 997);
}

int main(int count, char **words) {
    static const struct test ways[] = {
        TEST(null_dereference), TEST(jump_to_garbage), TEST(stack_overflow), TEST(illegal_instruction), TEST(privileged_instruction),
        TEST(port_instruction), TEST(kernel_read), TEST(kernel_write), TEST(non_canonical), TEST(stack_pointer_garbage),
        TEST(stack_pointer_call), TEST(endless_loop), TEST(memory_until_failure), TEST(fork_bomb), TEST(forks_until_failure),
        TEST(threads_until_failure), TEST(random_bytes_as_programs), TEST(every_call_with_nonsense), TEST(wild_pointers),
        TEST(random_descriptors), TEST(overwrite_library_code), TEST(overwrite_library_data), TEST(forks_beside_readers),
    };
    for (unsigned i = 0; count > 1 && i < sizeof ways / sizeof ways[0]; i++)
        if (strcmp(words[1], ways[i].name) == 0) ways[i].body();
    return 99;
}
