/* A preload library that remembers what a power loss would take away.
 *
 * Every call that changes a file or a directory entry below MURDER_POWERLOSS_DIR goes through, but
 * first what it destroys is appended to the file `log` in MURDER_POWERLOSS_UNDO: old bytes and old
 * length of a file, or the entry that appears, moves or goes. A successful fsync or fdatasync of a
 * file voids the earlier records of its content, an fsync of a directory those of its entries; a
 * file's own sync does not make its entry durable (POSIX promises no more). After `kill -9`, the
 * harness (src/powerloss.rs) applies what is left in reverse.
 *
 * Rules:
 * - A record is one write() to the log, and comes before the call that it undoes. A record torn by
 *   the kill belongs to a call that never happened.
 * - A record and its call happen under one lock. A sync voids the records that lie before the place
 *   where the log ended when the sync began, hence only changes that were complete by then.
 * - Content belongs to an inode, entries belong to a directory's inode. A file that loses its last
 *   name is kept as a hard link `saved.N` beside the log, so that its inode cannot come back as
 *   another file; both directories must be on one file system.
 * - What cannot be recorded ends the process loudly: a test must not pass on half a log.
 *
 * Which file an fd means is asked of the kernel at each call, so that dup, close and fds passed on
 * need no bookkeeping. Not seen: mapped memory, io_uring, raw system calls, stdio's own writes.
 *
 * The process can also be told where to end: a file `kill` beside the log (written by
 * src/powerloss/point.rs) names a sync or a rename, and the process kills itself just before or just
 * after it. The file is looked at whenever it matters, so a running process can be told.
 *
 * Longer than a screenful of files should be: most of it is one table of calls.
 *
 * Layout of a record, native byte order: struct record, then `first` and `second` bytes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { CONTENT = 1, SYNCED, CREATED, RENAMED, REMOVED, DIRECTORY_SYNCED };

/* In the order of NAMES in src/powerloss.rs. */
enum call {
    WRITE, WRITEV, PWRITE, PWRITE64, PWRITEV, PWRITEV64, COPY_FILE_RANGE, SENDFILE, SENDFILE64,
    FTRUNCATE, FTRUNCATE64, FALLOCATE, FALLOCATE64, POSIX_FALLOCATE, POSIX_FALLOCATE64,
    OPEN, OPEN64, OPENAT, OPENAT64, CREAT, CREAT64, RENAME, RENAMEAT, RENAMEAT2,
    UNLINK, UNLINKAT, LINK, LINKAT, MKDIR, MKDIRAT, RMDIR, FSYNC, FDATASYNC
};

struct record {
    uint32_t magic;
    uint8_t kind;
    uint8_t call;
    uint16_t zero;
    uint64_t device;
    uint64_t inode;
    uint64_t a; /* CONTENT: offset. *SYNCED: records before this place are void. Else: saved number. */
    uint64_t b; /* CONTENT: old length. RENAMED: inode that moves. REMOVED: 1 for a directory. */
    uint32_t first;
    uint32_t second;
};

#define MAGIC 0x4c57504dU

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static char directory[PATH_MAX]; /* empty: nothing is watched */
static size_t directory_length;
static char undo[PATH_MAX];
static int log_fd = -1;
static uint32_t saved_count;

#define REAL(name) real_##name
#define DECLARE(result, name, ...) static result (*REAL(name))(__VA_ARGS__)
DECLARE(ssize_t, write, int, const void *, size_t);
DECLARE(ssize_t, writev, int, const struct iovec *, int);
DECLARE(ssize_t, pwrite64, int, const void *, size_t, off64_t);
DECLARE(ssize_t, pwritev64, int, const struct iovec *, int, off64_t);
DECLARE(ssize_t, copy_file_range, int, off64_t *, int, off64_t *, size_t, unsigned);
DECLARE(ssize_t, sendfile64, int, int, off64_t *, size_t);
DECLARE(int, ftruncate64, int, off64_t);
DECLARE(int, fallocate64, int, int, off64_t, off64_t);
DECLARE(int, posix_fallocate64, int, off64_t, off64_t);
DECLARE(int, openat64, int, const char *, int, ...);
DECLARE(int, renameat2, int, const char *, int, const char *, unsigned);
DECLARE(int, unlinkat, int, const char *, int);
DECLARE(int, linkat, int, const char *, int, const char *, int);
DECLARE(int, mkdirat, int, const char *, mode_t);
DECLARE(int, fsync, int);
DECLARE(int, fdatasync, int);

