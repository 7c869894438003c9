#include "check.h"

#include <mqueue.h>

static volatile sig_atomic_t count;
static volatile siginfo_t last;

static void counts(int signal, siginfo_t *information, void *context) {
    (void)signal, (void)context;
    last = *information;
    count++;
}

static void handle(int signal, int flags) {
    struct sigaction action = {.sa_sigaction = counts, .sa_flags = SA_SIGINFO | flags};
    count = 0;
    CHECK(sigaction(signal, &action, NULL) == 0);
}

static int end_of(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return status;
}

static struct timespec soon(int milliseconds) {
    struct timespec time;
    clock_gettime(CLOCK_REALTIME, &time);
    time.tv_nsec += milliseconds * 1000000L;
    time.tv_sec += time.tv_nsec / 1000000000, time.tv_nsec %= 1000000000;
    return time;
}

static mqd_t make(const char *name, int most, int length, int flags) {
    struct mq_attr attributes = {.mq_maxmsg = most, .mq_msgsize = length};
    mq_unlink(name);
    return mq_open(name, O_CREAT | O_EXCL | O_RDWR | flags, 0600, &attributes);
}

static void order_and_attributes(void) {
    char bytes[64];
    unsigned priority = 0;
    mqd_t queue = make("/order", 4, 32, O_NONBLOCK);
    NEED(queue != (mqd_t)-1);
    struct mq_attr attributes;
    CHECK(mq_getattr(queue, &attributes) == 0 && attributes.mq_maxmsg == 4 && attributes.mq_msgsize == 32);
    CHECK(attributes.mq_curmsgs == 0 && attributes.mq_flags == O_NONBLOCK);
    FAILS(EAGAIN, mq_receive(queue, bytes, 32, NULL));
    CHECK(mq_send(queue, "low", 3, 1) == 0 && mq_send(queue, "high", 4, 30000) == 0);
    CHECK(mq_send(queue, "middle", 6, 5) == 0 && mq_send(queue, "", 0, 5) == 0);
    FAILS(EAGAIN, mq_send(queue, "x", 1, 1));
    CHECK(mq_getattr(queue, &attributes) == 0 && attributes.mq_curmsgs == 4);
    FAILS(EMSGSIZE, mq_receive(queue, bytes, 31, NULL));
    CHECK(mq_receive(queue, bytes, 64, &priority) == 4 && priority == 30000 && memcmp(bytes, "high", 4) == 0);
    CHECK(mq_receive(queue, bytes, 64, &priority) == 6 && priority == 5 && memcmp(bytes, "middle", 6) == 0);
    CHECK(mq_receive(queue, bytes, 64, &priority) == 0 && priority == 5);
    CHECK(mq_receive(queue, bytes, 64, &priority) == 3 && priority == 1 && memcmp(bytes, "low", 3) == 0);
    FAILS(EMSGSIZE, mq_send(queue, bytes, 33, 0));
    FAILS(EINVAL, mq_send(queue, bytes, 1, 32768));
    struct mq_attr plain = {.mq_flags = 0}, before;
    CHECK(mq_setattr(queue, &plain, &before) == 0 && before.mq_flags == O_NONBLOCK);
    CHECK(mq_getattr(queue, &attributes) == 0 && attributes.mq_flags == 0);
    // A second description has flags of its own, and what it may do.
    mqd_t reader = mq_open("/order", O_RDONLY | O_NONBLOCK), writer = mq_open("/order", O_WRONLY);
    CHECK(reader != (mqd_t)-1 && writer != (mqd_t)-1);
    FAILS(EBADF, mq_send(reader, "x", 1, 0));
    FAILS(EBADF, mq_receive(writer, bytes, 64, NULL));
    CHECK(mq_send(writer, "two", 3, 2) == 0 && mq_receive(reader, bytes, 64, NULL) == 3);
    struct pollfd polled = {.fd = queue, .events = POLLIN | POLLOUT};
    CHECK(poll(&polled, 1, 0) == 1 && polled.revents == POLLOUT);
    FAILS(EEXIST, mq_open("/order", O_CREAT | O_EXCL | O_RDWR, 0600, NULL));
    CHECK(mq_unlink("/order") == 0);
    FAILS(ENOENT, mq_unlink("/order"));
    FAILS(ENOENT, mq_open("/order", O_RDWR));
    // Without a name it serves those who have it open.
    CHECK(mq_send(writer, "three", 5, 2) == 0 && mq_receive(reader, bytes, 64, NULL) == 5);
    CHECK(mq_close(reader) == 0 && mq_close(writer) == 0 && mq_close(queue) == 0);
    FAILS(EBADF, mq_close(queue));
    FAILS(EBADF, mq_send(queue, "x", 1, 0));
    FAILS(EBADF, mq_getattr(0, &attributes));
    struct mq_attr bad = {.mq_maxmsg = 0, .mq_msgsize = 10};
    FAILS(EINVAL, mq_open("/bad", O_CREAT | O_RDWR, 0600, &bad));
    FAILS(ENOENT, mq_open("/bad", O_RDWR));
    char name[300] = "/";
    memset(name + 1, 'n', 298);
    FAILS(ENAMETOOLONG, mq_open(name, O_CREAT | O_RDWR, 0600, NULL));
    mqd_t usual = mq_open("/usual", O_CREAT | O_RDWR, 0600, NULL);
    CHECK(usual != (mqd_t)-1 && mq_getattr(usual, &attributes) == 0 && attributes.mq_maxmsg == 10);
    CHECK(attributes.mq_msgsize == 8192);
    pid_t child = fork();
    if (child == 0) _exit(setuid(77) || mq_open("/usual", O_RDONLY) != (mqd_t)-1 || errno != EACCES);
    CHECK(end_of(child) == 0);
    child = fork();
    if (child == 0) {
        // Others have their own, and event counters.
        mqd_t own = setuid(77) ? (mqd_t)-1 : mq_open("/own", O_CREAT | O_RDWR, 0600, NULL);
        _exit(own == (mqd_t)-1 || mq_send(own, "x", 1, 0) || mq_unlink("/own") || eventfd(1, 0) < 0);
    }
    CHECK(end_of(child) == 0);
    CHECK(mq_unlink("/usual") == 0);
}

