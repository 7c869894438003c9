#include "check.h"

static char root[64];

static void make_root(void) {
    strcpy(root, "/tmp/files-XXXXXX");
    if (!mkdtemp(root) || chdir(root)) failed(__FILE__, __LINE__, "no directory to work in");
}

static int put(const char *path, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (file < 0) return -1;
    int written = write(file, text, strlen(text));
    close(file);
    return written;
}

static int holds(const char *path, const char *text) {
    char bytes[4096];
    int file = open(path, O_RDONLY);
    if (file < 0) return 0;
    int count = read(file, bytes, sizeof bytes);
    close(file);
    return count == (int)strlen(text) && memcmp(bytes, text, count) == 0;
}

static void reading_and_writing(void) {
    make_root();
    char bytes[64] = "";
    int file = open("a", O_RDWR | O_CREAT | O_EXCL, 0640);
    NEED(file >= 0);
    FAILS(EEXIST, open("a", O_RDWR | O_CREAT | O_EXCL, 0640));
    CHECK(write(file, "hello, world", 12) == 12);
    CHECK(lseek(file, 0, SEEK_CUR) == 12);
    CHECK(lseek(file, -5, SEEK_END) == 7);
    CHECK(read(file, bytes, 64) == 5 && memcmp(bytes, "world", 5) == 0);
    CHECK(read(file, bytes, 64) == 0);
    CHECK(pread(file, bytes, 4, 1) == 4 && memcmp(bytes, "ello", 4) == 0);
    CHECK(pwrite(file, "J", 1, 0) == 1);
    CHECK(lseek(file, 0, SEEK_CUR) == 12);
    FAILS(EINVAL, lseek(file, -1, SEEK_SET));
    // A hole reads as zeros.
    CHECK(pwrite(file, "end", 3, 10000) == 3);
    CHECK(pread(file, bytes, 3, 5000) == 3 && bytes[0] == 0);
    struct stat status;
    CHECK(fstat(file, &status) == 0 && status.st_size == 10003 && (status.st_mode & 07777) == 0640);
    CHECK(S_ISREG(status.st_mode) && status.st_nlink == 1);
    struct iovec parts[3] = {{bytes, 2}, {bytes + 8, 3}, {bytes + 16, 20}};
    CHECK(lseek(file, 0, SEEK_SET) == 0);
    CHECK(readv(file, parts, 3) == 25 && memcmp(bytes, "Je", 2) == 0 && memcmp(bytes + 8, "llo", 3) == 0);
    CHECK(ftruncate(file, 5) == 0 && holds("a", "Jello"));
    CHECK(lseek(file, 0, SEEK_SET) == 0);
    struct iovec texts[2] = {{"ab", 2}, {"cd", 2}};
    CHECK(writev(file, texts, 2) == 4 && holds("a", "abcdo"));
    int append = open("a", O_WRONLY | O_APPEND);
    CHECK(append >= 0 && lseek(append, 0, SEEK_SET) == 0 && write(append, "!", 1) == 1 && holds("a", "abcdo!"));
    FAILS(EBADF, read(append, bytes, 1));
    CHECK(fcntl(append, F_GETFL) == (O_WRONLY | O_APPEND | (fcntl(append, F_GETFL) & 0100000)));
    close(append);
    close(file);
    FAILS(EBADF, read(file, bytes, 1));
    FAILS(EBADF, close(file));
    CHECK(truncate("a", 2) == 0 && holds("a", "ab"));
    CHECK(put("a", "") == 0 && holds("a", ""));
    file = open(".", O_RDONLY);
    FAILS(EISDIR, read(file, bytes, 1));
    close(file);
    FAILS(EISDIR, open(".", O_WRONLY));
    FAILS(ENOENT, open("missing", O_RDONLY));
    FAILS(ENOENT, open("", O_RDONLY));
    FAILS(ENOTDIR, open("a/b", O_RDONLY));
    FAILS(ENOTDIR, open("a/", O_RDONLY));
    FAILS(ENOTDIR, open("a", O_RDONLY | O_DIRECTORY));
}

static void large_files(void) {
    make_root();
    static char block[65536];
    int file = open("large", O_RDWR | O_CREAT, 0600);
    for (int i = 0; i < 128; i++) {
        memset(block, i, sizeof block);
        NEED(write(file, block, sizeof block) == sizeof block);
    }
    lseek(file, 0, SEEK_SET);
    int good = 1;
    for (int i = 0; i < 128; i++) {
        if (read(file, block, sizeof block) != sizeof block) good = 0;
        for (unsigned j = 0; j < sizeof block; j += 999) good &= block[j] == (char)i;
    }
    CHECK(good);
    struct stat status;
    CHECK(fstat(file, &status) == 0 && status.st_size == 8 << 20 && status.st_blocks >= (8 << 20) / 512);
    int copy = open("copy", O_RDWR | O_CREAT, 0600);
    off_t from = 100;
    CHECK(sendfile(copy, file, &from, 1 << 20) == 1 << 20 && from == 100 + (1 << 20));
    CHECK(lseek(copy, 0, SEEK_END) == 1 << 20);
    CHECK(posix_fallocate(copy, 2 << 20, 4096) == 0 && lseek(copy, 0, SEEK_END) == (2 << 20) + 4096);
    close(copy);
    close(file);
}

