// Tests of POSIX calls, written so that they pass on Linux too. Each runs in a child of its own with a time limit, so that
// one that crashes or hangs fails alone. Arguments: names of tests to run, or none for all; `-n` first: run them in this process.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <dirent.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static int failures;

__attribute__((unused)) static void failed(const char *file, int line, const char *what) {
    int error = errno;
    failures++;
    printf("  %s:%d: %s (errno %d: %s)\n", file, line, what, error, strerror(error));
    fflush(stdout);
}

// A condition that must hold; the test goes on.
#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) failed(__FILE__, __LINE__, #condition);                                                      \
    } while (0)

// A condition without which the test cannot go on.
#define NEED(condition)                                                                                                \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            failed(__FILE__, __LINE__, #condition);                                                                    \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)

// A call that must fail with this error.
#define FAILS(error, call)                                                                                             \
    do {                                                                                                               \
        errno = 0;                                                                                                     \
        if ((long)(call) != -1 || errno != (error)) failed(__FILE__, __LINE__, #call " must fail with " #error);         \
    } while (0)

// SIGALRM again and again, until `alarms(0)`: one alone might come before the wait that it is to break off.
__attribute__((unused)) static void alarms(int milliseconds) {
    struct itimerval again = {{0, milliseconds * 1000}, {0, milliseconds * 1000}};
    setitimer(ITIMER_REAL, &again, NULL);
}

// Until another process waits: it is found blocked time and again.
__attribute__((unused)) static void until_waiting(pid_t pid) {
    for (int found = 0; found < 5;) {
        char name[32], line[256] = "";
        snprintf(name, sizeof name, "/proc/%d/stat", pid);
        int file = open(name, O_RDONLY);
        read(file, line, sizeof line - 1);
        close(file);
        char *state = strrchr(line, ')');
        found = state && state[1] && state[2] == 'S' ? found + 1 : 0;
        usleep(5000);
    }
}

struct test {
    const char *name;
    void (*body)(void);
};

#define TEST(name) {#name, name}

static int wanted(const char *name, int count, char **names) {
    for (int i = 0; i < count; i++)
        if (strcmp(name, names[i]) == 0) return 1;
    return count == 0;
}

static int run_tests(const struct test *tests, int test_count, int count, char **names) {
    int bad = 0, here = 0;
    // Programs that these tests start are themselves: an argument "--child" is theirs.
    if (count > 1 && strcmp(names[1], "-n") == 0) here = 1;
    count -= 1 + here;
    names += 1 + here;
    for (int i = 0; i < test_count; i++) {
        if (!wanted(tests[i].name, count, names)) continue;
        int status = 0;
        fflush(stdout);
        pid_t child = here ? 0 : fork();
        if (child == 0) {
            // Only for what hangs: on a busy host, all takes many times as long.
            if (!here) alarm(300);
            failures = 0;
            tests[i].body();
            fflush(stdout);
            if (!here) _exit(failures ? 1 : 0);
            status = failures << 8;
        } else if (child < 0) {
            printf("  cannot fork: %s\n", strerror(errno));
            status = -1;
        } else if (waitpid(child, &status, 0) != child) {
            status = -1;
        }
        if (status) {
            bad++;
            printf("FAILED %s (status %#x)\n", tests[i].name, status);
        } else {
            printf("ok %s\n", tests[i].name);
        }
        fflush(stdout);
    }
    printf("%d failed\n", bad);
    return bad != 0;
}

#define RUN_TESTS(tests) run_tests(tests, sizeof tests / sizeof tests[0], argc, argv)