static void waiting_for_messages_and_room(void) {
    char bytes[16];
    mqd_t queue = make("/waiting", 2, 16, 0);
    NEED(queue != (mqd_t)-1);
    pid_t child = fork();
    if (child == 0) {
        usleep(30000);
        _exit(mq_send(queue, "hello", 5, 3) || mq_send(queue, "again", 5, 3));
    }
    unsigned priority;
    CHECK(mq_receive(queue, bytes, 16, &priority) == 5 && memcmp(bytes, "hello", 5) == 0 && priority == 3);
    CHECK(mq_receive(queue, bytes, 16, &priority) == 5);
    CHECK(end_of(child) == 0);
    struct timespec until = soon(40), now;
    FAILS(ETIMEDOUT, mq_timedreceive(queue, bytes, 16, NULL, &until));
    clock_gettime(CLOCK_REALTIME, &now);
    CHECK(now.tv_sec > until.tv_sec || (now.tv_sec == until.tv_sec && now.tv_nsec >= until.tv_nsec));
    CHECK(mq_send(queue, "1", 1, 0) == 0 && mq_send(queue, "2", 1, 0) == 0);
    until = soon(40);
    FAILS(ETIMEDOUT, mq_timedsend(queue, "3", 1, 0, &until));
    until.tv_sec -= 100;
    FAILS(ETIMEDOUT, mq_timedsend(queue, "3", 1, 0, &until));
    until.tv_nsec = 1000000000;
    FAILS(EINVAL, mq_timedsend(queue, "3", 1, 0, &until));
    until = soon(-10);
    CHECK(mq_timedreceive(queue, bytes, 16, NULL, &until) == 1 && bytes[0] == '1');
    CHECK(mq_send(queue, "3", 1, 0) == 0);
    // Room comes when somebody receives.
    child = fork();
    if (child == 0) {
        usleep(30000);
        _exit(mq_receive(queue, bytes, 16, NULL) != 1);
    }
    CHECK(mq_send(queue, "4", 1, 0) == 0);
    CHECK(end_of(child) == 0);
    CHECK(mq_receive(queue, bytes, 16, NULL) == 1 && bytes[0] == '3');
    CHECK(mq_receive(queue, bytes, 16, NULL) == 1 && bytes[0] == '4');
    handle(SIGALRM, 0);
    alarms(20);
    FAILS(EINTR, mq_receive(queue, bytes, 16, NULL));
    alarms(0);
    CHECK(count >= 1);
    mq_unlink("/waiting");
}

static void notices(void) {
    char bytes[16];
    mqd_t queue = make("/notice", 4, 16, O_NONBLOCK);
    NEED(queue != (mqd_t)-1);
    handle(SIGUSR1, 0);
    struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1, .sigev_value.sival_int = 55};
    CHECK(mq_notify(queue, &event) == 0);
    FAILS(EBUSY, mq_notify(queue, &event));
    pid_t child = fork();
    if (child == 0) _exit(mq_notify(queue, &event) != -1 || errno != EBUSY || mq_send(queue, "x", 1, 0));
    CHECK(end_of(child) == 0);
    while (!count) usleep(5000);
    CHECK(count == 1 && last.si_code == SI_MESGQ && last.si_value.sival_int == 55);
    // Once only, and only when there was none.
    CHECK(mq_send(queue, "y", 1, 0) == 0 && mq_notify(queue, &event) == 0 && mq_send(queue, "z", 1, 0) == 0);
    usleep(20000);
    CHECK(count == 1);
    while (mq_receive(queue, bytes, 16, NULL) >= 0) {}
    CHECK(mq_send(queue, "a", 1, 0) == 0);
    usleep(20000);
    CHECK(count == 2);
    while (mq_receive(queue, bytes, 16, NULL) >= 0) {}
    CHECK(mq_notify(queue, &event) == 0 && mq_notify(queue, NULL) == 0 && mq_send(queue, "b", 1, 0) == 0);
    usleep(20000);
    CHECK(count == 2);
    FAILS(EBADF, mq_notify(0, &event));
    mq_unlink("/notice");
}

static const struct test tests[] = {TEST(order_and_attributes), TEST(waiting_for_messages_and_room), TEST(notices)};

int main(int argc, char **argv) {
    return RUN_TESTS(tests);
}