static void names(void) {
    make_root();
    struct stat first, second;
    CHECK(put("a", "a") == 1);
    CHECK(link("a", "b") == 0 && stat("a", &first) == 0 && stat("b", &second) == 0);
    CHECK(first.st_ino == second.st_ino && first.st_dev == second.st_dev && first.st_nlink == 2);
    FAILS(EEXIST, link("a", "b"));
    CHECK(unlink("a") == 0 && stat("b", &second) == 0 && second.st_nlink == 1);
    FAILS(ENOENT, unlink("a"));
    CHECK(symlink("b", "s") == 0 && holds("s", "a"));
    CHECK(lstat("s", &first) == 0 && S_ISLNK(first.st_mode) && first.st_size == 1);
    char target[16] = "";
    CHECK(readlink("s", target, sizeof target) == 1 && target[0] == 'b');
    FAILS(EINVAL, readlink("b", target, sizeof target));
    FAILS(ELOOP, open("s", O_RDONLY | O_NOFOLLOW));
    CHECK(symlink("loop", "loop") == 0);
    FAILS(ELOOP, open("loop", O_RDONLY));
    CHECK(mkdir("d", 0755) == 0);
    FAILS(EEXIST, mkdir("d", 0755));
    CHECK(symlink("../b", "d/up") == 0 && holds("d/up", "a"));
    CHECK(symlink("d", "e") == 0 && holds("e/up", "a") && holds("e/../b", "a"));
    char absolute[128];
    snprintf(absolute, sizeof absolute, "%s/b", root);
    CHECK(symlink(absolute, "d/absolute") == 0 && holds("d/absolute", "a") && holds("e/absolute", "a"));
    CHECK(rename("b", "c") == 0 && holds("c", "a"));
    FAILS(ENOENT, rename("b", "x"));
    CHECK(put("x", "x") == 1 && rename("c", "x") == 0 && holds("x", "a"));
    CHECK(rename("x", "d/x") == 0 && holds("d/x", "a"));
    CHECK(rename("d/x", "d/x") == 0);
    FAILS(EINVAL, rename("d", "d/inside"));
    CHECK(mkdir("f", 0700) == 0);
    FAILS(ENOTEMPTY, rename("f", "d"));
    CHECK(rename("d", "f") == 0 && holds("f/x", "a"));
    FAILS(EISDIR, rename("loop", "f"));
    FAILS(ENOTDIR, rename("f", "loop"));
    FAILS(ENOTEMPTY, rmdir("f"));
    FAILS(ENOTDIR, rmdir("loop"));
    FAILS(EISDIR, unlink("f"));
    CHECK(unlink("f/x") == 0 && unlink("f/up") == 0 && unlink("f/absolute") == 0 && rmdir("f") == 0);
    // An open file outlives its name.
    int file = open("gone", O_RDWR | O_CREAT, 0600);
    CHECK(unlink("gone") == 0 && write(file, "still", 5) == 5 && fstat(file, &first) == 0 && first.st_nlink == 0);
    close(file);
    char longest[300];
    memset(longest, 'n', sizeof longest);
    longest[255] = 0;
    CHECK(put(longest, "n") == 1 && unlink(longest) == 0);
    longest[255] = 'n';
    longest[256] = 0;
    FAILS(ENAMETOOLONG, open(longest, O_RDONLY | O_CREAT, 0600));
    char *path = malloc(5000);
    memset(path, '/', 5000);
    path[4999] = 0;
    FAILS(ENAMETOOLONG, open(path, O_RDONLY));
    int directory = open(".", O_RDONLY | O_DIRECTORY);
    CHECK(mkdirat(directory, "g", 0711) == 0 && fstatat(directory, "g", &first, 0) == 0 && S_ISDIR(first.st_mode));
    file = openat(directory, "g/file", O_CREAT | O_WRONLY, 0600);
    CHECK(file >= 0 && close(file) == 0 && unlinkat(directory, "g/file", 0) == 0);
    CHECK(unlinkat(directory, "g", AT_REMOVEDIR) == 0);
    CHECK(symlinkat("q", directory, "l") == 0 && readlinkat(directory, "l", target, 16) == 1);
    CHECK(linkat(directory, "loop", directory, "loop2", 0) == 0 && lstat("loop2", &first) == 0 && first.st_nlink == 2);
    CHECK(renameat(directory, "loop2", directory, "loop3") == 0 && faccessat(directory, "l", F_OK, AT_SYMLINK_NOFOLLOW) == 0);
    close(directory);
}

static void directories(void) {
    make_root();
    char name[32];
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "file-%d", i);
        NEED(put(name, "x") == 1);
    }
    CHECK(mkdir("sub", 0755) == 0 && symlink("x", "link") == 0);
    char seen[300] = "";
    int others = 0;
    DIR *stream = opendir(".");
    NEED(stream);
    for (struct dirent *entry; (entry = readdir(stream));) {
        int number;
        if (sscanf(entry->d_name, "file-%d", &number) == 1) {
            CHECK(seen[number]++ == 0 && entry->d_type == DT_REG);
        } else {
            others++;
            if (strcmp(entry->d_name, "sub") == 0) CHECK(entry->d_type == DT_DIR);
            if (strcmp(entry->d_name, "link") == 0) CHECK(entry->d_type == DT_LNK);
        }
    }
    CHECK(memchr(seen, 0, sizeof seen) == 0 && others == 4);
    rewinddir(stream);
    int count = 0;
    // Removing while reading skips nothing that stays.
    for (struct dirent *entry; (entry = readdir(stream));)
        if (strncmp(entry->d_name, "file-", 5) == 0) count += unlink(entry->d_name) == 0;
    closedir(stream);
    CHECK(count == 300);
    CHECK(rmdir("sub") == 0 && unlink("link") == 0);
    char here[128];
    CHECK(getcwd(here, sizeof here) && strcmp(here, root) == 0);
    FAILS(ERANGE, getcwd(here, 3) ? 0 : -1);
    CHECK(mkdir("in", 0755) == 0 && chdir("in") == 0 && getcwd(here, sizeof here) && strlen(here) == strlen(root) + 3);
    CHECK(chdir("..") == 0 && getcwd(here, sizeof here) && strcmp(here, root) == 0);
    int directory = open("in", O_RDONLY);
    CHECK(fchdir(directory) == 0 && getcwd(here, sizeof here) && strcmp(here + strlen(root), "/in") == 0);
    close(directory);
    FAILS(ENOENT, chdir("missing"));
    CHECK(chdir("/") == 0 && chdir("..") == 0 && getcwd(here, sizeof here) && strcmp(here, "/") == 0);
    struct stat root_status;
    CHECK(stat("/..", &root_status) == 0 && S_ISDIR(root_status.st_mode));
    CHECK(realpath("/tmp/../tmp/.", here) && strcmp(here, "/tmp") == 0);
}

