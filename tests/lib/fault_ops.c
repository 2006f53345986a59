#include "tests/lib/fault_ops.h"

#include <errno.h>
#include <string.h>

#include "proto/base/attributes.h"

static const char *const names[] = {
	[FAULT_NONE] = "none",
	[FAULT_OPEN] = "open",
	[FAULT_PREAD] = "pread",
	[FAULT_PWRITEV] = "pwritev",
	[FAULT_FDATASYNC] = "fdatasync",
	[FAULT_FSYNC] = "fsync",
	[FAULT_FALLOCATE] = "fallocate",
	[FAULT_RENAME] = "rename",
	[FAULT_UNLINK] = "unlink",
	[FAULT_MAP] = "map",
	[FAULT_STAT] = "stat",
	[FAULT_PREPARE] = "prepare",
	[FAULT_LIST] = "list",
	[FAULT_CLOSE] = "close",
	[FAULT_UNMAP] = "unmap",
	[FAULT_FREE_BYTES] = "free_bytes",
};

const char *fault_op_name(enum fault_op op)
{
	return names[op];
}

/* Counts a call; true when the rule says that it fails, with its error. */
static bool strikes(struct fault_ops *faults, enum fault_op op, int *error)
{
	pthread_mutex_lock(&faults->mutex);
	faults->calls[op]++;
	bool hit = false;
	if (faults->op == op) {
		if (faults->after > 0)
			faults->after--;
		else
			hit = true;
	}
	*error = faults->error;
	if (hit) {
		faults->failed++;
		if (!faults->is_sticky)
			faults->op = FAULT_NONE;
	}
	pthread_mutex_unlock(&faults->mutex);
	return hit;
}

#define SYSTEM file_ops_system

static int on_prepare(void *owner, int directory_fd)
{
	int error;
	return strikes(owner, FAULT_PREPARE, &error) ? error
						     : SYSTEM.prepare_directory(NULL, directory_fd);
}

static int on_list(void *owner, int directory_fd, file_name_fn name, void *name_owner)
{
	int error;
	return strikes(owner, FAULT_LIST, &error)
		       ? error
		       : SYSTEM.list(NULL, directory_fd, name, name_owner);
}

static int on_stat(void *owner, int fd, struct stat *out)
{
	int error;
	return strikes(owner, FAULT_STAT, &error) ? error : SYSTEM.stat(NULL, fd, out);
}

static int on_open(void *owner, int directory_fd, const char *name, int flags, mode_t mode)
{
	int error;
	return strikes(owner, FAULT_OPEN, &error)
		       ? error
		       : SYSTEM.open_at(NULL, directory_fd, name, flags, mode);
}

static int on_close(void *owner, int fd)
{
	int error, r = SYSTEM.close(NULL, fd);
	return strikes(owner, FAULT_CLOSE, &error) ? error : r;
}

static ssize_t on_pread(void *owner, int fd, void *out, size_t len, uint64_t offset)
{
	int error;
	if (!strikes(owner, FAULT_PREAD, &error))
		return SYSTEM.pread(NULL, fd, out, len, offset);
	return error != 0 ? error : SYSTEM.pread(NULL, fd, out, len / 2 + 1, offset);
}

static ssize_t write_half(int fd, const struct iovec *pieces, uint64_t offset)
{
	struct iovec half = {pieces[0].iov_base, pieces[0].iov_len / 2 + 1};
	return SYSTEM.pwritev(NULL, fd, &half, 1, offset);
}

static ssize_t on_pwritev(
	void *owner, int fd, const struct iovec *pieces, int count, uint64_t offset)
{
	struct fault_ops *faults = owner;
	int error;
	if (!strikes(owner, FAULT_PWRITEV, &error))
		return SYSTEM.pwritev(NULL, fd, pieces, count, offset);
	if (error == 0)
		return write_half(fd, pieces, offset);
	if (faults->does_write)
		(void)write_half(fd, pieces, offset);
	return error;
}

static void wait_while_held(struct fault_ops *faults)
{
	pthread_mutex_lock(&faults->mutex);
	while (faults->holds_syncs) {
		faults->sync_is_held = true;
		pthread_cond_broadcast(&faults->changed);
		pthread_cond_wait(&faults->changed, &faults->mutex);
	}
	faults->sync_is_held = false;
	pthread_mutex_unlock(&faults->mutex);
}

static int on_fdatasync(void *owner, int fd)
{
	int error;
	wait_while_held(owner);
	return strikes(owner, FAULT_FDATASYNC, &error) ? error : SYSTEM.fdatasync(NULL, fd);
}

