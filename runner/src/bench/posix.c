// What POSIX programs pay, measured by one: a freestanding static Linux program. One line of JSON a row on standard output.
//
// The time-stamp counter counts instructions under QEMU's -icount shift=0. Each row is the median of rounds that are
// timed one by one, less what timing nothing gives, as for the figures of Linux that they are compared with.
//
// With an argument it does something else: "exit" ends at once (what fork_exec_wait executes), "mark" says the
// counter and the free memory now.

typedef unsigned long word;

// Programs of this size were used for Linux's figure; without it this one would be smaller.
__attribute__((used, aligned(64))) static const char size_of_13_kib[8192] = {1};

// Always inlined: a child of vfork uses this very stack.
__attribute__((always_inline)) static inline long call(long number, word a, word b, word c, word d) {
    long result;
    register word r10 __asm__("r10") = d;
    // The file and the offset of an anonymous mapping; nothing else here takes so many arguments.
    register word r8 __asm__("r8") = -1;
    register word r9 __asm__("r9") = 0;
    __asm__ volatile("syscall"
                     : "=a"(result)
                     : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
                     : "rcx", "r11", "memory");
    return result;
}

enum { READ = 0, WRITE = 1, OPEN = 2, CLOSE = 3, STAT = 4, MMAP = 9, MUNMAP = 11, PREAD = 17, PIPE = 22, GETPID = 39, FORK = 57, VFORK = 58,
       EXECVE = 59, EXIT = 60, WAIT4 = 61, FTRUNCATE = 77, MKDIR = 83, SYSINFO = 99 };

static word ticks(void) {
    unsigned low, high;
    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (word)high << 32 | low;
}

static word length(const char *text) {
    word count = 0;
    while (text[count]) count++;
    return count;
}

static void say(const char *text) { call(WRITE, 1, (word)text, length(text), 0); }

static void say_number(word value) {
    char digits[24];
    int at = sizeof digits;
    digits[--at] = 0;
    do digits[--at] = '0' + value % 10; while (value /= 10);
    say(digits + at);
}

static void fail(const char *what) {
    call(WRITE, 2, (word)what, length(what), 0);
    call(EXIT, 1, 0, 0, 0);
    __builtin_unreachable();
}

enum { ROUNDS_MAXIMUM = 1001 };
static word times[ROUNDS_MAXIMUM];
static word nothing;

static word median(int count) {
    for (int i = 1; i < count; i++) {
        word value = times[i];
        int j = i;
        for (; j > 0 && times[j - 1] > value; j--) times[j] = times[j - 1];
        times[j] = value;
    }
    return times[count / 2];
}

#define MEASURE(rounds, body)                                                                                          \
    ({                                                                                                                 \
        for (int round = 0; round < rounds + 3; round++) {                                                             \
            word start = ticks();                                                                                      \
            body;                                                                                                      \
            /* The first rounds find caches and memory cold. */                                                        \
            if (round >= 3) times[round - 3] = ticks() - start;                                                        \
        }                                                                                                              \
        median(rounds) - nothing;                                                                                      \
    })

static void row(const char *name, word value, const char *how) {
    say("{\"name\":\"");
    say(name);
    say("\",\"value\":");
    say_number(value);
    say(",\"unit\":\"instructions\",\"how\":\"");
    say(how);
    say("\"}\n");
}

static char page[4096];
static const char *program;

static word pipe_round_trip(word bytes) {
    int there[2], back[2];
    if (call(PIPE, (word)there, 0, 0, 0) || call(PIPE, (word)back, 0, 0, 0)) fail("pipe\n");
    long child = call(FORK, 0, 0, 0, 0);
    if (child < 0) fail("fork\n");
    if (child == 0) {
        call(CLOSE, there[1], 0, 0, 0);
        while (call(READ, there[0], (word)page, bytes, 0) == (long)bytes) call(WRITE, back[1], (word)page, bytes, 0);
        call(EXIT, 0, 0, 0, 0);
    }
    call(CLOSE, there[0], 0, 0, 0);
    word value = MEASURE(501, {
        call(WRITE, there[1], (word)page, bytes, 0);
        if (call(READ, back[0], (word)page, bytes, 0) != (long)bytes) fail("pipe round trip\n");
    });
    call(CLOSE, there[1], 0, 0, 0);
    call(CLOSE, back[0], 0, 0, 0);
    call(CLOSE, back[1], 0, 0, 0);
    call(WAIT4, child, 0, 0, 0);
    return value;
}

