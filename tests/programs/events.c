#include "check.h"

#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>

static long long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int ready(int file, int milliseconds) {
    struct pollfd wish = {.fd = file, .events = POLLIN};
    return poll(&wish, 1, milliseconds) == 1 && wish.revents == POLLIN;
}

static int end_of(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return status;
}

static void timers_as_files(void) {
    int file = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
    NEED(file >= 0 && fcntl(file, F_GETFD) == FD_CLOEXEC);
    struct itimerspec value = {{0, 10000000}, {0, 20000000}}, seen;
    uint64_t expiries = 0;
    long long start = now_ns();
    CHECK(timerfd_settime(file, 0, &value, &seen) == 0 && seen.it_value.tv_nsec == 0 && seen.it_interval.tv_nsec == 0);
    CHECK(!ready(file, 0) || now_ns() - start >= 20000000);
    CHECK(read(file, &expiries, 8) == 8 && expiries >= 1 && now_ns() - start >= 20000000);
    usleep(55000);
    CHECK(ready(file, 0) && read(file, &expiries, 8) == 8 && expiries >= 4);
    CHECK(timerfd_gettime(file, &seen) == 0 && seen.it_interval.tv_nsec == 10000000 && seen.it_value.tv_nsec > 0);
    CHECK(seen.it_value.tv_nsec <= 10000000);
    // epoll waits for it, too.
    int epoll = epoll_create1(0);
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = 5};
    CHECK(epoll_ctl(epoll, EPOLL_CTL_ADD, file, &event) == 0);
    CHECK(epoll_wait(epoll, &event, 1, -1) == 1 && event.data.u64 == 5 && event.events == EPOLLIN);
    FAILS(EINVAL, read(file, &expiries, 4));
    CHECK(timerfd_settime(file, 0, &(struct itimerspec){0}, &seen) == 0 && seen.it_interval.tv_nsec == 10000000);
    CHECK(fcntl(file, F_SETFL, O_NONBLOCK) == 0);
    FAILS(EAGAIN, read(file, &expiries, 8));
    FAILS(EINVAL, write(file, &expiries, 8));
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    int real = timerfd_create(CLOCK_REALTIME, TFD_NONBLOCK);
    value = (struct itimerspec){{0, 0}, {now.tv_sec - 5, 0}};
    CHECK(timerfd_settime(real, TFD_TIMER_ABSTIME, &value, NULL) == 0 && ready(real, -1));
    CHECK(read(real, &expiries, 8) == 8 && expiries == 1);
    value.it_value.tv_sec = now.tv_sec + 5000;
    CHECK(timerfd_settime(real, TFD_TIMER_ABSTIME, &value, NULL) == 0 && !ready(real, 0));
    CHECK(timerfd_gettime(real, &seen) == 0 && seen.it_value.tv_sec >= 4000 && seen.it_value.tv_sec <= 5000);
    FAILS(EINVAL, timerfd_create(77, 0));
    FAILS(EINVAL, timerfd_create(CLOCK_MONOTONIC, 1));
    FAILS(EINVAL, timerfd_settime(0, 0, &value, NULL));
    FAILS(EBADF, timerfd_settime(999, 0, &value, NULL));
    value.it_value.tv_nsec = 1000000000;
    FAILS(EINVAL, timerfd_settime(real, 0, &value, NULL));
    // A child has the same timer.
    value = (struct itimerspec){{0, 0}, {0, 30000000}};
    CHECK(fcntl(file, F_SETFL, 0) == 0 && timerfd_settime(file, 0, &value, NULL) == 0);
    pid_t child = fork();
    if (child == 0) _exit(!(read(file, &expiries, 8) == 8 && expiries == 1));
    CHECK(end_of(child) == 0 && !ready(file, 0));
}

static void nothing(int signal) { (void)signal; }

static void signals_as_files(void) {
    sigset_t set;
    sigemptyset(&set), sigaddset(&set, SIGUSR1), sigaddset(&set, SIGRTMIN + 3), sigaddset(&set, SIGCHLD);
    sigprocmask(SIG_BLOCK, &set, NULL);
    int file = signalfd(-1, &set, SFD_CLOEXEC);
    NEED(file >= 0);
    struct signalfd_siginfo told[4];
    CHECK(!ready(file, 0));
    kill(getpid(), SIGUSR1);
    for (int i = 0; i < 2; i++) sigqueue(getpid(), SIGRTMIN + 3, (union sigval){.sival_int = 40 + i});
    CHECK(ready(file, 0));
    memset(told, 0, sizeof told);
    CHECK(read(file, told, sizeof told) == 3 * sizeof told[0]);
    CHECK(told[0].ssi_signo == SIGUSR1 && told[0].ssi_code == SI_USER && told[0].ssi_pid == (uint32_t)getpid());
    CHECK(told[1].ssi_signo == (uint32_t)SIGRTMIN + 3 && told[1].ssi_int == 40 && told[2].ssi_int == 41);
    CHECK(told[1].ssi_code == SI_QUEUE);
    sigset_t pending;
    sigpending(&pending);
    CHECK(!sigismember(&pending, SIGUSR1) && !ready(file, 0));
    // It waits, for a child's end as well.
    pid_t child = fork();
    if (child == 0) usleep(30000), _exit(7);
    CHECK(read(file, told, sizeof told) == sizeof told[0]);
    CHECK(told[0].ssi_signo == SIGCHLD && told[0].ssi_pid == (uint32_t)child && told[0].ssi_status == 7);
    CHECK(told[0].ssi_code == CLD_EXITED && end_of(child) == 7 << 8);
    child = fork();
    if (child == 0) usleep(30000), _exit(kill(getppid(), SIGUSR1));
    CHECK(ready(file, -1));
    CHECK(read(file, told, sizeof told) >= (long)sizeof told[0] && told[0].ssi_signo == SIGUSR1);
    CHECK(end_of(child) == 0);
    // Another set; and not waiting.
    sigemptyset(&set), sigaddset(&set, SIGUSR2);
    CHECK(signalfd(file, &set, 0) == file && fcntl(file, F_SETFL, O_NONBLOCK) == 0);
    raise(SIGUSR1);
    FAILS(EAGAIN, read(file, told, sizeof told));
    FAILS(EINVAL, read(file, told, 100));
    FAILS(EINVAL, signalfd(0, &set, 0));
    FAILS(EINVAL, signalfd(-1, &set, 1));
    // A handler breaks a wait off.
    signal(SIGALRM, nothing);
    struct sigaction action = {.sa_handler = nothing};
    sigaction(SIGALRM, &action, NULL);
    fcntl(file, F_SETFL, 0);
    alarms(20);
    FAILS(EINTR, read(file, told, sizeof told));
}

static const struct test tests[] = {TEST(timers_as_files), TEST(signals_as_files)};

int main(int argc, char **argv) {
    return RUN_TESTS(tests);
}
