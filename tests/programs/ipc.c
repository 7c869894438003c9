#include "check.h"

#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

struct message {
    long type;
    char text[64];
};

union semun {
    int val;
    struct semid_ds *buf;
    unsigned short *array;
};

static int end_of(pid_t child) {
    int status = -1;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    return status;
}

static void nothing(int signal) { (void)signal; }

static void alarm_soon(void) {
    struct sigaction action = {.sa_handler = nothing, .sa_flags = SA_RESTART};
    sigaction(SIGALRM, &action, NULL);
    alarms(30);
}

static int put(int queue, long type, const char *text, int flags) {
    struct message message = {.type = type};
    strcpy(message.text, text);
    return msgsnd(queue, &message, strlen(text), flags);
}

static void message_queues(void) {
    struct message got;
    int queue = msgget(0x1234, IPC_CREAT | IPC_EXCL | 0600);
    NEED(queue >= 0 && msgget(0x1234, 0600) == queue);
    FAILS(EEXIST, msgget(0x1234, IPC_CREAT | IPC_EXCL | 0600));
    FAILS(ENOENT, msgget(0x4321, 0600));
    CHECK(put(queue, 5, "five", 0) == 0 && put(queue, 3, "three", 0) == 0 && put(queue, 5, "fifth", 0) == 0);
    struct msqid_ds status;
    CHECK(msgctl(queue, IPC_STAT, &status) == 0 && status.msg_qnum == 3 && status.msg_lspid == getpid());
    CHECK(status.msg_perm.mode == 0600 && status.msg_perm.uid == geteuid() && status.msg_qbytes >= 2048);
    CHECK(status.msg_stime > 0 && status.msg_rtime == 0 && status.msg_ctime > 0);
    CHECK(msgrcv(queue, &got, 64, -4, 0) == 5 && got.type == 3 && memcmp(got.text, "three", 5) == 0);
    FAILS(E2BIG, msgrcv(queue, &got, 2, 5, 0));
    CHECK(msgrcv(queue, &got, 2, 5, MSG_NOERROR) == 2 && got.type == 5 && memcmp(got.text, "fi", 2) == 0);
    CHECK(msgrcv(queue, &got, 64, 0, 0) == 5 && memcmp(got.text, "fifth", 5) == 0);
    FAILS(ENOMSG, msgrcv(queue, &got, 64, 0, IPC_NOWAIT));
    FAILS(EINVAL, put(queue, 0, "x", 0));
    FAILS(EINVAL, msgsnd(queue + 1, &got, 1, 0));
    pid_t child = fork();
    if (child == 0) usleep(30000), _exit(put(queue, 7, "late", 0));
    CHECK(msgrcv(queue, &got, 64, 7, 0) == 4 && memcmp(got.text, "late", 4) == 0 && end_of(child) == 0);
    CHECK(msgctl(queue, IPC_STAT, &status) == 0 && status.msg_lspid == child && status.msg_lrpid == getpid());
    // Full: it waits, or says so.
    status.msg_qbytes = 100;
    CHECK(msgctl(queue, IPC_SET, &status) == 0);
    char *long_text = "0123456789012345678901234567890123456789012345678";
    CHECK(put(queue, 1, long_text, 0) == 0 && put(queue, 1, long_text, 0) == 0);
    FAILS(EAGAIN, put(queue, 1, long_text, IPC_NOWAIT));
    alarm_soon();
    FAILS(EINTR, put(queue, 1, long_text, 0));
    alarms(0);
    child = fork();
    if (child == 0) usleep(30000), _exit(msgrcv(queue, &got, 64, 0, 0) != 49);
    CHECK(put(queue, 2, long_text, 0) == 0 && end_of(child) == 0);
    alarm_soon();
    FAILS(EINTR, msgrcv(queue, &got, 64, 99, 0));
    alarms(0);
    child = fork();
    if (child == 0) _exit(msgrcv(queue, &got, 64, 99, 0) != -1 || errno != EIDRM);
    until_waiting(child);
    CHECK(msgctl(queue, IPC_RMID, NULL) == 0 && end_of(child) == 0);
    FAILS(EINVAL, msgctl(queue, IPC_STAT, &status));
    int one = msgget(IPC_PRIVATE, 0600), two = msgget(IPC_PRIVATE, 0600);
    CHECK(one >= 0 && two >= 0 && one != two);
    child = fork();
    if (child == 0) _exit(setuid(55) || put(one, 1, "x", 0) != -1 || errno != EACCES || msgctl(one, IPC_RMID, NULL) != -1 || errno != EPERM);
    CHECK(end_of(child) == 0);
    // Nobody in particular may have some of their own.
    child = fork();
    if (child == 0) {
        int own = -1, segment = -1;
        if (setuid(55) || (own = msgget(IPC_PRIVATE, 0600)) < 0 || put(own, 1, "x", 0) || msgctl(own, IPC_RMID, NULL)) _exit(1);
        if ((segment = shmget(IPC_PRIVATE, 100, 0600)) < 0 || shmat(segment, NULL, 0) == (void *)-1) _exit(2);
        _exit(shmctl(segment, IPC_RMID, NULL));
    }
    CHECK(end_of(child) == 0);
    CHECK(msgctl(one, IPC_RMID, NULL) == 0 && msgctl(two, IPC_RMID, NULL) == 0);
}