static void modes_and_times(void) {
    make_root();
    struct stat status;
    umask(027);
    CHECK(put("a", "") == 0 && stat("a", &status) == 0 && (status.st_mode & 0777) == 0640);
    CHECK(umask(022) == 027);
    CHECK(chmod("a", 0751) == 0 && stat("a", &status) == 0 && status.st_mode == (S_IFREG | 0751));
    int file = open("a", O_RDWR);
    CHECK(fchmod(file, 0600) == 0 && fstat(file, &status) == 0 && (status.st_mode & 07777) == 0600);
    CHECK(chown("a", 5, 6) == 0 && stat("a", &status) == 0 && status.st_uid == 5 && status.st_gid == 6);
    CHECK(fchown(file, -1, 7) == 0 && fstat(file, &status) == 0 && status.st_uid == 5 && status.st_gid == 7);
    struct timespec times[2] = {{1000, 5}, {2000, 7}};
    CHECK(utimensat(AT_FDCWD, "a", times, 0) == 0 && stat("a", &status) == 0);
    CHECK(status.st_atim.tv_sec == 1000 && status.st_mtim.tv_sec == 2000 && status.st_mtim.tv_nsec == 7);
    times[0].tv_nsec = UTIME_OMIT;
    times[1].tv_nsec = UTIME_NOW;
    CHECK(futimens(file, times) == 0 && fstat(file, &status) == 0 && status.st_atim.tv_sec == 1000);
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    CHECK(labs(status.st_mtim.tv_sec - now.tv_sec) <= 2);
    times[1] = (struct timespec){2000, 0};
    CHECK(futimens(file, times) == 0);
    CHECK(write(file, "x", 1) == 1 && fstat(file, &status) == 0 && labs(status.st_mtim.tv_sec - now.tv_sec) <= 2);
    CHECK(access("a", R_OK | W_OK) == 0 && chmod("a", 0700) == 0 && access("a", X_OK) == 0);
    FAILS(ENOENT, access("b", F_OK));
    CHECK(chmod("a", 04755) == 0 && stat("a", &status) == 0 && (status.st_mode & 07777) == 04755);
    CHECK(mkdir("d", 01777) == 0 && stat("d", &status) == 0 && (status.st_mode & 0777) == 0755);
    CHECK(fsync(file) == 0 && fdatasync(file) == 0);
    sync();
    struct statfs figures;
    CHECK(statfs(".", &figures) == 0 && figures.f_bsize >= 512 && figures.f_blocks > 0 && figures.f_bfree > 0);
    CHECK(fstatfs(file, &figures) == 0);
    CHECK(mknod("fifo", S_IFIFO | 0600, 0) == 0 && stat("fifo", &status) == 0 && S_ISFIFO(status.st_mode));
    close(file);
}

static void descriptors(void) {
    make_root();
    int file = open("a", O_RDWR | O_CREAT, 0600);
    int copy = dup(file);
    CHECK(copy > file && write(file, "abc", 3) == 3 && lseek(copy, 0, SEEK_CUR) == 3);
    CHECK(dup2(file, 77) == 77 && lseek(77, 1, SEEK_SET) == 1 && lseek(file, 0, SEEK_CUR) == 1);
    CHECK(dup2(file, file) == file);
    FAILS(EBADF, dup2(500, 501));
    FAILS(EBADF, dup2(file, -1));
    FAILS(EINVAL, dup3(file, file, 0));
    CHECK(fcntl(file, F_DUPFD, 100) == 100 && close(100) == 0);
    CHECK(fcntl(file, F_DUPFD_CLOEXEC, 100) == 100 && fcntl(100, F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(file, F_GETFD) == 0 && fcntl(file, F_SETFD, FD_CLOEXEC) == 0 && fcntl(file, F_GETFD) == FD_CLOEXEC);
    CHECK(fcntl(copy, F_GETFD) == 0);
    CHECK(fcntl(file, F_SETFL, O_NONBLOCK | O_APPEND) == 0 && (fcntl(copy, F_GETFL) & O_APPEND));
    FAILS(EBADF, fcntl(400, F_GETFD));
    // The offset is shared with children.
    fcntl(file, F_SETFL, 0);
    lseek(file, 0, SEEK_SET);
    if (fork() == 0) _exit(lseek(file, 2, SEEK_SET) != 2);
    int status;
    CHECK(wait(&status) > 0 && status == 0 && lseek(file, 0, SEEK_CUR) == 2);
    struct rlimit limit;
    CHECK(getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur >= 256);
    limit.rlim_cur = 120;
    CHECK(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    int last = -1, next;
    while ((next = dup(file)) >= 0) last = next;
    CHECK(errno == EMFILE && last == 119);
}

static void locks(void) {
    make_root();
    int file = open("a", O_RDWR | O_CREAT, 0600);
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 10, .l_len = 10};
    CHECK(fcntl(file, F_SETLK, &lock) == 0);
    int there[2];
    NEED(pipe(there) == 0);
    pid_t child = fork();
    if (child == 0) {
        failures = 0;
        struct flock other = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 15, .l_len = 1};
        CHECK(fcntl(file, F_GETLK, &other) == 0 && other.l_type == F_WRLCK && other.l_pid == getppid());
        CHECK(other.l_start == 10 && other.l_len == 10);
        other = (struct flock){.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 15, .l_len = 1};
        FAILS(EAGAIN, fcntl(file, F_SETLK, &other));
        other.l_start = 20;
        CHECK(fcntl(file, F_SETLK, &other) == 0);
        write(there[1], "r", 1);
        other.l_start = 15;
        CHECK(fcntl(file, F_SETLKW, &other) == 0);
        _exit(failures);
    }
    char ready;
    CHECK(read(there[0], &ready, 1) == 1);
    usleep(50000);
    lock.l_type = F_UNLCK;
    CHECK(fcntl(file, F_SETLK, &lock) == 0);
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
    int second = open("a", O_RDWR);
    CHECK(flock(file, LOCK_EX) == 0);
    FAILS(EWOULDBLOCK, flock(second, LOCK_SH | LOCK_NB));
    CHECK(flock(file, LOCK_UN) == 0 && flock(second, LOCK_SH | LOCK_NB) == 0);
}