static void execute(void) {
    const char *arguments[] = {program, "exit", 0};
    const char *environment[] = {0};
    call(EXECVE, (word)program, (word)arguments, (word)environment, 0);
    call(EXIT, 99, 0, 0, 0);
}

static void end_of(long child) {
    int status = -1;
    if (child < 0 || call(WAIT4, child, (word)&status, 0, 0) != child || status) fail("a child failed\n");
}

static void touch(void) {
    long address = call(MMAP, 0, sizeof page, 3, 0x22);
    if (address < 0) fail("mmap\n");
    *(volatile char *)address = 1;
    call(MUNMAP, address, sizeof page, 0, 0);
}

static void measure(void) {
    nothing = MEASURE(101, );
    row("getpid", MEASURE(1001, call(GETPID, 0, 0, 0, 0)), "the system call");
    row("foreign_call", MEASURE(1001, call(GETPID, 0, 0, 0, 0)), "a system call that the library answers by itself (getpid)");
    row("pipe_round_trip_1b", pipe_round_trip(1), "a byte there and back between two processes, two pipes");
    row("pipe_round_trip_4k", pipe_round_trip(4096), "4 KiB there and back between two processes, two pipes");

    call(MKDIR, (word) "/tmp/bench", 0755, 0, 0);
    long file = call(OPEN, (word) "/tmp/bench/file", 0102, 0644, 0);
    if (file < 0) fail("cannot make /tmp/bench/file\n");
    for (int i = 0; i < 16; i++) call(WRITE, file, (word)page, sizeof page, 0);
    row("read_1b", MEASURE(501, call(PREAD, file, (word)page, 1, 0)), "pread of a byte, memory file system");
    row("read_4k", MEASURE(501, if (call(PREAD, file, (word)page, sizeof page, 4096) != sizeof page) fail("pread\n")),
        "pread of 4 KiB, memory file system");
    call(CLOSE, file, 0, 0, 0);
    row("open_close", MEASURE(301, {
            long opened = call(OPEN, (word) "/tmp/bench/file", 0, 0, 0);
            if (opened < 0) fail("open\n");
            call(CLOSE, opened, 0, 0, 0);
        }), "open and close of /tmp/bench/file, memory file system");
    static char status[144];
    row("stat", MEASURE(301, call(STAT, (word) "/tmp/bench/file", (word)status, 0, 0)), "stat of /tmp/bench/file");
    row("mmap_touch_munmap", MEASURE(101, touch()), "a page mapped, written once and unmapped");
    row("fork_wait", MEASURE(51, {
            long child = call(FORK, 0, 0, 0, 0);
            if (child == 0) call(EXIT, 0, 0, 0, 0);
            end_of(child);
        }), "fork, exit and wait");
    row("fork_exec_wait", MEASURE(51, {
            long child = call(FORK, 0, 0, 0, 0);
            if (child == 0) execute();
            end_of(child);
        }), "fork, execve of a static program of 13 KiB, exit and wait");
    row("vfork_exec_wait", MEASURE(51, {
            long child = call(VFORK, 0, 0, 0, 0);
            if (child == 0) execute();
            end_of(child);
        }), "vfork, execve of a static program of 13 KiB, exit and wait");
}

static void mark(void) {
    // struct sysinfo: uptime, three loads, all memory, free memory, …; the unit is a byte.
    static word information[14];
    word now = ticks();
    call(SYSINFO, (word)information, 0, 0, 0);
    say_number(now);
    say(" ");
    say_number(information[5]);
    say("\n");
}

__attribute__((used, noreturn)) void begin(word *stack) {
    word count = stack[0];
    program = "/proc/self/exe";
    const char *what = count > 1 ? (const char *)stack[2] : "";
    if (what[0] == 0) measure();
    if (what[0] == 'm') mark();
    call(EXIT, 0, 0, 0, 0);
    __builtin_unreachable();
}

__asm__(".globl _start\n_start: xor %ebp, %ebp\n mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
