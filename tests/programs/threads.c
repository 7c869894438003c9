#include "check.h"

static long now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static struct timespec in_ms(clockid_t clock, long ms) {
    struct timespec at;
    clock_gettime(clock, &at);
    at.tv_nsec += ms * 1000000;
    at.tv_sec += at.tv_nsec / 1000000000;
    at.tv_nsec %= 1000000000;
    return at;
}

static __thread int own = 5;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t condition = PTHREAD_COND_INITIALIZER;
static long counter;

static void *count(void *argument) {
    own += (long)argument;
    for (int i = 0; i < 20000; i++) {
        pthread_mutex_lock(&mutex);
        counter++;
        pthread_mutex_unlock(&mutex);
    }
    return (void *)(long)own;
}

static void mutual_exclusion(void) {
    pthread_t threads[8];
    for (long i = 0; i < 8; i++) NEED(pthread_create(&threads[i], 0, count, (void *)i) == 0);
    for (long i = 0; i < 8; i++) {
        void *result;
        CHECK(pthread_join(threads[i], &result) == 0 && (long)result == 5 + i);
    }
    CHECK(counter == 160000 && own == 5);
}

static void *quick(void *argument) { return argument; }

static void many_threads(void) {
    pthread_t threads[64];
    for (int round = 0; round < 5; round++) {
        for (long i = 0; i < 64; i++) NEED(pthread_create(&threads[i], 0, quick, (void *)i) == 0);
        for (long i = 0; i < 64; i++) {
            void *result;
            CHECK(pthread_join(threads[i], &result) == 0 && (long)result == i);
        }
    }
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    for (int i = 0; i < 100; i++) {
        pthread_t thread;
        CHECK(pthread_create(&thread, &attributes, quick, 0) == 0);
        if (i % 10 == 9) usleep(1000);
    }
}

static int turn;

static void *player(void *argument) {
    int me = (long)argument;
    pthread_mutex_lock(&mutex);
    for (int i = 0; i < 500; i++) {
        while (turn % 3 != me) pthread_cond_wait(&condition, &mutex);
        turn++;
        pthread_cond_broadcast(&condition);
    }
    pthread_mutex_unlock(&mutex);
    return 0;
}

static void conditions(void) {
    pthread_t threads[3];
    for (long i = 0; i < 3; i++) pthread_create(&threads[i], 0, player, (void *)i);
    for (int i = 0; i < 3; i++) pthread_join(threads[i], 0);
    CHECK(turn == 1500);
    pthread_mutex_lock(&mutex);
    long start = now_ms();
    struct timespec at = in_ms(CLOCK_REALTIME, 60);
    CHECK(pthread_cond_timedwait(&condition, &mutex, &at) == ETIMEDOUT);
    CHECK(now_ms() - start >= 55);
    pthread_mutex_unlock(&mutex);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_t monotonic;
    pthread_cond_init(&monotonic, &attributes);
    pthread_mutex_lock(&mutex);
    start = now_ms();
    at = in_ms(CLOCK_MONOTONIC, 40);
    CHECK(pthread_cond_timedwait(&monotonic, &mutex, &at) == ETIMEDOUT && now_ms() - start >= 35);
    pthread_mutex_unlock(&mutex);
}

static void *try_lock(void *argument) {
    struct timespec at = in_ms(CLOCK_REALTIME, 50);
    return (void *)(long)(pthread_mutex_trylock(argument) == EBUSY && pthread_mutex_timedlock(argument, &at) == ETIMEDOUT);
}

static void *die_holding(void *argument) {
    pthread_mutex_lock(argument);
    return 0;
}

static sem_t semaphore;
static pthread_barrier_t barrier;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_count, readers, together;

static void first_time(void) { once_count++; }

static void *meet(void *argument) {
    (void)argument;
    pthread_once(&once, first_time);
    pthread_barrier_wait(&barrier);
    pthread_rwlock_rdlock(&lock);
    if (__atomic_add_fetch(&readers, 1, __ATOMIC_SEQ_CST) == 4) together = 1;
    while (!together) usleep(1000);
    pthread_rwlock_unlock(&lock);
    pthread_rwlock_wrlock(&lock);
    counter++;
    pthread_rwlock_unlock(&lock);
    sem_post(&semaphore);
    return 0;
}