static int operate(int set, int number, int change, int flags) {
    struct sembuf operation = {number, change, flags};
    return semop(set, &operation, 1);
}

static void semaphores(void) {
    int set = semget(0x77, 3, IPC_CREAT | IPC_EXCL | 0600);
    NEED(set >= 0 && semget(0x77, 0, 0600) == set);
    FAILS(EEXIST, semget(0x77, 3, IPC_CREAT | IPC_EXCL | 0600));
    FAILS(EINVAL, semget(0x77, 4, 0600));
    FAILS(EINVAL, semget(IPC_PRIVATE, 0, 0600));
    union semun argument;
    unsigned short values[3] = {1, 2, 3}, seen[3];
    argument.array = values;
    CHECK(semctl(set, 0, SETALL, argument) == 0);
    argument.array = seen;
    CHECK(semctl(set, 0, GETALL, argument) == 0 && memcmp(values, seen, sizeof seen) == 0);
    argument.val = 9;
    CHECK(semctl(set, 1, SETVAL, argument) == 0 && semctl(set, 1, GETVAL) == 9 && semctl(set, 1, GETPID) == getpid());
    argument.val = 40000;
    FAILS(ERANGE, semctl(set, 1, SETVAL, argument));
    FAILS(EINVAL, semctl(set, 3, GETVAL));
    CHECK(operate(set, 0, -1, 0) == 0);
    FAILS(EAGAIN, operate(set, 0, -1, IPC_NOWAIT));
    FAILS(EFBIG, operate(set, 3, 1, 0));
    FAILS(ERANGE, operate(set, 1, 32767, 0));
    // All or nothing, and zero.
    struct sembuf both[2] = {{1, -1, 0}, {0, -1, IPC_NOWAIT}};
    FAILS(EAGAIN, semop(set, both, 2));
    CHECK(semctl(set, 1, GETVAL) == 9 && operate(set, 0, 0, 0) == 0);
    pid_t child = fork();
    if (child == 0) _exit(operate(set, 0, -2, 0));
    while (semctl(set, 0, GETNCNT) == 0) usleep(5000);
    CHECK(semctl(set, 0, GETNCNT) == 1 && semctl(set, 0, GETZCNT) == 0);
    CHECK(operate(set, 0, 1, 0) == 0 && waitpid(child, NULL, WNOHANG) == 0);
    CHECK(operate(set, 0, 1, 0) == 0 && end_of(child) == 0 && semctl(set, 0, GETVAL) == 0);
    CHECK(semctl(set, 0, GETPID) == child);
    // What a process did with SEM_UNDO goes with it.
    child = fork();
    if (child == 0) _exit(operate(set, 2, -3, SEM_UNDO) || operate(set, 2, 1, SEM_UNDO) || semctl(set, 2, GETVAL) != 1);
    CHECK(end_of(child) == 0);
    CHECK(operate(set, 2, -3, 0) == 0);
    struct timespec some = {0, 30000000};
    struct sembuf one = {2, -1, 0};
    FAILS(EAGAIN, semtimedop(set, &one, 1, &some));
    alarm_soon();
    FAILS(EINTR, operate(set, 2, -1, 0));
    alarms(0);
    struct semid_ds status;
    argument.buf = &status;
    CHECK(semctl(set, 0, IPC_STAT, argument) == 0 && status.sem_nsems == 3 && status.sem_otime > 0);
    CHECK(status.sem_perm.mode == 0600 && status.sem_perm.cuid == geteuid());
    status.sem_perm.mode = 0640;
    CHECK(semctl(set, 0, IPC_SET, argument) == 0 && semctl(set, 0, IPC_STAT, argument) == 0 && status.sem_perm.mode == 0640);
    child = fork();
    if (child == 0) _exit(operate(set, 2, -1, 0) != -1 || errno != EIDRM);
    while (semctl(set, 2, GETNCNT) == 0) usleep(5000);
    CHECK(semctl(set, 0, IPC_RMID) == 0 && end_of(child) == 0);
    FAILS(EINVAL, operate(set, 0, 1, 0));
}

