/*
 * kill_point.so: preloaded into eventlogd, ends it as kill -9 does at one of its system calls.
 *
 *	SIGHTLINE_KILL_POINT   what the call is for: see the names below
 *	SIGHTLINE_KILL_MOMENT  before | half | after (half: of what is written)
 *	SIGHTLINE_KILL_COUNT   at which call of that name, from 1
 *
 * The production code knows nothing of it: what a call is for is told by its file, its place in the
 * file and what came before. tests/crash/run lists the names with their moments.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>

enum { FDS_MAX = 4096, HEADER_BYTES = 4096, TRAILER_BYTES = 256 };

enum file_kind {
	FILE_OTHER,
	FILE_DIRECTORY,
	FILE_ACTIVE,
	FILE_RECOVERED,
	FILE_COMPACTED,
	FILE_READ
};

/* What was done last through a descriptor, for naming the sync that follows. */
static struct {
	enum file_kind kind;
	const char *wrote;
} files[FDS_MAX];
static const char *directory_change = "sync-name";

static const char *wanted_point, *wanted_moment;
static long wanted_count;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

__attribute__((constructor)) static void read_environment(void)
{
	const char *count = getenv("SIGHTLINE_KILL_COUNT");
	wanted_point = getenv("SIGHTLINE_KILL_POINT");
	wanted_moment = getenv("SIGHTLINE_KILL_MOMENT");
	wanted_count = count == NULL ? 0 : atol(count);
	if (wanted_moment == NULL || wanted_count <= 0)
		wanted_point = NULL;
}

static bool is_it(const char *point)
{
	return wanted_point != NULL && point != NULL && strcmp(point, wanted_point) == 0;
}

/* Counts the call; true when this is the one, so that after() is to be called. */
static bool before(const char *point)
{
	if (!is_it(point))
		return false;
	pthread_mutex_lock(&mutex);
	bool is_now = --wanted_count == 0;
	pthread_mutex_unlock(&mutex);
	if (is_now && strcmp(wanted_moment, "before") == 0)
		raise(SIGKILL);
	return is_now;
}

static void after(bool is_now)
{
	if (is_now)
		raise(SIGKILL);
}

/* The function that is stood in for; its type is the caller's. */
#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);
	if (function == NULL)
		abort();
	return function;
}

static bool is_known(int fd)
{
	return fd >= 0 && fd < FDS_MAX;
}

static enum file_kind kind_of(int fd)
{
	return is_known(fd) ? files[fd].kind : FILE_OTHER;
}

static bool ends_with(const char *text, const char *end)
{
	size_t len = strlen(text), end_len = strlen(end);
	return len >= end_len && strcmp(text + len - end_len, end) == 0;
}

int openat(int directory_fd, const char *name, int flags, ...)
{
	va_list arguments;
	va_start(arguments, flags);
	mode_t mode = (flags & O_CREAT) != 0 ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	enum file_kind kind = FILE_OTHER;
	const char *point = NULL;
	if ((flags & O_DIRECTORY) != 0) {
		kind = FILE_DIRECTORY;
		point = "open-directory";
	} else if (ends_with(name, "compact.tmp")) {
		kind = FILE_COMPACTED;
		point = "create-compact";
	} else if (ends_with(name, ".tmp")) {
		kind = FILE_ACTIVE;
		point = "create-spare";
	} else if (ends_with(name, ".seg")) {
		bool writes = (flags & O_ACCMODE) == O_RDWR;
		kind = writes ? FILE_RECOVERED : FILE_READ;
		point = writes ? "open-recovered" : "open-segment";
	}
	bool is_now = before(point);
	int fd = REAL(openat)(directory_fd, name, flags, mode);
	after(is_now);
	if (is_known(fd)) {
		files[fd].kind = kind;
		files[fd].wrote = "spare";
	}
	return fd;
}

/* It grows as it is written: records, header page, footer, trailer. */
static const char *name_of_compacted(int fd, uint64_t offset, size_t len)
{
	if (offset == 0)
		return "compact-header";
	if (len == TRAILER_BYTES)
		return "compact-trailer";
	bool has_header = strcmp(files[fd].wrote, "compact-header") == 0;
	return has_header ? "compact-footer" : "compact-records";
}

static const char *name_of_write(int fd, uint64_t offset, size_t len)
{
	if (kind_of(fd) == FILE_COMPACTED)
		return name_of_compacted(fd, offset, len);
	struct stat st;
	enum file_kind kind = kind_of(fd);
	if ((kind != FILE_ACTIVE && kind != FILE_RECOVERED) || fstat(fd, &st) < 0)
		return NULL;
	uint64_t size = (uint64_t)st.st_size, end = offset + len;
	bool is_active = kind == FILE_ACTIVE;
	if (end == size)
		return is_active ? "trailer" : "recovered-trailer";
	if (end == size - TRAILER_BYTES)
		return is_active ? "footer" : "recovered-footer";
	if (is_active && offset == 0 && len == HEADER_BYTES)
		return "header";
	return is_active ? "records" : "rewrite";
}