static void other_locks(void) {
    pthread_t thread, threads[4];
    void *result;
    pthread_mutex_lock(&mutex);
    pthread_create(&thread, 0, try_lock, &mutex);
    pthread_join(thread, &result);
    CHECK(result == (void *)1);
    pthread_mutex_unlock(&mutex);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_t robust;
    pthread_mutex_init(&robust, &attributes);
    pthread_create(&thread, 0, die_holding, &robust);
    pthread_join(thread, 0);
    CHECK(pthread_mutex_lock(&robust) == EOWNERDEAD && pthread_mutex_consistent(&robust) == 0);
    CHECK(pthread_mutex_unlock(&robust) == 0 && pthread_mutex_lock(&robust) == 0);
    sem_init(&semaphore, 0, 0);
    pthread_barrier_init(&barrier, 0, 4);
    counter = 0;
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, meet, 0);
    for (int i = 0; i < 4; i++) CHECK(sem_wait(&semaphore) == 0);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    CHECK(once_count == 1 && together && counter == 4);
    struct timespec at = in_ms(CLOCK_REALTIME, 30);
    FAILS(ETIMEDOUT, sem_timedwait(&semaphore, &at));
}

static void between_processes(void) {
    struct shared {
        pthread_mutex_t mutex;
        sem_t child_counted, parent_counted;
        int count;
    } *shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(&shared->mutex, &attributes);
    sem_init(&shared->child_counted, 1, 0);
    sem_init(&shared->parent_counted, 1, 0);
    pid_t child = fork();
    for (int i = 0; i < 2000; i++) {
        pthread_mutex_lock(&shared->mutex);
        shared->count++;
        pthread_mutex_unlock(&shared->mutex);
    }
    if (child == 0) {
        sem_post(&shared->child_counted);
        // Who dies with the mutex while the other still counts would spoil it for that one.
        sem_wait(&shared->parent_counted);
        pthread_mutex_lock(&shared->mutex);
        _exit(0);
    }
    sem_post(&shared->parent_counted);
    CHECK(sem_wait(&shared->child_counted) == 0 && waitpid(child, 0, 0) == child && shared->count == 4000);
#ifdef __GLIBC__
    // (musl forgets the list of a child that took the lock before.)
    CHECK(pthread_mutex_lock(&shared->mutex) == EOWNERDEAD);
#endif
}

static volatile pthread_t caught_in;
static volatile int caught_number;

static void note(int signal) {
    caught_in = pthread_self();
    caught_number = signal;
}

static void *wait_for_signal(void *argument) {
    sem_post(argument);
    while (!caught_number) usleep(1000);
    return 0;
}

static void *sleep_for_ever(void *argument) {
    (void)argument;
    for (;;) sleep(100);
}

static void *spin_for_ever(void *argument) {
    (void)argument;
    for (;;) {}
}

static void signals_and_ends(void) {
    signal(SIGUSR1, note);
    sem_t ready;
    sem_init(&ready, 0, 0);
    pthread_t thread;
    pthread_create(&thread, 0, wait_for_signal, &ready);
    sem_wait(&ready);
    CHECK(pthread_kill(thread, SIGUSR1) == 0 && pthread_join(thread, 0) == 0 && caught_number == SIGUSR1);
    CHECK(pthread_equal(caught_in, thread));
    pthread_create(&thread, 0, sleep_for_ever, 0);
    usleep(20000);
    void *result;
    CHECK(pthread_cancel(thread) == 0 && pthread_join(thread, &result) == 0 && result == PTHREAD_CANCELED);
    // A signal to the process goes to a thread that does not block it.
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    caught_number = 0;
    pthread_create(&thread, 0, wait_for_signal, &ready);
    sem_wait(&ready);
    pthread_sigmask(SIG_BLOCK, &set, 0);
    CHECK(kill(getpid(), SIGUSR1) == 0 && pthread_join(thread, 0) == 0 && pthread_equal(caught_in, thread));
    // The end of the process ends all threads; so does a deadly signal.
    int status;
    for (int kind = 0; kind < 3; kind++) {
        pid_t child = fork();
        if (child == 0) {
            pthread_t other;
            for (int i = 0; i < 3; i++) pthread_create(&other, 0, i ? sleep_for_ever : spin_for_ever, 0);
            usleep(10000);
            if (kind == 0) _exit(4);
            if (kind == 1) raise(SIGTERM);
            pthread_exit(0);
        }
        if (kind == 2) {
            usleep(50000);
            CHECK(waitpid(child, &status, WNOHANG) == 0);
            kill(child, SIGKILL);
        }
        CHECK(waitpid(child, &status, 0) == child && status == (kind == 0 ? 4 << 8 : kind == 1 ? SIGTERM : SIGKILL));
    }
}