static void mapped_files(void) {
    make_root();
    int file = open("a", O_RDWR | O_CREAT, 0600);
    static char text[6000];
    memset(text, 'x', sizeof text);
    CHECK(write(file, text, sizeof text) == sizeof text);
    char *private = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    NEED(private != MAP_FAILED);
    CHECK(private[0] == 'x' && private[5999] == 'x' && private[6000] == 0);
    private[1] = 'P';
    char byte;
    CHECK(pread(file, &byte, 1, 1) == 1 && byte == 'x');
    char *shared = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    NEED(shared != MAP_FAILED);
    shared[2] = 'S';
    CHECK(pread(file, &byte, 1, 2) == 1 && byte == 'S');
    CHECK(pwrite(file, "W", 1, 3) == 1 && shared[3] == 'W');
    shared[4097] = 'T';
    CHECK(msync(shared, 8192, MS_SYNC) == 0 && pread(file, &byte, 1, 4097) == 1 && byte == 'T');
    pid_t child = fork();
    if (child == 0) {
        shared[4] = 'C';
        private[4] = 'C';
        _exit(0);
    }
    CHECK(waitpid(child, 0, 0) == child && shared[4] == 'C' && private[4] == 'x');
    CHECK(pread(file, &byte, 1, 4) == 1 && byte == 'C');
    char *second = mmap(0, 4096, PROT_READ, MAP_PRIVATE, file, 4096);
    CHECK(second != MAP_FAILED && second[1] == 'T');
    CHECK(munmap(private, 8192) == 0 && munmap(shared, 8192) == 0 && munmap(second, 4096) == 0);
    int reader = open("a", O_RDONLY);
    FAILS(EACCES, mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, reader, 0));
    FAILS(EINVAL, mmap(0, 4096, PROT_READ, MAP_PRIVATE, reader, 1));
    FAILS(EBADF, mmap(0, 4096, PROT_READ, MAP_PRIVATE, 999, 0));
    close(reader);
    close(file);
}

static void mapped_in_pieces(void) {
    make_root();
    // A file that grew in many steps, and holes: all of it shows.
    enum { STEP = 100000, STEPS = 30 };
    static char text[STEP];
    int file = open("grown", O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int i = 0; i < STEPS; i++) {
        memset(text, 'a' + i, STEP);
        CHECK(write(file, text, STEP) == STEP);
    }
    CHECK(ftruncate(file, 2 * STEP * STEPS) == 0 && pwrite(file, "end", 3, 2 * STEP * STEPS) == 3);
    for (int shared = 0; shared < 2; shared++) {
        char *shown = mmap(0, 2 * STEP * STEPS + 3, PROT_READ | PROT_WRITE, shared ? MAP_SHARED : MAP_PRIVATE, file, 0);
        NEED(shown != MAP_FAILED);
        for (int i = 0; i < STEP * STEPS; i += 1000) CHECK(shown[i] == 'a' + i / STEP);
        for (int i = STEP * STEPS; i < 2 * STEP * STEPS; i += 1000) CHECK(shown[i] == 0);
        CHECK(memcmp(shown + 2 * STEP * STEPS, "end", 4) == 0);
        memset(shown, 'Z', STEP * STEPS);
        char byte = 0;
        CHECK(pread(file, &byte, 1, STEP * STEPS - 1) == 1 && byte == (shared ? 'Z' : 'a' + STEPS - 1));
        CHECK(munmap(shown, 2 * STEP * STEPS + 3) == 0);
    }
    // Its mapping can be made smaller, whatever it is made of.
    char *whole = mmap(0, STEP * STEPS, PROT_READ, MAP_SHARED, file, 0);
    CHECK(whole != MAP_FAILED && mremap(whole, STEP * STEPS, 300000, 0) == whole && whole[299999] == 'Z');
    CHECK(munmap(whole, 300000) == 0);
    // As a database makes the memory that its users share: the last byte of each page is written, then all is mapped.
    int index = open("index", O_RDWR | O_CREAT | O_TRUNC, 0600);
    for (int i = 0; i < 8; i++) CHECK(pwrite(index, "", 1, i * 4096 + 4095) == 1);
    char *shown = mmap(0, 32768, PROT_READ | PROT_WRITE, MAP_SHARED, index, 0);
    NEED(shown != MAP_FAILED);
    for (int i = 0; i < 32768; i += 512) shown[i] = 1;
    // Beyond the end, a mapping is only not to be touched.
    char *beyond = mmap(0, 4096, PROT_READ, MAP_SHARED, index, 65536);
    CHECK(beyond != MAP_FAILED && munmap(beyond, 4096) == 0);
    CHECK(ftruncate(index, 0) == 0);
    char *empty = mmap(0, 4096, PROT_READ, MAP_PRIVATE, index, 0);
    CHECK(empty != MAP_FAILED && munmap(empty, 4096) == 0);
    CHECK(unlink("grown") == 0 && unlink("index") == 0);
    close(index);
    close(file);
}