static int on_fsync(void *owner, int fd)
{
	int error;
	return strikes(owner, FAULT_FSYNC, &error) ? error : SYSTEM.fsync(NULL, fd);
}

static int on_fallocate(void *owner, int fd, int mode, uint64_t offset, uint64_t len)
{
	int error;
	return strikes(owner, FAULT_FALLOCATE, &error)
		       ? error
		       : SYSTEM.fallocate(NULL, fd, mode, offset, len);
}

static int on_rename(void *owner, int directory_fd, const char *from, const char *to)
{
	int error;
	return strikes(owner, FAULT_RENAME, &error)
		       ? error
		       : SYSTEM.rename_at(NULL, directory_fd, from, to);
}

static int on_unlink(void *owner, int directory_fd, const char *name)
{
	int error;
	return strikes(owner, FAULT_UNLINK, &error) ? error
						    : SYSTEM.unlink_at(NULL, directory_fd, name);
}

static int on_map(void *owner, int fd, size_t len, const uint8_t **out)
{
	int error;
	return strikes(owner, FAULT_MAP, &error) ? error : SYSTEM.map(NULL, fd, len, out);
}

static int on_unmap(void *owner, const uint8_t *map, size_t len)
{
	int error, r = SYSTEM.unmap(NULL, map, len);
	return strikes(owner, FAULT_UNMAP, &error) ? error : r;
}

static int on_free_bytes(void *owner, int directory_fd, uint64_t *out)
{
	struct fault_ops *faults = owner;
	int error;
	if (strikes(owner, FAULT_FREE_BYTES, &error))
		return error;
	if (faults->free_bytes == UINT64_MAX)
		return SYSTEM.free_bytes(NULL, directory_fd, out);
	*out = faults->free_bytes;
	return 0;
}

void fault_ops_init(struct fault_ops *faults)
{
	*faults = (struct fault_ops){.free_bytes = UINT64_MAX};
	pthread_mutex_init(&faults->mutex, NULL);
	pthread_cond_init(&faults->changed, NULL);
	faults->ops = (struct file_ops){
		.prepare_directory = on_prepare,
		.list = on_list,
		.stat = on_stat,
		.open_at = on_open,
		.close = on_close,
		.pread = on_pread,
		.pwritev = on_pwritev,
		.fdatasync = on_fdatasync,
		.fsync = on_fsync,
		.fallocate = on_fallocate,
		.rename_at = on_rename,
		.unlink_at = on_unlink,
		.map = on_map,
		.unmap = on_unmap,
		.free_bytes = on_free_bytes,
		.owner = faults,
	};
}

void fault_ops_free(struct fault_ops *faults)
{
	pthread_cond_destroy(&faults->changed);
	pthread_mutex_destroy(&faults->mutex);
}

void fault_ops_set(
	struct fault_ops *faults, enum fault_op op, int error, unsigned int after, bool is_sticky)
{
	pthread_mutex_lock(&faults->mutex);
	faults->op = op;
	faults->error = error;
	faults->after = after;
	faults->is_sticky = is_sticky;
	faults->failed = 0;
	pthread_mutex_unlock(&faults->mutex);
}

void fault_ops_clear(struct fault_ops *faults)
{
	pthread_mutex_lock(&faults->mutex);
	faults->op = FAULT_NONE;
	pthread_mutex_unlock(&faults->mutex);
}

static void set_hold(struct fault_ops *faults, bool holds)
{
	pthread_mutex_lock(&faults->mutex);
	faults->holds_syncs = holds;
	pthread_cond_broadcast(&faults->changed);
	pthread_mutex_unlock(&faults->mutex);
}

void fault_ops_hold_syncs(struct fault_ops *faults)
{
	set_hold(faults, true);
}

void fault_ops_release_syncs(struct fault_ops *faults)
{
	set_hold(faults, false);
}

void fault_ops_await_held(struct fault_ops *faults)
{
	pthread_mutex_lock(&faults->mutex);
	while (!faults->sync_is_held)
		pthread_cond_wait(&faults->changed, &faults->mutex);
	pthread_mutex_unlock(&faults->mutex);
}

unsigned int fault_ops_calls(struct fault_ops *faults, enum fault_op op)
{
	pthread_mutex_lock(&faults->mutex);
	unsigned int calls = faults->calls[op];
	pthread_mutex_unlock(&faults->mutex);
	return calls;
}