static void shared_memory(void) {
    int segment = shmget(0x99, 10000, IPC_CREAT | IPC_EXCL | 0600);
    NEED(segment >= 0 && shmget(0x99, 100, 0600) == segment);
    FAILS(EEXIST, shmget(0x99, 10000, IPC_CREAT | IPC_EXCL | 0600));
    FAILS(EINVAL, shmget(0x99, 20000, 0600));
    FAILS(ENOENT, shmget(0x98, 100, 0600));
    FAILS(EINVAL, shmget(IPC_PRIVATE, 0, 0600));
    char *here = shmat(segment, NULL, 0);
    NEED(here != (char *)-1);
    for (int i = 0; i < 10000; i++)
        if (here[i] != 0) CHECK(!"zeroed");
    strcpy(here, "hello");
    char *again = shmat(segment, NULL, SHM_RDONLY);
    CHECK(again != (char *)-1 && again != here && strcmp(again, "hello") == 0);
    struct shmid_ds status;
    CHECK(shmctl(segment, IPC_STAT, &status) == 0 && status.shm_segsz == 10000 && status.shm_nattch == 2);
    CHECK(status.shm_cpid == getpid() && status.shm_lpid == getpid() && status.shm_perm.mode == 0600 && status.shm_atime > 0);
    CHECK(shmdt(again) == 0);
    FAILS(EINVAL, shmdt(again));
    pid_t child = fork();
    if (child == 0) {
        char *own = shmat(shmget(0x99, 0, 0600), NULL, 0);
        if (own == (char *)-1 || strcmp(own, "hello")) _exit(1);
        strcpy(own + 8192, "world");
        // What it inherited is the same.
        _exit(strcmp(here + 8192, "world") != 0 || shmdt(here) != 0);
    }
    CHECK(end_of(child) == 0 && strcmp(here + 8192, "world") == 0);
    CHECK(shmctl(segment, IPC_STAT, &status) == 0 && status.shm_nattch == 1);
    int faults = 0;
    child = fork();
    if (child == 0) {
        char *read_only = shmat(segment, NULL, SHM_RDONLY);
        read_only[0] = 'x';
        _exit(0);
    }
    faults = end_of(child);
    CHECK(WIFSIGNALED(faults) && WTERMSIG(faults) == SIGSEGV);
    FAILS(EINVAL, (long)shmat(segment, here + 1, 0));
    FAILS(EINVAL, (long)shmat(segment + 1, NULL, 0));
    child = fork();
    if (child == 0) _exit(setuid(66) || shmat(segment, NULL, 0) != (void *)-1 || errno != EACCES);
    CHECK(end_of(child) == 0);
    CHECK(shmctl(segment, IPC_RMID, NULL) == 0 && strcmp(here, "hello") == 0);
    FAILS(ENOENT, shmget(0x99, 0, 0600));
    CHECK(shmctl(segment, IPC_STAT, &status) == 0 && (status.shm_perm.mode & 01000) && status.shm_nattch == 1);
    CHECK(shmdt(here) == 0);
    FAILS(EINVAL, shmctl(segment, IPC_STAT, &status));
}

static const struct test tests[] = {TEST(message_queues), TEST(semaphores), TEST(shared_memory)};

int main(int argc, char **argv) {
    return RUN_TESTS(tests);
}