static void die(const char *what) {
    char text[PATH_MAX + 128];
    int length = snprintf(text, sizeof text, "powerloss: %s: %s\n", what, strerror(errno));
    if (length > 0 && REAL(write))
        (void)!REAL(write)(2, text, (size_t)length);
    abort();
}

/* Cuts a record that a kill tore off, which is always the last one. */
static void mend_log(void) {
    struct stat64 status;
    struct record record;
    off64_t place = 0;
    if (fstat64(log_fd, &status) != 0)
        die("cannot examine the log");
    while (pread64(log_fd, &record, sizeof record, place) == (ssize_t)sizeof record) {
        off64_t next = place + (off64_t)sizeof record + record.first + record.second;
        if (record.magic != MAGIC || next > status.st_size)
            break;
        place = next;
    }
    if (place < status.st_size && REAL(ftruncate64)(log_fd, place) != 0)
        die("cannot mend the log");
}

static void resolve(void) {
#define FIND(name)                                                                                 \
    do {                                                                                           \
        *(void **)&REAL(name) = dlsym(RTLD_NEXT, #name);                                           \
        if (!REAL(name))                                                                           \
            die("cannot find " #name);                                                             \
    } while (0)
    FIND(write); FIND(writev); FIND(pwrite64); FIND(pwritev64); FIND(copy_file_range);
    FIND(sendfile64); FIND(ftruncate64); FIND(fallocate64); FIND(posix_fallocate64);
    FIND(openat64); FIND(renameat2); FIND(unlinkat); FIND(linkat); FIND(mkdirat);
    FIND(fsync); FIND(fdatasync);
    const char *watched = getenv("MURDER_POWERLOSS_DIR");
    const char *kept = getenv("MURDER_POWERLOSS_UNDO");
    if (!watched || !kept)
        return;
    char resolved[PATH_MAX];
    if (!realpath(watched, resolved))
        die("cannot resolve MURDER_POWERLOSS_DIR");
    if (!realpath(kept, undo))
        die("cannot resolve MURDER_POWERLOSS_UNDO");
    char path[PATH_MAX + 8];
    snprintf(path, sizeof path, "%s/log", undo);
    log_fd = REAL(openat64)(AT_FDCWD, path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log_fd < 0)
        die("cannot open the log");
    /* Out of the way of programs that expect low numbers. */
    int high = fcntl(log_fd, F_DUPFD_CLOEXEC, 900);
    if (high >= 0)
        log_fd = high;
    mend_log();
    directory_length = strlen(resolved);
    memcpy(directory, resolved, directory_length + 1);
}

static void begin(void) { pthread_once(&once, resolve); }

__attribute__((constructor)) static void load(void) { begin(); }

/* Whether a path is the watched directory or lies below it. */
static int is_below(const char *path) {
    return directory_length && strncmp(path, directory, directory_length) == 0 &&
           (path[directory_length] == '/' || path[directory_length] == 0);
}

/* Whether fd is a regular file or a directory that is watched, even if its name is gone. */
static int find_watched(int fd, struct stat64 *status, char path[PATH_MAX]) {
    if (!directory_length || fd == log_fd || fstat64(fd, status) != 0)
        return 0;
    if (!S_ISREG(status->st_mode) && !S_ISDIR(status->st_mode))
        return 0;
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        die("cannot read /proc/self/fd");
    path[length] = 0;
    return is_below(path);
}

static int is_watched(int fd, struct stat64 *status) {
    char path[PATH_MAX];
    return find_watched(fd, status, path);
}

/* Where the process is to end. The file is one line: `before` or `after`, a call's name, a part of a
 * path, which of the calls that fit (1 is the first since the file came), and perhaps bytes in
 * hexadecimal: then only a sync counts that follows a write of them to the same file. */
static struct {
    ino64_t inode; /* of the file that says so; 0: nowhere */
    int after;
    char call[16];
    char path[512];
    unsigned number;
    unsigned char bytes[256];
    size_t length;
    unsigned met;
    ino64_t written; /* the file that the bytes were written to since its last sync */
} point;

/* Reads the point if it is another one than before; the lock is held. */
static void read_point(void) {
    char path[PATH_MAX + 8], when[8], hex[513] = "", line[1200];
    struct stat64 status;
    snprintf(path, sizeof path, "%s/kill", undo);
    if (stat64(path, &status) != 0) {
        point.inode = 0;
        return;
    }
    if (status.st_ino == point.inode)
        return;
    memset(&point, 0, sizeof point);
    int fd = REAL(openat64)(AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : pread64(fd, line, sizeof line - 1, 0);
    if (length < 0)
        die("cannot read where to end");
    close(fd);
    line[length] = 0;
    if (sscanf(line, "%7s %15s %511s %u %512s", when, point.call, point.path, &point.number, hex) <
        4) {
        errno = EINVAL;
        die("cannot understand where to end");
    }
    point.after = strcmp(when, "after") == 0;
    for (const char *digits = hex; digits[0] && digits[1]; digits += 2)
        sscanf(digits, "%2hhx", &point.bytes[point.length++]);
    point.inode = status.st_ino;
}

/* Notes that the point's bytes are about to be written. */
static void note_write(int fd, const void *bytes, size_t count) {
    struct stat64 status;
    begin();
    if (!is_watched(fd, &status))
        return;
    pthread_mutex_lock(&lock);
    read_point();
    if (point.inode && point.length && memmem(bytes, count, point.bytes, point.length))
        point.written = status.st_ino;
    pthread_mutex_unlock(&lock);
}

/* Whether this call is the one; the lock is held. */
static int is_point(const char *call, const char *path, ino64_t inode) {
    read_point();
    if (!point.inode || strcmp(call, point.call) != 0 || !strstr(path, point.path))
        return 0;
    if (point.length) {
        if (point.written != inode)
            return 0;
        point.written = 0;
    }
    return ++point.met == point.number;
}

/* `kill -9` by the process itself. */
static void end_here(void) {
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* Appends a record; the lock is held. */
static void append(struct record record, const void *first, const void *second) {
    size_t length = sizeof record + record.first + record.second;
    char *bytes = malloc(length);
    if (!bytes)
        die("cannot allocate a record");
    record.magic = MAGIC;
    record.zero = 0;
    memcpy(bytes, &record, sizeof record);
    if (record.first)
        memcpy(bytes + sizeof record, first, record.first);
    if (record.second)
        memcpy(bytes + sizeof record + record.first, second, record.second);
    if (REAL(write)(log_fd, bytes, length) != (ssize_t)length)
        die("cannot append to the log");
    free(bytes);
}

/* Records the bytes of a file from offset up to end, or up to its end, and its length. */
static void save(int fd, const struct stat64 *status, enum call call, off64_t offset, off64_t end) {
    off64_t size = status->st_size;
    size_t length = offset < size ? (size_t)((end < size ? end : size) - offset) : 0;
    if (length > UINT32_MAX)
        die("too many bytes for one record");
    char *old = malloc(length + 1);
    if (!old)
        die("cannot allocate old bytes");
    char path[64];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int reader = -1; /* fd may be open for writing only */
    for (size_t done = 0; done < length;) {
        if (reader < 0 && (reader = REAL(openat64)(AT_FDCWD, path, O_RDONLY | O_CLOEXEC)) < 0)
            die("cannot open a file to save it");
        ssize_t count = pread64(reader, old + done, length - done, offset + (off64_t)done);
        if (count <= 0)
            die("cannot read old bytes");
        done += (size_t)count;
    }
    if (reader >= 0)
        close(reader);
    struct record record = {.kind = CONTENT, .call = (uint8_t)call, .device = status->st_dev,
                            .inode = status->st_ino, .a = (uint64_t)offset, .b = (uint64_t)size,
                            .first = (uint32_t)length};
    append(record, old, NULL);
    free(old);
}

/* Where write() would begin. */
static off64_t position(int fd, const struct stat64 *status) {
    int flags = fcntl(fd, F_GETFL);
    return flags & O_APPEND ? status->st_size : lseek64(fd, 0, SEEK_CUR);
}

/* Runs `action` after the bytes in [offset, offset + length) of fd are saved. */
#define CHANGE(result, fd, call, offset, length, action)                                           \
    do {                                                                                           \
        begin();                                                                                   \
        struct stat64 status;                                                                      \
        if (!is_watched(fd, &status))                                                              \
            return action;                                                                         \
        pthread_mutex_lock(&lock);                                                                 \
        if (fstat64(fd, &status) != 0)                                                             \
            die("cannot examine a file");                                                          \
        off64_t start = (offset), most = INT64_MAX - start;                                        \
        off64_t extent = (length) < (uint64_t)most ? (off64_t)(length) : most;                     \
        save(fd, &status, call, start, start + extent);                                            \
        result = action;                                                                           \
        int error = errno;                                                                         \
        pthread_mutex_unlock(&lock);                                                               \
        errno = error;                                                                             \
    } while (0)

static size_t total(const struct iovec *pieces, int count) {
    size_t sum = 0;
    for (int index = 0; index < count; index++)
        sum += pieces[index].iov_len;
    return sum;
}

ssize_t write(int fd, const void *bytes, size_t count) {
    ssize_t done;
    note_write(fd, bytes, count);
    CHANGE(done, fd, WRITE, position(fd, &status), count, REAL(write)(fd, bytes, count));
    return done;
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    ssize_t done;
    CHANGE(done, fd, WRITEV, position(fd, &status), total(pieces, count),
           REAL(writev)(fd, pieces, count));
    return done;
}

static ssize_t pwrite_as(enum call call, int fd, const void *bytes, size_t count, off64_t offset) {
    ssize_t done;
    note_write(fd, bytes, count);
    CHANGE(done, fd, call, offset, count, REAL(pwrite64)(fd, bytes, count, offset));
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t offset) {
    return pwrite_as(PWRITE, fd, bytes, count, offset);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t offset) {
    return pwrite_as(PWRITE64, fd, bytes, count, offset);
}

static ssize_t pwritev_as(enum call call, int fd, const struct iovec *pieces, int count,
                          off64_t offset) {
    ssize_t done;
    CHANGE(done, fd, call, offset, total(pieces, count),
           REAL(pwritev64)(fd, pieces, count, offset));
    return done;
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset) {
    return pwritev_as(PWRITEV, fd, pieces, count, offset);
}

ssize_t pwritev64(int fd, const struct iovec *pieces, int count, off64_t offset) {
    return pwritev_as(PWRITEV64, fd, pieces, count, offset);
}

ssize_t copy_file_range(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t count,
                        unsigned flags) {
    ssize_t done;
    CHANGE(done, to, COPY_FILE_RANGE, to_offset ? *to_offset : position(to, &status), count,
           REAL(copy_file_range)(from, from_offset, to, to_offset, count, flags));
    return done;
}

static ssize_t sendfile_as(enum call call, int to, int from, off64_t *offset, size_t count) {
    ssize_t done;
    CHANGE(done, to, call, position(to, &status), count, REAL(sendfile64)(to, from, offset, count));
    return done;
}

ssize_t sendfile(int to, int from, off_t *offset, size_t count) {
    return sendfile_as(SENDFILE, to, from, (off64_t *)offset, count);
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t count) {
    return sendfile_as(SENDFILE64, to, from, offset, count);
}

static int ftruncate_as(enum call call, int fd, off64_t length) {
    int result;
    CHANGE(result, fd, call, length, (uint64_t)status.st_size, REAL(ftruncate64)(fd, length));
    return result;
}

int ftruncate(int fd, off_t length) { return ftruncate_as(FTRUNCATE, fd, length); }

int ftruncate64(int fd, off64_t length) { return ftruncate_as(FTRUNCATE64, fd, length); }

/* Modes that only reserve space lose no byte; the others may move all that follows. */
static int fallocate_as(enum call call, int fd, int mode, off64_t offset, off64_t length) {
    int result;
    CHANGE(result, fd, call, offset, mode & ~FALLOC_FL_KEEP_SIZE ? (uint64_t)status.st_size : 0,
           REAL(fallocate64)(fd, mode, offset, length));
    return result;
}

int fallocate(int fd, int mode, off_t offset, off_t length) {
    return fallocate_as(FALLOCATE, fd, mode, offset, length);
}

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    return fallocate_as(FALLOCATE64, fd, mode, offset, length);
}

int posix_fallocate(int fd, off_t offset, off_t length) {
    int result;
    CHANGE(result, fd, POSIX_FALLOCATE, offset, 0, REAL(posix_fallocate64)(fd, offset, length));
    return result;
}

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    int result;
    CHANGE(result, fd, POSIX_FALLOCATE64, offset, 0, REAL(posix_fallocate64)(fd, offset, length));
    return result;
}

/* An entry: its absolute path and its directory. */
struct entry {
    char path[PATH_MAX + NAME_MAX + 2];
    struct stat64 parent;
};

/* Finds an entry; 0 if it is not watched or its directory does not exist. */
static int find(int at, const char *name, struct entry *entry) {
    if (!directory_length || !name)
        return 0;
    char path[2 * PATH_MAX], resolved[PATH_MAX];
    size_t used = 0;
    if (name[0] != '/') {
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", at);
        ssize_t length = readlink(at == AT_FDCWD ? "/proc/self/cwd" : link, path, PATH_MAX - 1);
        if (length < 0)
            return 0;
        used = (size_t)length;
        path[used++] = '/';
    }
    if (used + strlen(name) >= sizeof path)
        return 0;
    strcpy(path + used, name);
    size_t end = strlen(path);
    while (end > 1 && path[end - 1] == '/')
        path[--end] = 0;
    char *slash = strrchr(path, '/');
    if (!slash || strlen(slash + 1) > NAME_MAX)
        return 0;
    *slash = 0;
    if (!realpath(*path ? path : "/", resolved) || !is_below(resolved))
        return 0;
    snprintf(entry->path, sizeof entry->path, "%s/%s", resolved, slash + 1);
    return stat64(resolved, &entry->parent) == 0;
}

/* Records a change of entries in the directory of `entry`; the lock is held. */
static void record_entry(enum kind kind, enum call call, const struct entry *entry, uint64_t saved,
                         uint64_t b, const char *first, const char *second) {
    struct record record = {.kind = (uint8_t)kind, .call = (uint8_t)call,
                            .device = entry->parent.st_dev, .inode = entry->parent.st_ino,
                            .a = saved, .b = b, .first = (uint32_t)strlen(first),
                            .second = second ? (uint32_t)strlen(second) : 0};
    append(record, first, second);
}

/* Keeps a file that is about to lose a name; gives the number of its link, 0 if there is none. */
static uint64_t keep(const char *path) {
    struct stat64 status;
    if (lstat64(path, &status) != 0 || S_ISDIR(status.st_mode))
        return 0;
    uint64_t number = (uint64_t)getpid() << 32 | ++saved_count;
    char link[PATH_MAX + 40];
    snprintf(link, sizeof link, "%s/saved.%llu", undo, (unsigned long long)number);
    if (REAL(linkat)(AT_FDCWD, path, AT_FDCWD, link, 0) != 0)
        die("cannot keep a file beside the log");
    return number;
}

static int open_as(enum call call, int at, const char *name, int flags, mode_t mode) {
    begin();
    struct entry entry;
    if (!(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE ||
        !find(at, name, &entry))
        return REAL(openat64)(at, name, flags, mode);
    pthread_mutex_lock(&lock);
    struct stat64 status;
    if (stat64(entry.path, &status) != 0) {
        if (flags & O_CREAT)
            record_entry(CREATED, call, &entry, 0, 0, entry.path, NULL);
    } else if (flags & O_TRUNC && S_ISREG(status.st_mode) && !(flags & O_EXCL)) {
        int old = REAL(openat64)(AT_FDCWD, entry.path, O_RDONLY | O_CLOEXEC);
        if (old < 0)
            die("cannot open a file to save it");
        save(old, &status, call, 0, status.st_size);
        close(old);
    }
    int fd = REAL(openat64)(at, name, flags, mode);
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define OPEN_WITH_MODE(call, at, name, flags)                                                      \
    do {                                                                                           \
        mode_t mode = 0;                                                                           \
        if ((flags) & O_CREAT || ((flags) & O_TMPFILE) == O_TMPFILE) {                             \
            va_list rest;                                                                          \
            va_start(rest, flags);                                                                 \
            mode = va_arg(rest, mode_t);                                                           \
            va_end(rest);                                                                          \
        }                                                                                          \
        return open_as(call, at, name, flags, mode);                                               \
    } while (0)

int open(const char *name, int flags, ...) { OPEN_WITH_MODE(OPEN, AT_FDCWD, name, flags); }

int open64(const char *name, int flags, ...) { OPEN_WITH_MODE(OPEN64, AT_FDCWD, name, flags); }

int openat(int at, const char *name, int flags, ...) { OPEN_WITH_MODE(OPENAT, at, name, flags); }

int openat64(int at, const char *name, int flags, ...) { OPEN_WITH_MODE(OPENAT64, at, name, flags); }

int creat(const char *name, mode_t mode) {
    return open_as(CREAT, AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

int creat64(const char *name, mode_t mode) {
    return open_as(CREAT64, AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode);
}

/* Runs `action` under the lock, and before it `record` if the entry is watched. */
#define CHANGE_ENTRY(watched, record, action)                                                      \
    do {                                                                                           \
        if (!(watched))                                                                            \
            return action;                                                                         \
        pthread_mutex_lock(&lock);                                                                 \
        record;                                                                                    \
        int result = action;                                                                       \
        int error = errno;                                                                         \
        pthread_mutex_unlock(&lock);                                                               \
        errno = error;                                                                             \
        return result;                                                                             \
    } while (0)

static void record_rename(enum call call, const struct entry *from, const struct entry *to) {
    struct stat64 status;
    if (lstat64(from->path, &status) == 0)
        record_entry(RENAMED, call, to, keep(to->path), status.st_ino, from->path, to->path);
}

static int rename_as(enum call call, int from_at, const char *from, int to_at, const char *to,
                     unsigned flags) {
    begin();
    struct entry source, target;
    int leaves = find(from_at, from, &source);
    int arrives = find(to_at, to, &target);
    if (leaves != arrives || (leaves && flags & ~(unsigned)RENAME_NOREPLACE)) {
        errno = ENOTSUP;
        die("cannot record a rename into, out of, or exchanging");
    }
    if (!leaves)
        return REAL(renameat2)(from_at, from, to_at, to, flags);
    pthread_mutex_lock(&lock);
    int ends = is_point("rename", target.path, 0);
    if (ends && !point.after)
        end_here();
    record_rename(call, &source, &target);
    int result = REAL(renameat2)(from_at, from, to_at, to, flags);
    if (ends)
        end_here();
    int error = errno;
    pthread_mutex_unlock(&lock);
    errno = error;
    return result;
}

int rename(const char *from, const char *to) {
    return rename_as(RENAME, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int renameat(int from_at, const char *from, int to_at, const char *to) {
    return rename_as(RENAMEAT, from_at, from, to_at, to, 0);
}

int renameat2(int from_at, const char *from, int to_at, const char *to, unsigned flags) {
    return rename_as(RENAMEAT2, from_at, from, to_at, to, flags);
}

static void record_removal(enum call call, const struct entry *entry) {
    struct stat64 status;
    if (lstat64(entry->path, &status) == 0)
        record_entry(REMOVED, call, entry, keep(entry->path), S_ISDIR(status.st_mode) ? 1 : 0,
                     entry->path, NULL);
}

static int unlink_as(enum call call, int at, const char *name, int flags) {
    begin();
    struct entry entry;
    CHANGE_ENTRY(find(at, name, &entry), record_removal(call, &entry),
                 REAL(unlinkat)(at, name, flags));
}

int unlink(const char *name) { return unlink_as(UNLINK, AT_FDCWD, name, 0); }

int unlinkat(int at, const char *name, int flags) { return unlink_as(UNLINKAT, at, name, flags); }

int rmdir(const char *name) { return unlink_as(RMDIR, AT_FDCWD, name, AT_REMOVEDIR); }

static void record_creation(enum call call, const struct entry *entry) {
    struct stat64 status;
    if (lstat64(entry->path, &status) != 0)
        record_entry(CREATED, call, entry, 0, 0, entry->path, NULL);
}

static int link_as(enum call call, int from_at, const char *from, int to_at, const char *to,
                   int flags) {
    begin();
    struct entry entry;
    CHANGE_ENTRY(find(to_at, to, &entry), record_creation(call, &entry),
                 REAL(linkat)(from_at, from, to_at, to, flags));
}

int link(const char *from, const char *to) {
    return link_as(LINK, AT_FDCWD, from, AT_FDCWD, to, 0);
}

int linkat(int from_at, const char *from, int to_at, const char *to, int flags) {
    return link_as(LINKAT, from_at, from, to_at, to, flags);
}

static int mkdir_as(enum call call, int at, const char *name, mode_t mode) {
    begin();
    struct entry entry;
    CHANGE_ENTRY(find(at, name, &entry), record_creation(call, &entry),
                 REAL(mkdirat)(at, name, mode));
}

int mkdir(const char *name, mode_t mode) { return mkdir_as(MKDIR, AT_FDCWD, name, mode); }

int mkdirat(int at, const char *name, mode_t mode) { return mkdir_as(MKDIRAT, at, name, mode); }

static int sync_as(enum call call, int fd, int (*sync)(int)) {
    struct stat64 status, log;
    char path[PATH_MAX];
    if (!find_watched(fd, &status, path))
        return sync(fd);
    pthread_mutex_lock(&lock);
    int ends = is_point(call == FSYNC ? "fsync" : "fdatasync", path, status.st_ino);
    int after = point.after;
    if (ends && !after)
        end_here();
    if (fstat64(log_fd, &log) != 0)
        die("cannot examine the log");
    pthread_mutex_unlock(&lock);
    int result = sync(fd);
    int error = errno;
    if (result == 0) {
        uint8_t kind = S_ISDIR(status.st_mode) ? DIRECTORY_SYNCED : SYNCED;
        struct record record = {.kind = kind, .call = (uint8_t)call, .device = status.st_dev,
                                .inode = status.st_ino, .a = (uint64_t)log.st_size};
        pthread_mutex_lock(&lock);
        append(record, NULL, NULL);
        if (ends)
            end_here();
        pthread_mutex_unlock(&lock);
    }
    errno = error;
    return result;
}

int fsync(int fd) {
    begin();
    return sync_as(FSYNC, fd, REAL(fsync));
}

int fdatasync(int fd) {
    begin();
    return sync_as(FDATASYNC, fd, REAL(fdatasync));
}