static void *fork_here(void *argument) {
    (void)argument;
    for (int i = 0; i < 20; i++) {
        pid_t child = fork();
        if (child == 0) {
            free(malloc(1000));
            _exit(i);
        }
        int status;
        if (waitpid(child, &status, 0) != child || WEXITSTATUS(status) != i) return (void *)1;
    }
    return 0;
}

static volatile int stop;

static void *allocate(void *argument) {
    (void)argument;
    while (!stop) free(malloc(rand() % 10000));
    return 0;
}

static void forks_of_threads(void) {
    pthread_t forking[2], allocating[2];
    for (int i = 0; i < 2; i++) pthread_create(&allocating[i], 0, allocate, 0);
    for (int i = 0; i < 2; i++) pthread_create(&forking[i], 0, fork_here, 0);
    for (int i = 0; i < 2; i++) {
        void *result;
        CHECK(pthread_join(forking[i], &result) == 0 && result == 0);
    }
    stop = 1;
    for (int i = 0; i < 2; i++) pthread_join(allocating[i], 0);
    // exec with other threads running.
    pid_t child = fork();
    if (child == 0) {
        pthread_t other;
        pthread_create(&other, 0, spin_for_ever, 0);
        execl("/bin/sh", "sh", "-c", "exit 6", NULL);
    }
    int status;
    CHECK(waitpid(child, &status, 0) == child && status == 6 << 8);
}

static volatile int racing = 1;

static void *race(void *argument) {
    volatile double value = *(double *)argument, sum = 0;
    while (racing) {
        for (int i = 0; i < 1000; i++) sum = value * 3.0 + 1.0;
        if (sum != value * 3.0 + 1.0) return (void *)1;
    }
    return 0;
}

// Threads that compute get the processor in turn, each with its own floating-point registers.
static void computing(void) {
    static double values[4] = {1.5, 2.25, -7.125, 1e100};
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(&threads[i], 0, race, &values[i]);
    usleep(300000);
    racing = 0;
    for (int i = 0; i < 4; i++) {
        void *result;
        CHECK(pthread_join(threads[i], &result) == 0 && result == 0);
    }
}

__attribute__((target("avx"))) static int vector_kept(unsigned seed, long rounds) {
    unsigned pattern[8], after[8];
    for (int i = 0; i < 8; i++) pattern[i] = seed * 2654435761u + i;
    __asm__ volatile("vmovups %0, %%ymm13" : : "m"(pattern) : "xmm13");
    for (long i = 0; i < rounds; i++) {
        __asm__ volatile("" : : : "memory");
        if (i % 5000 == 0) syscall(SYS_sched_yield);
    }
    __asm__ volatile("vmovups %%ymm13, %0" : "=m"(after));
    return memcmp(pattern, after, sizeof pattern) == 0;
}

static void vector_registers(void) {
    if (!__builtin_cpu_supports("avx")) return;
    pid_t children[4];
    for (int i = 0; i < 4; i++) {
        children[i] = fork();
        if (children[i] == 0) _exit(!vector_kept(i + 1, 5000000));
    }
    int status;
    for (int i = 0; i < 4; i++) CHECK(waitpid(children[i], &status, 0) == children[i] && status == 0);
}

// Each of several busy processes gets its share.
static void fair_shares(void) {
    long *counts = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t children[3];
    for (int i = 0; i < 3; i++) {
        children[i] = fork();
        if (children[i] == 0)
            for (;;) ++*(volatile long *)&counts[i];
    }
    // A host that is busy takes from one or the other what it takes: fair is what becomes of it in time.
    int fair = 0;
    for (int second = 0; second < 100 && !fair; second++) {
        sleep(1);
        long all = counts[0] + counts[1] + counts[2];
        fair = second > 0;
        for (int i = 0; i < 3; i++) fair &= counts[i] > all / 5 && counts[i] < all / 2;
    }
    CHECK(fair);
    for (int i = 0; i < 3; i++) kill(children[i], SIGKILL);
    for (int i = 0; i < 3; i++) waitpid(children[i], 0, 0);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(mutual_exclusion), TEST(many_threads), TEST(conditions), TEST(other_locks), TEST(between_processes),
        TEST(signals_and_ends), TEST(forks_of_threads), TEST(computing), TEST(vector_registers), TEST(fair_shares),
    };
    return RUN_TESTS(tests);
}
