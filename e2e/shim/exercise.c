/* Runs the calls that its arguments name, in a directory, and dies as by `kill -9`.
 *
 *     exercise DIRECTORY CALL:FILE[:ARGUMENT[:ARGUMENT]]...
 *
 * Calls are named as in the C library. Files are relative to the directory. Exits with 1, and says
 * so, at the first call that fails.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static int is(const char *call, const char *name) { return strcmp(call, name) == 0; }

/* Calls that take an open file; -2 if the name is none of them. */
static long with_file(const char *call, const char *name, const char *first, const char *second) {
    int flags = is(call, "fsync") ? O_RDONLY : O_RDWR;
    int fd = open(name, flags);
    if (fd < 0)
        return -1;
    size_t length = second ? strlen(second) : 0;
    struct iovec piece = {(void *)second, length};
    long offset = first ? atol(first) : 0, to = second ? atol(second) : 0, result = -2;
    if (is(call, "write"))
        result = lseek(fd, offset, SEEK_SET) < 0 ? -1 : write(fd, second, length);
    else if (is(call, "writev"))
        result = lseek(fd, offset, SEEK_SET) < 0 ? -1 : writev(fd, &piece, 1);
    else if (is(call, "pwrite"))
        result = pwrite(fd, second, length, offset);
    else if (is(call, "pwrite64"))
        result = pwrite64(fd, second, length, offset);
    else if (is(call, "pwritev"))
        result = pwritev(fd, &piece, 1, offset);
    else if (is(call, "pwritev64"))
        result = pwritev64(fd, &piece, 1, offset);
    else if (is(call, "append")) {
        result = fcntl(fd, F_SETFL, O_APPEND) < 0 ? -1 : write(fd, first, strlen(first));
    } else if (is(call, "dup")) {
        int other = dup(fd);
        close(fd);
        fd = other;
        result = pwrite64(fd, second, length, offset);
    } else if (is(call, "copy_file_range") || is(call, "sendfile") || is(call, "sendfile64")) {
        int from = open(first, O_RDONLY);
        if (is(call, "copy_file_range"))
            result = copy_file_range(from, NULL, fd, NULL, 1000, 0);
        else if (is(call, "sendfile"))
            result = sendfile(fd, from, NULL, 1000);
        else
            result = sendfile64(fd, from, NULL, 1000);
    } else if (is(call, "ftruncate"))
        result = ftruncate(fd, offset);
    else if (is(call, "ftruncate64"))
        result = ftruncate64(fd, offset);
    else if (is(call, "fallocate"))
        result = fallocate(fd, 0, offset, to);
    else if (is(call, "fallocate64"))
        result = fallocate64(fd, 0, offset, to);
    else if (is(call, "punch"))
        result = fallocate64(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, to);
    else if (is(call, "posix_fallocate"))
        result = posix_fallocate(fd, offset, to) ? -1 : 0;
    else if (is(call, "posix_fallocate64"))
        result = posix_fallocate64(fd, offset, to) ? -1 : 0;
    else if (is(call, "fsync"))
        result = fsync(fd);
    else if (is(call, "fdatasync"))
        result = fdatasync(fd);
    close(fd);
    return result;
}

static long with_name(const char *call, const char *name, const char *first) {
    if (is(call, "open"))
        return open(name, O_RDWR | O_CREAT, 0600);
    if (is(call, "open64"))
        return open64(name, O_RDWR | O_CREAT, 0600);
    if (is(call, "openat"))
        return openat(AT_FDCWD, name, O_RDWR | O_CREAT, 0600);
    if (is(call, "openat64"))
        return openat64(AT_FDCWD, name, O_RDWR | O_CREAT, 0600);
    if (is(call, "truncating"))
        return open64(name, O_WRONLY | O_TRUNC);
    if (is(call, "creat"))
        return creat(name, 0600);
    if (is(call, "creat64"))
        return creat64(name, 0600);
    if (is(call, "rename"))
        return rename(name, first);
    if (is(call, "renameat"))
        return renameat(AT_FDCWD, name, AT_FDCWD, first);
    if (is(call, "renameat2"))
        return renameat2(AT_FDCWD, name, AT_FDCWD, first, 0);
    if (is(call, "unlink"))
        return unlink(name);
    if (is(call, "unlinkat"))
        return unlinkat(AT_FDCWD, name, 0);
    if (is(call, "link"))
        return link(name, first);
    if (is(call, "linkat"))
        return linkat(AT_FDCWD, name, AT_FDCWD, first, 0);
    if (is(call, "mkdir"))
        return mkdir(name, 0700);
    if (is(call, "mkdirat"))
        return mkdirat(AT_FDCWD, name, 0700);
    if (is(call, "rmdir"))
        return rmdir(name);
    return -2;
}

int main(int count, char **arguments) {
    if (count < 2 || chdir(arguments[1]) != 0)
        return 2;
    for (int index = 2; index < count; index++) {
        char *text = strdup(arguments[index]);
        char *call = strtok(text, ":"), *name = strtok(NULL, ":");
        char *first = strtok(NULL, ":"), *second = strtok(NULL, ":");
        long result = name ? with_name(call, name, first) : -1;
        if (result == -2)
            result = with_file(call, name, first, second);
        if (result < 0) {
            fprintf(stderr, "%s: %s\n", arguments[index], strerror(errno));
            return 1;
        }
    }
    return raise(SIGKILL);
}