ssize_t pwritev(int fd, const struct iovec *pieces, int count, off_t offset)
{
	size_t len = 0;
	for (int i = 0; i < count; i++)
		len += pieces[i].iov_len;
	const char *point = name_of_write(fd, (uint64_t)offset, len);
	bool is_now = before(point);
	if (is_now && strcmp(wanted_moment, "half") == 0 && count > 0) {
		struct iovec half = {pieces[0].iov_base, pieces[0].iov_len / 2};
		(void)REAL(pwritev)(fd, &half, 1, offset);
		raise(SIGKILL);
	}
	ssize_t n = REAL(pwritev)(fd, pieces, count, offset);
	after(is_now);
	if (point != NULL)
		files[fd].wrote = point;
	return n;
}

static const char *name_of_sync(int fd)
{
	static const char *const names[][2] = {
		{"spare", "sync-spare"},
		{"header", "sync-header"},
		{"records", "sync-records"},
		{"footer", "sync-footer"},
		{"trailer", "sync-trailer"},
		{"rewrite", "sync-rewrite"},
		{"recovered-footer", "sync-recovered-footer"},
		{"recovered-trailer", "sync-recovered-trailer"},
		{"compact-header", "sync-compact-header"},
		{"compact-footer", "sync-compact-footer"},
		{"compact-trailer", "sync-compact-trailer"},
	};
	if (kind_of(fd) == FILE_DIRECTORY)
		return directory_change;
	if (kind_of(fd) == FILE_RECOVERED && strcmp(files[fd].wrote, "spare") == 0)
		return "sync-rewrite"; /* nothing had to be written again */
	for (size_t i = 0; is_known(fd) && i < sizeof(names) / sizeof(names[0]); i++)
		if (files[fd].wrote != NULL && strcmp(files[fd].wrote, names[i][0]) == 0)
			return names[i][1];
	return NULL;
}

int fdatasync(int fd)
{
	bool is_now = before(name_of_sync(fd));
	int r = REAL(fdatasync)(fd);
	after(is_now);
	return r;
}

int fsync(int fd)
{
	bool is_now = before(name_of_sync(fd));
	int r = REAL(fsync)(fd);
	after(is_now);
	return r;
}

int fallocate(int fd, int mode, off_t offset, off_t len)
{
	bool is_recovered = kind_of(fd) == FILE_RECOVERED;
	bool is_now = before(mode == 0 ? "allocate" : is_recovered ? "recovered-punch" : "punch");
	int r = REAL(fallocate)(fd, mode, offset, len);
	after(is_now);
	return r;
}

int renameat(int from_fd, const char *from, int to_fd, const char *to)
{
	bool is_compacted = ends_with(from, "compact.tmp");
	bool is_now = before(is_compacted ? "rename-compact" : "rename");
	int r = REAL(renameat)(from_fd, from, to_fd, to);
	after(is_now);
	directory_change = is_compacted ? "sync-replacement" : "sync-name";
	return r;
}

int unlinkat(int directory_fd, const char *name, int flags)
{
	bool is_segment = ends_with(name, ".seg");
	bool is_compacted = ends_with(name, "compact.tmp");
	bool is_now = before(is_segment     ? "unlink-segment"
			     : is_compacted ? "unlink-compact"
					    : "unlink-spare");
	int r = REAL(unlinkat)(directory_fd, name, flags);
	after(is_now);
	if (is_segment)
		directory_change = "sync-removal";
	return r;
}

void *mmap(void *address, size_t len, int protection, int flags, int fd, off_t offset)
{
	bool is_now = before(kind_of(fd) == FILE_READ ? "map" : NULL);
	void *map = REAL(mmap)(address, len, protection, flags, fd, offset);
	after(is_now);
	return map;
}

ssize_t pread(int fd, void *out, size_t len, off_t offset)
{
	bool is_now = before(kind_of(fd) != FILE_OTHER ? "read" : NULL);
	ssize_t n = REAL(pread)(fd, out, len, offset);
	after(is_now);
	return n;
}

struct dirent *readdir(DIR *directory)
{
	bool is_now = before("list");
	struct dirent *entry = REAL(readdir)(directory);
	after(is_now);
	return entry;
}

int flock(int fd, int operation)
{
	bool is_now = before("lock");
	int r = REAL(flock)(fd, operation);
	after(is_now);
	return r;
}

int listen(int fd, int backlog)
{
	bool is_now = before("listen");
	int r = REAL(listen)(fd, backlog);
	after(is_now);
	return r;
}

int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict len, int flags)
{
	bool is_now = before("accept");
	int accepted = REAL(accept4)(fd, address, len, flags);
	after(is_now);
	return accepted;
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags)
{
	bool is_now = before("receive");
	ssize_t n = REAL(recvmsg)(fd, message, flags);
	after(is_now);
	return n;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
	bool is_now = before("send");
	ssize_t n = REAL(sendmsg)(fd, message, flags);
	after(is_now);
	return n;
}