static void shared_by_name(void) {
    sem_t *semaphore = sem_open("/count", O_CREAT | O_EXCL, 0600, 2);
    NEED(semaphore != SEM_FAILED);
    sem_t *same = sem_open("/count", 0);
    CHECK(same != SEM_FAILED && sem_wait(same) == 0 && sem_trywait(semaphore) == 0);
    FAILS(EAGAIN, sem_trywait(same));
    FAILS(EEXIST, sem_open("/count", O_CREAT | O_EXCL, 0600, 2) == SEM_FAILED ? -1 : 0);
    CHECK(sem_close(same) == 0 && sem_close(semaphore) == 0 && sem_unlink("/count") == 0);
    FAILS(ENOENT, sem_open("/count", 0) == SEM_FAILED ? -1 : 0);
    int file = shm_open("/memory", O_RDWR | O_CREAT | O_EXCL, 0600);
    NEED(file >= 0 && ftruncate(file, 10000) == 0);
    char *shown = mmap(0, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    NEED(shown != MAP_FAILED);
    pid_t child = fork();
    if (child == 0) {
        shown[9999] = 7;
        _exit(0);
    }
    CHECK(waitpid(child, 0, 0) == child && shown[9999] == 7 && shm_unlink("/memory") == 0);
    FAILS(ENOENT, shm_open("/memory", O_RDWR, 0));
    // Whatever changes names goes there, too.
    CHECK(close(open("/dev/shm/one", O_WRONLY | O_CREAT, 0600)) == 0 && link("/dev/shm/one", "/dev/shm/two") == 0);
    CHECK(rename("/dev/shm/one", "/dev/shm/three") == 0 && symlink("three", "/dev/shm/four") == 0);
    CHECK(truncate("/dev/shm/four", 5) == 0 && access("/dev/shm/two", F_OK) == 0);
    CHECK(unlink("/dev/shm/two") == 0 && unlink("/dev/shm/three") == 0 && unlink("/dev/shm/four") == 0);
}

static int listed(const char *folder) {
    int count = 0;
    DIR *directory = opendir(folder);
    for (struct dirent *entry; directory && (entry = readdir(directory));) count += entry->d_name[0] != '.';
    if (directory) closedir(directory);
    return count;
}

static void descriptors_of_a_vfork_child(void) {
    // As Python's `subprocess` does before exec, to close what is open.
    int before = listed("/proc/self/fd"), file = dup(0);
    static volatile int seen;
    CHECK(file >= 0 && listed("/proc/self/fd/") == before + 1);
    if (vfork() == 0) {
        close(file);
        seen = listed("/proc/self/fd");
        _exit(0);
    }
    wait(0);
    CHECK(seen == before && listed("/proc/self/fd") == before + 1);
    close(file);
}

static void pipes(void) {
    int ends[2];
    char bytes[200];
    NEED(pipe(ends) == 0);
    CHECK(write(ends[1], "abc", 3) == 3 && read(ends[0], bytes, 200) == 3);
    FAILS(ESPIPE, lseek(ends[0], 0, SEEK_CUR));
    FAILS(EBADF, write(ends[0], "x", 1));
    int count = 0;
    CHECK(write(ends[1], "abcde", 5) == 5 && ioctl(ends[0], FIONREAD, &count) == 0 && count == 5);
    read(ends[0], bytes, 5);
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    FAILS(EAGAIN, read(ends[0], bytes, 1));
    fcntl(ends[1], F_SETFL, O_NONBLOCK);
    static char block[4096];
    int filled = 0;
    for (int n; (n = write(ends[1], block, sizeof block)) > 0;) filled += n;
    CHECK(errno == EAGAIN && filled == 65536);
    struct pollfd poller = {.fd = ends[1], .events = POLLOUT};
    CHECK(poll(&poller, 1, 0) == 0);
    CHECK(read(ends[0], block, 4096) == 4096 && poll(&poller, 1, 0) == 1 && poller.revents == POLLOUT);
    close(ends[1]);
    for (int n; (n = read(ends[0], block, sizeof block)) > 0;) filled -= n;
    CHECK(filled == 4096);
    poller = (struct pollfd){.fd = ends[0], .events = POLLIN};
    CHECK(poll(&poller, 1, 0) == 1 && poller.revents == POLLHUP);
    CHECK(read(ends[0], bytes, 1) == 0);
    close(ends[0]);
    NEED(pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
    CHECK(fcntl(ends[0], F_GETFD) == FD_CLOEXEC && (fcntl(ends[1], F_GETFL) & O_NONBLOCK));
    close(ends[0]);
    signal(SIGPIPE, SIG_IGN);
    FAILS(EPIPE, write(ends[1], "x", 1));
    close(ends[1]);
    // Much data between processes, in pieces that do not fit each other.
    NEED(pipe(ends) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        unsigned char piece[1000];
        for (unsigned i = 0; i < 1000; i++) {
            for (unsigned j = 0; j < 1000; j++) piece[j] = (i * 1000 + j) * 7;
            if (write(ends[1], piece, 1000) != 1000) _exit(1);
        }
        _exit(0);
    }
    close(ends[1]);
    unsigned at = 0;
    int good = 1;
    unsigned char piece[777];
    for (int n; (n = read(ends[0], piece, sizeof piece)) > 0;)
        for (int i = 0; i < n; i++) good &= piece[i] == (unsigned char)(at++ * 7);
    CHECK(good && at == 1000000);
    CHECK(waitpid(child, 0, 0) == child);
}

static void fifos(void) {
    make_root();
    NEED(mkfifo("f", 0600) == 0);
    FAILS(ENXIO, open("f", O_WRONLY | O_NONBLOCK));
    pid_t child = fork();
    if (child == 0) {
        int end = open("f", O_WRONLY);
        write(end, "through", 7);
        _exit(0);
    }
    int end = open("f", O_RDONLY);
    char bytes[16];
    CHECK(end >= 0 && read(end, bytes, 16) == 7 && memcmp(bytes, "through", 7) == 0 && read(end, bytes, 16) == 0);
    CHECK(waitpid(child, 0, 0) == child);
    close(end);
}

static void waiting_for_files(void) {
    int first[2], second[2];
    NEED(pipe(first) == 0 && pipe(second) == 0);
    struct pollfd both[3] = {{first[0], POLLIN, 0}, {second[0], POLLIN, 0}, {-1, POLLIN, 0}};
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    CHECK(poll(both, 3, 50) == 0);
    clock_gettime(CLOCK_MONOTONIC, &end);
    long waited = (end.tv_sec - start.tv_sec) * 1000 + (end.tv_nsec - start.tv_nsec) / 1000000;
    CHECK(waited >= 49);
    pid_t child = fork();
    if (child == 0) {
        usleep(50000);
        write(second[1], "x", 1);
        _exit(0);
    }
    CHECK(poll(both, 2, -1) == 1 && both[1].revents == POLLIN && both[0].revents == 0);
    fd_set set;
    FD_ZERO(&set);
    FD_SET(first[0], &set);
    FD_SET(second[0], &set);
    struct timeval limit = {1000, 0};
    CHECK(select(second[0] + 1, &set, 0, 0, &limit) == 1 && FD_ISSET(second[0], &set) && !FD_ISSET(first[0], &set));
    waitpid(child, 0, 0);
    struct pollfd wrong = {999, POLLIN, 0};
    CHECK(poll(&wrong, 1, 0) == 1 && wrong.revents == POLLNVAL);
    int counter = eventfd(3, 0);
    uint64_t value;
    CHECK(counter >= 0 && read(counter, &value, 8) == 8 && value == 3);
    value = 5;
    struct pollfd event = {counter, POLLIN, 0};
    CHECK(poll(&event, 1, 0) == 0 && write(counter, &value, 8) == 8 && poll(&event, 1, 0) == 1);
    CHECK(write(counter, &value, 8) == 8 && read(counter, &value, 8) == 8 && value == 10);
    FAILS(EINVAL, read(counter, &value, 4));
}

static void devices(void) {
    char bytes[64];
    memset(bytes, 1, sizeof bytes);
    int file = open("/dev/null", O_RDWR);
    CHECK(write(file, bytes, 64) == 64 && read(file, bytes, 64) == 0);
    close(file);
    file = open("/dev/zero", O_RDONLY);
    CHECK(read(file, bytes, 64) == 64 && bytes[0] == 0 && bytes[63] == 0);
    char *zero = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    CHECK(zero != MAP_FAILED && zero[5] == 0);
    close(file);
    char other[64];
    file = open("/dev/urandom", O_RDONLY);
    CHECK(read(file, bytes, 64) == 64 && read(file, other, 64) == 64 && memcmp(bytes, other, 64) != 0);
    close(file);
    CHECK(syscall(SYS_getrandom, other, 64, 0) == 64 && memcmp(bytes, other, 64) != 0);
    struct stat status;
    CHECK(stat("/dev/null", &status) == 0 && S_ISCHR(status.st_mode) && status.st_rdev == 0x103);
    CHECK(isatty(0) == 0 || isatty(0) == 1);
    file = open("/proc/self/status", O_RDONLY);
    CHECK(file >= 0 && read(file, bytes, 64) > 10);
    char path[64] = "";
    CHECK(readlink("/proc/self/exe", path, sizeof path) > 1 && path[0] == '/');
    CHECK(readlink("/proc/self/fd/0", path, sizeof path) > 0);
    int listed = 0, high = fcntl(file, F_DUPFD, 400);
    DIR *descriptors = opendir("/proc/self/fd");
    CHECK(descriptors != 0 && high >= 400);
    for (struct dirent *entry; descriptors && (entry = readdir(descriptors));) {
        int number = atoi(entry->d_name);
        if (entry->d_name[0] == '.') continue;
        CHECK(entry->d_type == DT_LNK && fcntl(number, F_GETFD) >= 0);
        listed += number == file || number == high || number == dirfd(descriptors) || number == 1;
    }
    CHECK(listed == 4);
    rewinddir(descriptors);
    CHECK(readdir(descriptors) && closedir(descriptors) == 0 && close(high) == 0);
    char name[32];
    snprintf(name, sizeof name, "/proc/%d/stat", getpid());
    FILE *stat_file = fopen(name, "r");
    int pid = 0;
    CHECK(stat_file && fscanf(stat_file, "%d", &pid) == 1 && pid == getpid());
}

static void *until_readable(void *file) {
    struct pollfd wish = {*(int *)file, POLLIN, 0};
    return (void *)(long)poll(&wish, 1, -1);
}

// Each of two threads that wait for the same file is woken.
static void waiting_in_threads(void) {
    int ends[2];
    NEED(pipe(ends) == 0);
    pthread_t threads[2];
    for (int i = 0; i < 2; i++) NEED(pthread_create(&threads[i], 0, until_readable, &ends[0]) == 0);
    usleep(100000);
    CHECK(write(ends[1], "x", 1) == 1);
    for (int i = 0; i < 2; i++) {
        void *ready = 0;
        CHECK(pthread_join(threads[i], &ready) == 0 && ready == (void *)1);
    }
    close(ends[0]), close(ends[1]);
}

static void splicing(void) {
    make_root();
    char bytes[64] = "";
    int one[2], two[2];
    NEED(pipe(one) == 0 && pipe(two) == 0);
    int file = open("a", O_RDWR | O_CREAT, 0600);
    CHECK(write(one[1], "splice", 6) == 6 && splice(one[0], 0, file, 0, 3, 0) == 3 && holds("a", "spl"));
    CHECK(tee(one[0], two[1], 100, 0) == 3 && splice(one[0], 0, two[1], 0, 100, 0) == 3);
    CHECK(read(two[0], bytes, 64) == 6 && memcmp(bytes, "iceice", 6) == 0);
    off_t at = 1;
    CHECK(splice(file, &at, one[1], 0, 64, 0) == 2 && at == 3 && read(one[0], bytes, 64) == 2 && memcmp(bytes, "pl", 2) == 0);
    at = 1;
    CHECK(write(one[1], "XYZ", 3) == 3 && splice(one[0], 0, file, &at, 64, 0) == 3 && at == 4 && holds("a", "sXYZ"));
    struct iovec parts[2] = {{"ab", 2}, {"cd", 2}};
    CHECK(vmsplice(one[1], parts, 2, 0) == 4 && read(one[0], bytes, 64) == 4 && memcmp(bytes, "abcd", 4) == 0);
    FAILS(EAGAIN, splice(one[0], 0, two[1], 0, 1, SPLICE_F_NONBLOCK));
    FAILS(EINVAL, splice(file, 0, file, 0, 1, 0));
    FAILS(ESPIPE, splice(one[0], &at, two[1], 0, 1, 0));
    FAILS(EINVAL, tee(file, one[1], 1, 0));
    // What does not fit stays.
    CHECK(fcntl(two[1], F_SETPIPE_SZ, 4096) == 4096 && ftruncate(file, 10000) == 0);
    at = 0;
    CHECK(splice(file, &at, two[1], 0, 10000, 0) == 4096 && splice(file, &at, one[1], 0, 10000, 0) == 5904);
    FAILS(EAGAIN, splice(one[0], 0, two[1], 0, 10000, SPLICE_F_NONBLOCK));
    close(two[1]);
    close(one[1]);
    CHECK(splice(one[0], 0, file, 0, 100000, 0) == 5904 && splice(one[0], 0, file, 0, 100000, 0) == 0);
    CHECK(syscall(SYS_pwritev2, file, parts, 2, -1L, -1L, 0x10) == 4 && pread(file, bytes, 64, 10000) == 4);
    CHECK(syscall(SYS_preadv2, file, parts, 0, 0L, 0L, 0) == 0);
    FAILS(EOPNOTSUPP, syscall(SYS_pwritev2, file, parts, 2, 0L, 0L, 0x4000));
    close(one[0]), close(two[0]), close(file);
    file = syscall(SYS_memfd_create, "name", 0);
    char place[32];
    snprintf(place, sizeof place, "/proc/self/fd/%d", file);
    CHECK(readlink(place, bytes, sizeof bytes) == 21 && memcmp(bytes, "/memfd:name (deleted)", 21) == 0);
    close(file);
}

// Locks that an open file owns, whoever uses it.
static void locks_of_open_files(void) {
    make_root();
    int one = open("a", O_RDWR | O_CREAT, 0600), two = open("a", O_RDWR);
    NEED(one >= 0 && two >= 0);
    struct flock lock = {.l_type = F_WRLCK, .l_len = 10};
    CHECK(fcntl(one, F_OFD_SETLK, &lock) == 0);
    FAILS(EAGAIN, fcntl(two, F_OFD_SETLK, &lock));
    FAILS(EAGAIN, fcntl(one, F_SETLK, &lock));
    CHECK(fcntl(two, F_OFD_GETLK, &lock) == 0 && lock.l_type == F_WRLCK && lock.l_pid == -1);
    FAILS(EINVAL, fcntl(two, F_OFD_SETLK, &lock));
    lock.l_pid = 0;
    // A descriptor more keeps it, the last one's end drops it.
    int more = dup(one);
    close(one);
    FAILS(EAGAIN, fcntl(two, F_OFD_SETLK, &lock));
    close(more);
    CHECK(fcntl(two, F_OFD_SETLKW, &lock) == 0);
    close(two);
}

// A directory is itself, not its name.
static void directories_that_move(void) {
    make_root();
    char place[256], place_now[256];
    NEED(mkdir("one", 0755) == 0 && mkdir("one/below", 0755) == 0 && put("one/f", "moved") == 5);
    int directory = open("one", O_RDONLY | O_DIRECTORY);
    NEED(directory >= 0 && rename("one", "two") == 0 && mkdir("one", 0755) == 0 && put("one/other", "x") == 1);
    CHECK(faccessat(directory, "f", F_OK, 0) == 0);
    FAILS(ENOENT, openat(directory, "other", O_RDONLY));
    CHECK(fchdir(directory) == 0 && getcwd(place, sizeof place) && strcmp(strrchr(place, '/'), "/two") == 0);
    CHECK(holds("f", "moved") && holds("../two/f", "moved") && chdir("below") == 0);
    CHECK(rename("../../two", "../../three") == 0);
    CHECK(getcwd(place, sizeof place) && strlen(place) > 12 && strcmp(place + strlen(place) - 12, "/three/below") == 0);
    int count = readlink("/proc/self/cwd", place_now, sizeof place_now);
    CHECK(count == (int)strlen(place) && memcmp(place, place_now, count) == 0);
    CHECK(holds("../f", "moved") && put("../g", "new") == 3 && holds("../../three/g", "new"));
    CHECK(mkdirat(directory, "m", 0700) == 0 && symlinkat("m", directory, "l") == 0 && renameat(directory, "m", directory, "n") == 0);
    CHECK(linkat(directory, "g", directory, "h", 0) == 0 && unlinkat(directory, "n", AT_REMOVEDIR) == 0);
    // By another process.
    CHECK(system("mv ../../three ../../four && test -e ../f") == 0 && holds("../h", "new") && holds("../../four/h", "new"));
    CHECK(rmdir("../below") == 0);
    FAILS(ENOENT, getcwd(place, sizeof place) ? 0 : -1);
    FAILS(ENOENT, open("x", O_CREAT | O_RDWR, 0600));
    CHECK(chdir("..") == 0 || chdir("../../four") == 0);
    close(directory);
}

static int give(const char *path, const char *text, mode_t mode) { return put(path, text) < 0 || chmod(path, mode); }

// What user 65534 may not do.
static void as_nobody(void) {
    struct stat status;
    struct timespec times[2] = {{1, 1}, {1, 1}};
    FAILS(EACCES, open("secret", O_RDONLY));
    FAILS(EACCES, open("readable", O_WRONLY));
    FAILS(EACCES, open("readable", O_RDONLY | O_TRUNC));
    CHECK(open("readable", O_RDONLY) >= 0 && stat("secret", &status) == 0);
    FAILS(EACCES, stat("closed/in", &status));
    FAILS(EACCES, stat("to-closed/in", &status));
    FAILS(EACCES, chdir("closed"));
    FAILS(EACCES, unlink("others/f"));
    FAILS(EACCES, open("others/new", O_CREAT | O_WRONLY, 0600));
    FAILS(EACCES, mkdir("others/d", 0755));
    FAILS(EEXIST, mkdir("others", 0755));
    FAILS(EACCES, rmdir("others"));
    FAILS(EACCES, rename("others/f", "open/f"));
    FAILS(EACCES, symlink("x", "others/l"));
    FAILS(EACCES, mkfifo("others/p", 0600));
    FAILS(EPERM, unlink("sticky/f"));
    FAILS(EPERM, rename("sticky/f", "sticky/g"));
    CHECK(put("sticky/mine", "x") == 1 && unlink("sticky/mine") == 0);
    FAILS(EPERM, chmod("readable", 0666));
    FAILS(EPERM, chown("own", 0, 0));
    CHECK(chmod("own", 0640) == 0 && chown("own", 65534, 65534) == 0 && chown("readable", -1, -1) == 0);
    FAILS(EACCES, truncate("readable", 0));
    FAILS(EACCES, access("readable", W_OK));
    FAILS(EACCES, access("secret", R_OK));
    CHECK(access("readable", R_OK) == 0);
    FAILS(EACCES, utimensat(AT_FDCWD, "readable", 0, 0));
    FAILS(EPERM, utimensat(AT_FDCWD, "readable", times, 0));
    CHECK(utimensat(AT_FDCWD, "own", times, 0) == 0);
    FAILS(EPERM, mknod("open/device", S_IFCHR | 0600, 0x103));
    FAILS(EACCES, execl("readable", "readable", (char *)0));
    CHECK(put("open/mine", "x") == 1 && stat("open/mine", &status) == 0 && status.st_uid == 65534);
    FAILS(EPERM, setuid(0));
}

static void permissions(void) {
    make_root();
    umask(022);
    NEED(chmod(".", 0755) == 0 && give("secret", "x", 0600) == 0 && give("readable", "x", 0644) == 0);
    NEED(mkdir("closed", 0700) == 0 && put("closed/in", "x") == 1 && symlink("closed", "to-closed") == 0);
    NEED(mkdir("others", 0755) == 0 && put("others/f", "x") == 1 && mkdir("open", 0777) == 0 && chmod("open", 0777) == 0);
    NEED(mkdir("sticky", 0777) == 0 && chmod("sticky", 01777) == 0 && put("sticky/f", "x") == 1);
    NEED(put("own", "x") == 1 && chown("own", 65534, 65534) == 0);
    FAILS(EACCES, access("readable", X_OK));
    pid_t child = fork();
    if (child == 0) {
        if (setgid(65534) || setuid(65534)) failed(__FILE__, __LINE__, "another user");
        as_nobody();
        _exit(failures != 0);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child && status == 0);
}

static void streams(void) {
    make_root();
    FILE *file = fopen("text", "w+");
    NEED(file);
    for (int i = 0; i < 1000; i++) fprintf(file, "line %d\n", i);
    CHECK(fseek(file, 0, SEEK_SET) == 0);
    char line[64];
    int count = 0;
    while (fgets(line, sizeof line, file)) count++;
    CHECK(count == 1000 && feof(file) && fclose(file) == 0);
    FILE *command = popen("wc -l < text", "r");
    CHECK(command && fgets(line, sizeof line, command) && atoi(line) == 1000 && pclose(command) == 0);
    CHECK(system("exit 3") == 3 << 8);
    file = tmpfile();
    CHECK(file && fputs("x", file) >= 0 && fclose(file) == 0);
}

static void nothing_here(void) {
    FAILS(EAFNOSUPPORT, socket(AF_INET, SOCK_STREAM, 0));
    FAILS(EPERM, syscall(SYS_mount, "a", "/tmp", "b", 0, 0));
    FAILS(EPERM, syscall(SYS_unshare, CLONE_NEWNS));
    FAILS(ENOSYS, syscall(999));
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
        TEST(reading_and_writing), TEST(large_files), TEST(names), TEST(directories), TEST(modes_and_times), TEST(descriptors),
        TEST(locks), TEST(mapped_files), TEST(mapped_in_pieces), TEST(descriptors_of_a_vfork_child), TEST(shared_by_name), TEST(pipes), TEST(fifos), TEST(waiting_for_files), TEST(waiting_in_threads), TEST(splicing), TEST(permissions), TEST(directories_that_move), TEST(locks_of_open_files),
        TEST(devices), TEST(streams),
#ifndef ON_LINUX
        TEST(nothing_here),
#endif
    };
    return RUN_TESTS(tests);
}
