#include "check.h"

#include <sys/epoll.h>

struct shared {
    pthread_mutex_t mutex, other;
    pthread_cond_t condition;
    pthread_barrier_t barrier;
    pthread_rwlock_t lock;
    sem_t semaphore;
    int value, ready;
};

static struct shared *map_shared(int file) {
    int flags = MAP_SHARED | (file < 0 ? MAP_ANONYMOUS : 0);
    return mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, flags, file, 0);
}

static int end_of(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return status;
}

static void sleep_ms(int milliseconds) {
    usleep(milliseconds * 1000);
}

static void init(struct shared *shared, int robust) {
    pthread_mutexattr_t mutex;
    pthread_condattr_t condition;
    pthread_rwlockattr_t lock;
    pthread_barrierattr_t barrier;
    pthread_mutexattr_init(&mutex), pthread_condattr_init(&condition);
    pthread_rwlockattr_init(&lock), pthread_barrierattr_init(&barrier);
    CHECK(pthread_mutexattr_setpshared(&mutex, PTHREAD_PROCESS_SHARED) == 0);
    if (robust) CHECK(pthread_mutexattr_setrobust(&mutex, PTHREAD_MUTEX_ROBUST) == 0);
    CHECK(pthread_condattr_setpshared(&condition, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_rwlockattr_setpshared(&lock, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_barrierattr_setpshared(&barrier, PTHREAD_PROCESS_SHARED) == 0);
    CHECK(pthread_mutex_init(&shared->mutex, &mutex) == 0 && pthread_mutex_init(&shared->other, &mutex) == 0);
    CHECK(pthread_cond_init(&shared->condition, &condition) == 0);
    CHECK(pthread_rwlock_init(&shared->lock, &lock) == 0);
    CHECK(pthread_barrier_init(&shared->barrier, &barrier, 3) == 0);
    CHECK(sem_init(&shared->semaphore, 1, 0) == 0);
}

// What is shared by memory of no file, and by a file.
static void processes_synchronize(void) {
    for (int by_file = 0; by_file < 2; by_file++) {
        int file = -1;
        if (by_file) {
            file = shm_open("/sharing-test", O_RDWR | O_CREAT | O_EXCL, 0600);
            NEED(file >= 0 && ftruncate(file, sizeof(struct shared)) == 0);
        }
        struct shared *shared = map_shared(file);
        NEED(shared != MAP_FAILED);
        init(shared, 0);
        pid_t children[2];
        for (int i = 0; i < 2; i++) {
            children[i] = fork();
            if (children[i] == 0) {
                // A mapping of its own, elsewhere.
                struct shared *own = by_file ? map_shared(file) : shared;
                for (int j = 0; j < 500; j++) {
                    pthread_mutex_lock(&own->mutex);
                    int value = own->value;
                    if (j % 50 == 0) sched_yield();
                    own->value = value + 1;
                    pthread_mutex_unlock(&own->mutex);
                }
                pthread_mutex_lock(&own->mutex);
                own->ready++;
                pthread_cond_broadcast(&own->condition);
                while (own->ready < 100) pthread_cond_wait(&own->condition, &own->mutex);
                pthread_mutex_unlock(&own->mutex);
                pthread_barrier_wait(&own->barrier);
                pthread_rwlock_wrlock(&own->lock);
                own->value++;
                pthread_rwlock_unlock(&own->lock);
                sem_post(&own->semaphore);
                _exit(0);
            }
        }
        pthread_mutex_lock(&shared->mutex);
        while (shared->ready < 2) pthread_cond_wait(&shared->condition, &shared->mutex);
        CHECK(shared->value == 1000);
        shared->ready = 100;
        pthread_rwlock_rdlock(&shared->lock);
        pthread_cond_broadcast(&shared->condition);
        pthread_mutex_unlock(&shared->mutex);
        pthread_barrier_wait(&shared->barrier);
        sleep_ms(30);
        CHECK(shared->value == 1000);
        pthread_rwlock_unlock(&shared->lock);
        for (int i = 0; i < 2; i++) CHECK(sem_wait(&shared->semaphore) == 0);
        CHECK(shared->value == 1002);
        for (int i = 0; i < 2; i++) CHECK(end_of(children[i]) == 0);
        munmap(shared, sizeof *shared);
        if (by_file) CHECK(shm_unlink("/sharing-test") == 0);
    }
}

static void named_semaphores(void) {
    sem_t *semaphore = sem_open("/sharing-semaphore", O_CREAT | O_EXCL, 0600, 1);
    NEED(semaphore != SEM_FAILED);
    CHECK(sem_open("/sharing-semaphore", O_CREAT | O_EXCL, 0600, 1) == SEM_FAILED && errno == EEXIST);
    CHECK(sem_wait(semaphore) == 0);
    pid_t child = fork();
    if (child == 0) {
        sem_t *own = sem_open("/sharing-semaphore", 0);
        sleep_ms(20);
        _exit(own == SEM_FAILED || sem_post(own) != 0);
    }
    CHECK(sem_wait(semaphore) == 0);
    CHECK(end_of(child) == 0);
    struct timespec soon;
    clock_gettime(CLOCK_REALTIME, &soon);
    soon.tv_nsec += 20000000;
    if (soon.tv_nsec >= 1000000000) soon.tv_nsec -= 1000000000, soon.tv_sec++;
    FAILS(ETIMEDOUT, sem_timedwait(semaphore, &soon));
    CHECK(sem_close(semaphore) == 0 && sem_unlink("/sharing-semaphore") == 0);
    FAILS(ENOENT, sem_unlink("/sharing-semaphore"));
}

static struct shared *victim;

static void *holds_and_waits(void *argument) {
    pthread_mutex_lock(&victim->other);
    victim->ready++;
    for (;;) pause();
    return argument;
}

// Mutexes of who is killed are handed on, whoever held them, however it ended.
static void the_dead_leave_their_mutexes(void) {
    victim = map_shared(-1);
    NEED(victim != MAP_FAILED);
    enum { KILLED, SIGNALLED, ABORTED, EXITED, REPLACED, WAYS };
    for (int way = 0; way < WAYS; way++) {
        init(victim, 1);
        victim->ready = 0;
        pid_t child = fork();
        if (child == 0) {
            signal(SIGTERM, SIG_DFL);
            pthread_t thread;
            pthread_create(&thread, NULL, holds_and_waits, NULL);
            pthread_mutex_lock(&victim->mutex);
            victim->ready++;
            while (victim->ready < 2) sched_yield();
            if (way == ABORTED) *(volatile int *)8 = 0;
            if (way == EXITED) _exit(0);
            if (way == REPLACED) execl("/proc/self/exe", "sharing", "--nothing", (char *)NULL);
            for (;;) pause();
        }
        while (victim->ready < 2) sleep_ms(1);
        if (way <= SIGNALLED) {
            sleep_ms(10);
            kill(child, way == KILLED ? SIGKILL : SIGTERM);
        }
        // Waits until the owner is gone.
        CHECK(pthread_mutex_lock(&victim->mutex) == EOWNERDEAD);
        CHECK(pthread_mutex_consistent(&victim->mutex) == 0 && pthread_mutex_unlock(&victim->mutex) == 0);
        CHECK(pthread_mutex_lock(&victim->mutex) == 0 && pthread_mutex_unlock(&victim->mutex) == 0);
        CHECK(pthread_mutex_lock(&victim->other) == EOWNERDEAD);
        CHECK(pthread_mutex_unlock(&victim->other) == 0);
        CHECK(pthread_mutex_lock(&victim->other) == ENOTRECOVERABLE);
        end_of(child);
    }
}

static void *allocates(void *argument) {
    for (;;) free(malloc(100000 + (size_t)argument));
    return NULL;
}

// A child of vfork that is killed, wherever it is, leaves its parent whole.
static void a_killed_vfork_child_harms_nobody(void) {
    volatile pid_t *victim_id = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    for (int i = 0; i < 40; i++) {
        *victim_id = 0;
        pid_t killer = fork();
        if (killer == 0) {
            while (!*victim_id) sched_yield();
            for (int j = 0; j < i / 5; j++) sched_yield();
            kill(*victim_id, SIGKILL);
            _exit(0);
        }
        pid_t child = vfork();
        if (child == 0) {
            *victim_id = getpid();
            for (;;) {
                int gate[2];
                if (pipe(gate) == 0) close(gate[0]), close(gate[1]);
                int file = open("/tmp", O_RDONLY | O_DIRECTORY);
                close(file);
            }
        }
        int status = end_of(child);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        end_of(killer);
        int gate[2];
        CHECK(pipe(gate) == 0 && close(gate[0]) == 0 && close(gate[1]) == 0);
    }
}

static int epoll;

static void *changes_wishes(void *argument) {
    int number = *(int *)argument;
    struct epoll_event event = {.events = EPOLLIN, .data.fd = number};
    for (;;) {
        epoll_ctl(epoll, EPOLL_CTL_ADD, number, &event);
        epoll_wait(epoll, &event, 1, 0);
        epoll_ctl(epoll, EPOLL_CTL_DEL, number, &event);
    }
    return NULL;
}

// A fork finds the lists of epoll whole, whatever other threads do with them.
static void fork_and_epoll(void) {
    int gate[2];
    epoll = epoll_create1(0);
    NEED(epoll >= 0 && pipe(gate) == 0);
    pthread_t thread;
    pthread_create(&thread, NULL, changes_wishes, &gate[0]);
    pthread_create(&thread, NULL, allocates, NULL);
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (child == 0) {
            alarm(200);
            struct epoll_event event = {.events = EPOLLIN};
            epoll_ctl(epoll, EPOLL_CTL_DEL, gate[0], &event);
            write(gate[1], "x", 1);
            epoll_ctl(epoll, EPOLL_CTL_ADD, gate[0], &event);
            epoll_wait(epoll, &event, 1, 0);
            _exit(0);
        }
        CHECK(end_of(child) == 0);
        char byte;
        CHECK(read(gate[0], &byte, 1) == 1);
    }
}

static pthread_mutex_t inheriting;
static volatile int stage;

static void *waits_strongly(void *argument) {
    int error = pthread_mutex_lock(&inheriting);
    stage = 2;
    pthread_mutex_unlock(&inheriting);
    (void)argument;
    return (void *)(intptr_t)error;
}

static void *computes(void *argument) {
    (void)argument;
    while (stage < 2) {}
    return NULL;
}

static void start_with(pthread_t *thread, void *(*body)(void *), int priority) {
    pthread_attr_t attributes;
    struct sched_param parameter = {.sched_priority = priority};
    pthread_attr_init(&attributes);
    pthread_attr_setinheritsched(&attributes, PTHREAD_EXPLICIT_SCHED);
    pthread_attr_setschedpolicy(&attributes, SCHED_FIFO);
    pthread_attr_setschedparam(&attributes, &parameter);
    CHECK(pthread_create(thread, &attributes, body, NULL) == 0);
}

// The owner of a lock that a strong thread waits for is not kept from letting it go by a middling one that computes for ever.
static void locks_inherit_priority(void) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    CHECK(pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT) == 0);
    CHECK(pthread_mutex_init(&inheriting, &attributes) == 0);
    CHECK(pthread_mutex_lock(&inheriting) == 0 && pthread_mutex_trylock(&inheriting) == EBUSY);
    pthread_t strong, middling;
    start_with(&strong, waits_strongly, 50);
    usleep(20000);
    start_with(&middling, computes, 20);
    // This thread is an ordinary one, and runs here by what it was lent.
    CHECK(pthread_mutex_unlock(&inheriting) == 0);
    void *error;
    pthread_join(strong, &error);
    pthread_join(middling, NULL);
    CHECK(error == NULL && stage == 2);
    struct timespec until;
    CHECK(pthread_mutex_lock(&inheriting) == 0);
    pthread_t thread;
    pthread_create(&thread, NULL, waits_strongly, NULL);
    usleep(20000);
    CHECK(pthread_mutex_unlock(&inheriting) == 0 && pthread_join(thread, &error) == 0 && error == NULL);
    clock_gettime(CLOCK_REALTIME, &until);
    CHECK(pthread_mutex_timedlock(&inheriting, &until) == 0 && pthread_mutex_unlock(&inheriting) == 0);
    CHECK(pthread_mutex_destroy(&inheriting) == 0);
}

static const struct test tests[] = {
    TEST(processes_synchronize),
    TEST(named_semaphores),
    TEST(the_dead_leave_their_mutexes),
    TEST(a_killed_vfork_child_harms_nobody),
    TEST(fork_and_epoll),
    TEST(locks_inherit_priority),
};

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "--nothing") == 0) return 0;
    return RUN_TESTS(tests);
}
