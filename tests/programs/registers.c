#include "check.h"

// What a system call keeps: every register but rax, rcx and r11, and the flags.
enum { RDI, RSI, RDX, R10, R8, R9, RBX, RBP, R12, R13, R14, R15, FLAGS, RSP, RAX, ALL };
enum { CARRY = 1, ZERO = 1 << 6, DIRECTION = 1 << 10, FIXED = 0x202 };

static volatile sig_atomic_t handled;

// Call with all registers as `in` says (but rsp, which is where it is), and say what is in them then.
__attribute__((naked, noinline)) static void call(const uint64_t *in __attribute__((unused)), uint64_t *out __attribute__((unused))) {
    __asm__(".intel_syntax noprefix; push rbx; push rbp; push r12; push r13; push r14; push r15; push rsi\n"
            "mov rax, [rdi + 8 * 14]; mov [rsi + 8 * 13], rsp; push [rdi + 8 * 12]; popfq\n"
            "mov rsi, [rdi + 8 * 1]; mov rdx, [rdi + 8 * 2]; mov r10, [rdi + 8 * 3]; mov r8, [rdi + 8 * 4]\n"
            "mov r9, [rdi + 8 * 5]; mov rbx, [rdi + 8 * 6]; mov rbp, [rdi + 8 * 7]; mov r12, [rdi + 8 * 8]\n"
            "mov r13, [rdi + 8 * 9]; mov r14, [rdi + 8 * 10]; mov r15, [rdi + 8 * 11]; mov rdi, [rdi]\n"
            "syscall\n"
            "mov rcx, [rsp]; pushfq; pop [rcx + 8 * 12]; cld; mov [rcx], rdi; mov rdi, rcx\n"
            "mov [rdi + 8 * 1], rsi; mov [rdi + 8 * 2], rdx; mov [rdi + 8 * 3], r10; mov [rdi + 8 * 4], r8\n"
            "mov [rdi + 8 * 5], r9; mov [rdi + 8 * 6], rbx; mov [rdi + 8 * 7], rbp; mov [rdi + 8 * 8], r12\n"
            "mov [rdi + 8 * 9], r13; mov [rdi + 8 * 10], r14; mov [rdi + 8 * 11], r15; mov [rdi + 8 * 14], rax\n"
            "sub [rdi + 8 * 13], rsp\n"
            "pop rsi; pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx; ret; .att_syntax\n");
}

static long keeps(long number, uint64_t first, uint64_t second, uint64_t third, uint64_t flags) {
    uint64_t in[ALL], out[ALL];
    for (int i = 0; i < ALL; i++) in[i] = 0x1111111111111111 * (uint64_t)(i + 1);
    in[RDI] = first, in[RSI] = second, in[RDX] = third, in[R10] = 8, in[RAX] = (uint64_t)number, in[FLAGS] = FIXED | flags;
    call(in, out);
    in[RSP] = 0;
    for (int i = 0; i < RAX; i++)
        if (in[i] != out[i]) failed(__FILE__, __LINE__, "a register is kept"), printf("  number %ld, register %d: %#lx\n", number, i, out[i]);
    return (long)out[RAX];
}

// Uses what a handler may use, and leaves other values there.
static void handler(int signal) {
    (void)signal;
    handled++;
    __asm__ volatile(".intel_syntax noprefix; mov rbx, 1; mov r12, 2; mov r13, 3; mov r14, 4; mov r15, 5; mov rdx, 6; mov r8, 7; mov r9, 8; mov r10, 9; std; cld; .att_syntax"
                     ::: "rbx", "r12", "r13", "r14", "r15", "rdx", "r8", "r9", "r10", "cc");
}

static void over_calls(void) {
    CHECK(keeps(SYS_getpid, 1, 2, 3, CARRY) == getpid());
    CHECK(keeps(SYS_getpid, 1, 2, 3, ZERO | DIRECTION) == getpid());
    CHECK(keeps(SYS_close, 999, 2, 3, ZERO) == -EBADF);
    CHECK(keeps(SYS_getppid, 1, 2, 3, 0) == getppid());
    CHECK(keeps(511, 1, 2, 3, CARRY) == -ENOSYS);
    CHECK(keeps(512, 1, 2, 3, 0) == -ENOSYS);
    CHECK(keeps(-1, 1, 2, 3, 0) == -ENOSYS);
}

static void over_handlers(void) {
    struct sigaction action = {.sa_handler = handler};
    CHECK(sigaction(SIGUSR1, &action, NULL) == 0 && sigaction(SIGALRM, &action, NULL) == 0);
    uint64_t pid = (uint64_t)getpid(), all = ~0UL, none = 0;
    CHECK(keeps(SYS_kill, pid, SIGUSR1, 3, CARRY | DIRECTION) == 0 && handled == 1);
    // Two at once: the second handler's frame holds the first handler's registers, then the call's.
    CHECK(keeps(SYS_rt_sigprocmask, SIG_BLOCK, (uint64_t)&all, 0, 0) == 0);
    CHECK(keeps(SYS_kill, pid, SIGUSR1, 3, 0) == 0 && keeps(SYS_kill, pid, SIGALRM, 3, 0) == 0 && handled == 1);
    CHECK(keeps(SYS_rt_sigprocmask, SIG_SETMASK, (uint64_t)&none, 0, ZERO) == 0 && handled == 3);
    // A wait that a handler ends; and one that is made again.
    struct itimerval soon = {.it_value.tv_usec = 20000};
    CHECK(keeps(SYS_rt_sigprocmask, SIG_BLOCK, (uint64_t)&all, 0, 0) == 0 && setitimer(ITIMER_REAL, &soon, NULL) == 0);
    CHECK(keeps(SYS_rt_sigsuspend, (uint64_t)&none, 8, 3, DIRECTION) == -EINTR && handled == 4);
    CHECK(keeps(SYS_rt_sigprocmask, SIG_SETMASK, (uint64_t)&none, 0, 0) == 0);
    int ends[2];
    NEED(pipe(ends) == 0);
    action.sa_flags = SA_RESTART;
    CHECK(sigaction(SIGALRM, &action, NULL) == 0);
    pid_t child = fork();
    if (child == 0) {
        usleep(60000);
        _exit(write(ends[1], "x", 1) != 1);
    }
    CHECK(setitimer(ITIMER_REAL, &soon, NULL) == 0);
    char byte = 0;
    CHECK(keeps(SYS_read, (uint64_t)ends[0], (uint64_t)&byte, 1, CARRY) == 1 && byte == 'x');
    while (handled < 5) usleep(1000);
    CHECK(waitpid(child, NULL, 0) == child);
}

static void over_processes(void) {
    int status = -1;
    failures = 0;
    long child = keeps(SYS_fork, 1, 2, 3, CARRY);
    if (child == 0) _exit(failures);
    CHECK(child > 0 && waitpid((pid_t)child, &status, 0) == child && status == 0);
}

static const struct test tests[] = {TEST(over_calls), TEST(over_handlers), TEST(over_processes)};

int main(int argc, char **argv) { return RUN_TESTS(tests); }
