#include "check.h"

static unsigned long resident(void) {
    unsigned long size, pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%lu %lu", &size, &pages) != 2) pages = 0;
    if (file) fclose(file);
    return pages;
}

static char *map(long length, int access, int flags) { return mmap(0, length, access, MAP_PRIVATE | MAP_ANONYMOUS | flags, -1, 0); }

static void anonymous(void) {
    char *area = map(10 << 20, PROT_READ | PROT_WRITE, 0);
    NEED(area != MAP_FAILED);
    unsigned long before = resident();
    for (int i = 0; i < 10 << 20; i += 4096) {
        if (area[i]) failed(__FILE__, __LINE__, "not zero");
        area[i] = i >> 12;
    }
    CHECK(resident() - before >= 2500);
    CHECK(madvise(area, 5 << 20, MADV_DONTNEED) == 0 && area[0] == 0 && area[4096] == 0 && area[(5 << 20) + 4096] == 1);
    CHECK(munmap(area + (1 << 20), 1 << 20) == 0);
    char *between = mmap(area + (1 << 20), 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    CHECK(between == area + (1 << 20));
    FAILS(EEXIST, mmap(area, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
    CHECK(mmap(area, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == area && area[0] == 0);
    CHECK(munmap(area, 10 << 20) == 0);
    FAILS(EINVAL, munmap(area + 1, 4096));
    FAILS(EINVAL, mmap(0, 0, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    FAILS(ENOMEM, mprotect(area, 4096, PROT_READ));
    FAILS(ENOMEM, mmap(0, 1L << 46, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    // What is only reserved costs nothing.
    char *reserved = map(100L << 30, PROT_NONE, MAP_NORESERVE);
    CHECK(reserved != MAP_FAILED && mprotect(reserved + (50L << 30), 4096, PROT_READ | PROT_WRITE) == 0);
    reserved[50L << 30] = 1;
    CHECK(munmap(reserved, 100L << 30) == 0);
}

static void moved(void) {
    char *area = map(16384, PROT_READ | PROT_WRITE, 0);
    strcpy(area, "content");
    char *larger = mremap(area, 16384, 1 << 20, MREMAP_MAYMOVE);
    NEED(larger != MAP_FAILED);
    CHECK(strcmp(larger, "content") == 0 && larger[(1 << 20) - 1] == 0);
    CHECK(mremap(larger, 1 << 20, 8192, 0) == larger && strcmp(larger, "content") == 0);
    char *fixed = map(16384, PROT_NONE, 0);
    CHECK(mremap(larger, 8192, 8192, MREMAP_MAYMOVE | MREMAP_FIXED, fixed) == fixed && strcmp(fixed, "content") == 0);
}

static void executable(void) {
    // mov $42, %eax; ret
    unsigned char code[] = {0xb8, 42, 0, 0, 0, 0xc3};
    unsigned char *area = (unsigned char *)map(4096, PROT_READ | PROT_WRITE | PROT_EXEC, 0);
    NEED(area != MAP_FAILED);
    memcpy(area, code, sizeof code);
    CHECK(((int (*)(void))area)() == 42);
    CHECK(mprotect(area, 4096, PROT_READ | PROT_EXEC) == 0 && ((int (*)(void))area)() == 42);
}

static void heap(void) {
    // (musl has no brk of its own for programs.)
    char *before = (char *)syscall(SYS_brk, 0), *after = before + 100000;
    CHECK((char *)syscall(SYS_brk, after) == after);
    CHECK(before[8192] == 0 && before[99999] == 0);
    before[99999] = 1;
    CHECK((char *)syscall(SYS_brk, before) == before && (char *)syscall(SYS_brk, 0) == before);
    void *blocks[1000];
    for (int round = 0; round < 5; round++) {
        for (int i = 0; i < 1000; i++) {
            size_t size = (i * 7919 + round) % 30000 + 1;
            blocks[i] = malloc(size);
            NEED(blocks[i]);
            memset(blocks[i], i, size);
        }
        for (int i = 0; i < 1000; i++) {
            CHECK(*(unsigned char *)blocks[i] == (unsigned char)i);
            free(blocks[i]);
        }
    }
}

static void shared(void) {
    int *counter = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 10; i++)
        if (fork() == 0) {
            __atomic_add_fetch(counter, i, __ATOMIC_SEQ_CST);
            _exit(0);
        }
    while (wait(0) > 0) {}
    CHECK(*counter == 45);
}

static void copied_on_write(void) {
    // Grandchildren, and pages that are written by nobody, one, or all.
    char *area = map(64 * 4096, PROT_READ | PROT_WRITE, 0);
    for (int i = 0; i < 64; i++) area[i * 4096] = i;
    pid_t child = fork();
    if (child == 0) {
        for (int i = 0; i < 32; i++) area[i * 4096] = 100;
        pid_t grandchild = fork();
        if (grandchild == 0) {
            for (int i = 16; i < 48; i++) area[i * 4096]++;
            int good = area[0] == 100 && area[16 * 4096] == 101 && area[40 * 4096] == 41 && area[63 * 4096] == 63;
            _exit(good ? 0 : 1);
        }
        int status;
        waitpid(grandchild, &status, 0);
        int good = status == 0 && area[16 * 4096] == 100 && area[40 * 4096] == 40;
        _exit(good ? 0 : 1);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    for (int i = 0; i < 64; i++) CHECK(area[i * 4096] == i);
    // A read into memory that a child shares.
    int ends[2];
    pipe(ends);
    child = fork();
    if (child == 0) {
        usleep(20000);
        _exit(area[0] != 0);
    }
    write(ends[1], "Q", 1);
    CHECK(read(ends[0], area, 1) == 1 && area[0] == 'Q');
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void forked_often(void) {
    // Scattered pages are written between forks: what was one piece falls into many.
    enum { PAGES = 2048 };
    char *area = map(PAGES * 4096, PROT_READ | PROT_WRITE, 0);
    for (int i = 0; i < PAGES; i++) area[i * 4096] = 1;
    for (int round = 0; round < 60; round++) {
        for (int i = round; i < PAGES; i += 97) area[i * 4096] = round;
        pid_t child = fork();
        NEED(child >= 0);
        if (child == 0) _exit(area[round * 4096] != (char)round);
        int status = -1;
        CHECK(waitpid(child, &status, 0) == child && status == 0);
    }
}

static int deep(int depth) {
    volatile char room[1000];
    room[0] = depth;
    return depth ? deep(depth - 1) + (room[0] != (char)depth) : 0;
}

static void stack(void) { CHECK(deep(7000) == 0); }

static void wishes(void) {
    char *area = map(16384, PROT_READ | PROT_WRITE, 0);
    unsigned char in_core[4];
    area[4096] = 1;
    CHECK(mincore(area, 16384, in_core) == 0 && (in_core[1] & 1));
    CHECK(madvise(area, 16384, MADV_WILLNEED) == 0 && madvise(area, 16384, MADV_FREE) == 0);
    FAILS(EINVAL, madvise(area, 4096, 12345));
    CHECK(mlock(area + 5, 5000) == 0 && munlock(area, 16384) == 0 && msync(area, 16384, MS_SYNC) == 0);
    CHECK(mlockall(MCL_CURRENT) == 0 && munlockall() == 0);
    FAILS(EINVAL, mlockall(0));
    FAILS(EINVAL, msync(area, 4096, MS_SYNC | MS_ASYNC));
    munmap(area + 8192, 4096);
    FAILS(ENOMEM, mlock(area, 16384));
    FAILS(ENOMEM, munlock(area + 8192, 1));
    FAILS(ENOMEM, msync(area, 16384, MS_SYNC));
    FAILS(ENOMEM, mlock((void *)(LONG_MAX & ~4095), 100));
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(anonymous), TEST(moved), TEST(executable), TEST(heap), TEST(shared), TEST(copied_on_write), TEST(forked_often),
        TEST(stack), TEST(wishes),
    };
    return RUN_TESTS(tests);
}
