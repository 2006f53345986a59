#include "tests/lib/disk_model.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/attributes.h"
#include "proto/base/bytes.h"
#include "tests/lib/disk_model_private.h"

enum {
	FIRST_FD = 1 << 20, /* ours; the kernel's are below */
	SECTOR_BYTES = 512,
	FREE_BYTES = 1 << 30,
	GROWN_MAX = 1 << 18, /* of a file that grows as it is written */
};

/* Names. */

static struct disk_entry *names_find(struct disk_names *names, const char *name)
{
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->entries[i].name, name) == 0)
			return &names->entries[i];
	return NULL;
}

static void names_put(struct disk_names *names, const char *name, size_t inode)
{
	struct disk_entry *entry = names_find(names, name);
	if (entry == NULL) {
		assert(names->count < NAMES_MAX && strlen(name) < NAME_BYTES);
		entry = &names->entries[names->count++];
		snprintf(entry->name, sizeof(entry->name), "%s", name);
	}
	entry->inode = inode;
}

static bool names_take(struct disk_names *names, const char *name, size_t inode)
{
	struct disk_entry *entry = names_find(names, name);
	if (entry == NULL || entry->inode != inode)
		return false;
	*entry = names->entries[--names->count];
	return true;
}

void disk_names_apply(struct disk_names *names, const struct disk_call *call)
{
	if (call->kind == CALL_LINK) {
		names_put(names, call->name, call->inode);
	} else if (call->kind == CALL_UNLINK) {
		names_take(names, call->name, call->inode);
	} else if (call->kind == CALL_RENAME) {
		names_take(names, call->name, call->inode);
		names_put(names, call->to, call->inode);
	}
}

/* Recording. All with the mutex held. */

static struct disk_call *record(struct disk_model *disk, enum disk_call_kind kind, size_t inode)
{
	if (disk->call_count == disk->calls_allocated) {
		disk->calls_allocated = disk->calls_allocated * 2 + 256;
		disk->calls = must(
			realloc(disk->calls, disk->calls_allocated * sizeof(*disk->calls)));
	}
	struct disk_call *call = &disk->calls[disk->call_count++];
	*call = (struct disk_call){.kind = kind, .inode = inode};
	return call;
}

size_t disk_model_add_inode(struct disk_model *disk)
{
	size_t count = disk->inode_count + 1;
	disk->inodes = must(realloc(disk->inodes, count * sizeof(*disk->inodes)));
	disk->inodes[disk->inode_count] = (struct disk_inode){0};
	return disk->inode_count++;
}

static struct disk_inode *inode_of(struct disk_model *disk, int fd, size_t *number)
{
	size_t slot = (size_t)(fd - FIRST_FD);
	if (fd < FIRST_FD || slot >= FDS_MAX || disk->fds[slot] == 0)
		return NULL;
	*number = disk->fds[slot] - 1;
	return &disk->inodes[*number];
}

static void keep_first(struct disk_inode *inode)
{
	if (inode->first != NULL || inode->first_bytes == 0)
		return;
	inode->first = must(malloc(inode->first_bytes));
	memcpy(inode->first, inode->now, inode->first_bytes);
}

/* Enters a changing call; false: the disk is dead. Left with leave(). */
static bool enter(struct disk_model *disk)
{
	pthread_mutex_lock(&disk->mutex);
	if (disk->gate_is_closed && !pthread_equal(pthread_self(), disk->owner)) {
		disk->is_waiting = true;
		pthread_cond_broadcast(&disk->changed);
		while (disk->gate_is_closed && disk->passes == 0)
			pthread_cond_wait(&disk->changed, &disk->mutex);
		disk->is_waiting = false;
		if (disk->passes > 0)
			disk->passes--;
		pthread_cond_broadcast(&disk->changed);
	}
	return !disk->is_dead;
}

static int leave(struct disk_model *disk, int r)
{
	pthread_mutex_unlock(&disk->mutex);
	return r;
}

/* The operations. */

static int on_prepare(_unused_ void *owner, _unused_ int directory_fd)
{
	return 0;
}

static int on_list(void *owner, _unused_ int directory_fd, file_name_fn name, void *name_owner)
{
	struct disk_model *disk = owner;
	pthread_mutex_lock(&disk->mutex);
	struct disk_names names = disk->now;
	pthread_mutex_unlock(&disk->mutex);
	int r = 0;
	for (size_t i = 0; r == 0 && i < names.count; i++)
		r = name(name_owner, names.entries[i].name);
	return r;
}

static int on_stat(void *owner, int fd, struct stat *out)
{
	struct disk_model *disk = owner;
	size_t number;
	pthread_mutex_lock(&disk->mutex);
	const struct disk_inode *inode = inode_of(disk, fd, &number);
	*out = (struct stat){.st_mode = S_IFREG | 0640};
	out->st_size = inode == NULL ? 0 : (off_t)inode->bytes;
	out->st_blocks = out->st_size / 512;
	return leave(disk, inode == NULL ? -EBADF : 0);
}

static int new_fd(struct disk_model *disk, size_t inode)
{
	for (size_t i = 0; i < FDS_MAX; i++) {
		if (disk->fds[i] == 0) {
			disk->fds[i] = inode + 1;
			return FIRST_FD + (int)i;
		}
	}
	return -EMFILE;
}

static int on_open(
	void *owner, _unused_ int directory_fd, const char *name, int flags, _unused_ mode_t mode)
{
	struct disk_model *disk = owner;
	if ((flags & O_DIRECTORY) != 0)
		return memfd_create("directory", MFD_CLOEXEC); /* something to lock */
	bool creates = (flags & O_CREAT) != 0;
	if (creates ? !enter(disk) : (pthread_mutex_lock(&disk->mutex), disk->is_dead))
		return leave(disk, -EIO);
	const struct disk_entry *entry = names_find(&disk->now, name);
	if (entry == NULL && !creates)
		return leave(disk, -ENOENT);
	if (entry != NULL && creates)
		return leave(disk, -EEXIST);
	size_t inode = entry != NULL ? entry->inode : disk_model_add_inode(disk);
	if (creates) {
		struct disk_call *call = record(disk, CALL_LINK, inode);
		snprintf(call->name, sizeof(call->name), "%s", name);
		disk_names_apply(&disk->now, call);
	}
	return leave(disk, new_fd(disk, inode));
}

static int on_close(void *owner, int fd)
{
	struct disk_model *disk = owner;
	if (fd < FIRST_FD)
		return close(fd) < 0 ? -errno : 0;
	pthread_mutex_lock(&disk->mutex);
	disk->fds[fd - FIRST_FD] = 0;
	return leave(disk, 0);
}

static ssize_t on_pread(void *owner, int fd, void *out, size_t len, uint64_t offset)
{
	struct disk_model *disk = owner;
	size_t number;
	pthread_mutex_lock(&disk->mutex);
	const struct disk_inode *inode = inode_of(disk, fd, &number);
	size_t n = 0;
	if (inode != NULL && offset < inode->bytes) {
		n = inode->bytes - offset < len ? inode->bytes - (size_t)offset : len;
		memcpy(out, inode->now + offset, n);
	}
	return leave(disk, inode == NULL ? -EBADF : (int)n);
}

static ssize_t on_pwritev(
	void *owner, int fd, const struct iovec *pieces, int count, uint64_t offset)
{
	struct disk_model *disk = owner;
	size_t number = 0, len = 0;
	if (!enter(disk))
		return leave(disk, -EIO);
	struct disk_inode *inode = inode_of(disk, fd, &number);
	for (int i = 0; i < count; i++)
		len += pieces[i].iov_len;
	if (inode == NULL)
		return leave(disk, -EBADF);
	if (inode->now == NULL) {
		inode->now = must(calloc(1, GROWN_MAX));
		inode->capacity = GROWN_MAX;
	}
	if (offset + len > inode->bytes && offset + len > inode->capacity)
		return leave(disk, -EFBIG); /* a mapped file never moves */
	keep_first(inode);
	if (offset + len > inode->bytes)
		inode->bytes = (size_t)offset + len;
	struct disk_call *call = record(disk, CALL_WRITE, number);
	call->offset = (size_t)offset;
	call->len = len;
	call->bytes = must(malloc(len + 1));
	size_t at = 0;
	for (int i = 0; i < count; i++) {
		memcpy(call->bytes + at, pieces[i].iov_base, pieces[i].iov_len);
		at += pieces[i].iov_len;
	}
	memcpy(inode->now + offset, call->bytes, len);
	return leave(disk, (int)len);
}

static int on_sync(void *owner, int fd)
{
	struct disk_model *disk = owner;
	pthread_mutex_lock(&disk->mutex);
	size_t number = 0, covers = disk->call_count;
	bool is_directory = inode_of(disk, fd, &number) == NULL;
	pthread_mutex_unlock(&disk->mutex);
	if (!enter(disk))
		return leave(disk, -EIO);
	struct disk_call *call = record(disk, CALL_SYNC, number);
	call->covers = covers;
	call->is_directory = is_directory;
	return leave(disk, 0);
}

static int on_fallocate(void *owner, int fd, int mode, uint64_t offset, uint64_t len)
{
	struct disk_model *disk = owner;
	size_t number;
	if (!enter(disk))
		return leave(disk, -EIO);
	struct disk_inode *inode = inode_of(disk, fd, &number);
	if (inode == NULL)
		return leave(disk, -EBADF);
	struct disk_call *call = record(disk, mode == 0 ? CALL_GROW : CALL_ZERO, number);
	call->offset = (size_t)offset;
	call->len = (size_t)len;
	if (mode != 0) {
		assert(offset + len <= inode->bytes);
		keep_first(inode);
		memset(inode->now + offset, 0, len);
	} else {
		assert(inode->bytes == 0 && offset == 0); /* a mapped file never moves */
		inode->now = must(calloc(1, len));
		inode->bytes = (size_t)len;
	}
	return leave(disk, 0);
}

static int on_rename(void *owner, _unused_ int directory_fd, const char *from, const char *to)
{
	struct disk_model *disk = owner;
	if (!enter(disk))
		return leave(disk, -EIO);
	const struct disk_entry *entry = names_find(&disk->now, from);
	if (entry == NULL)
		return leave(disk, -ENOENT);
	struct disk_call *call = record(disk, CALL_RENAME, entry->inode);
	snprintf(call->name, sizeof(call->name), "%s", from);
	snprintf(call->to, sizeof(call->to), "%s", to);
	disk_names_apply(&disk->now, call);
	return leave(disk, 0);
}

static int on_unlink(void *owner, _unused_ int directory_fd, const char *name)
{
	struct disk_model *disk = owner;
	if (!enter(disk))
		return leave(disk, -EIO);
	const struct disk_entry *entry = names_find(&disk->now, name);
	if (entry == NULL)
		return leave(disk, -ENOENT);
	struct disk_call *call = record(disk, CALL_UNLINK, entry->inode);
	snprintf(call->name, sizeof(call->name), "%s", name);
	disk_names_apply(&disk->now, call);
	return leave(disk, 0);
}

static int on_map(void *owner, int fd, size_t len, const uint8_t **out)
{
	struct disk_model *disk = owner;
	size_t number;
	pthread_mutex_lock(&disk->mutex);
	const struct disk_inode *inode = inode_of(disk, fd, &number);
	if (inode == NULL || inode->bytes < len)
		return leave(disk, -EINVAL);
	*out = inode->now;
	return leave(disk, 0);
}

static int on_unmap(_unused_ void *owner, _unused_ const uint8_t *map, _unused_ size_t len)
{
	return 0; /* files live as long as the disk */
}

static int on_free_bytes(_unused_ void *owner, _unused_ int directory_fd, uint64_t *out)
{
	*out = FREE_BYTES;
	return 0;
}

struct disk_model *disk_model_new(void)
{
	struct disk_model *disk = must(calloc(1, sizeof(*disk)));
	pthread_mutex_init(&disk->mutex, NULL);
	pthread_cond_init(&disk->changed, NULL);
	disk->owner = pthread_self();
	disk->ops = (struct file_ops){
		.prepare_directory = on_prepare,
		.list = on_list,
		.stat = on_stat,
		.open_at = on_open,
		.close = on_close,
		.pread = on_pread,
		.pwritev = on_pwritev,
		.fdatasync = on_sync,
		.fsync = on_sync,
		.fallocate = on_fallocate,
		.rename_at = on_rename,
		.unlink_at = on_unlink,
		.map = on_map,
		.unmap = on_unmap,
		.free_bytes = on_free_bytes,
		.owner = disk,
	};
	return disk;
}

void disk_model_free(struct disk_model *disk)
{
	if (disk == NULL)
		return;
	for (size_t i = 0; i < disk->inode_count; i++) {
		free(disk->inodes[i].now);
		free(disk->inodes[i].first);
	}
	for (size_t i = 0; i < disk->call_count; i++)
		free(disk->calls[i].bytes);
	free(disk->inodes);
	free(disk->calls);
	pthread_cond_destroy(&disk->changed);
	pthread_mutex_destroy(&disk->mutex);
	free(disk);
}

const struct file_ops *disk_model_ops(const struct disk_model *disk)
{
	return &disk->ops;
}

size_t disk_model_calls(struct disk_model *disk)
{
	pthread_mutex_lock(&disk->mutex);
	size_t count = disk->call_count;
	pthread_mutex_unlock(&disk->mutex);
	return count;
}

void disk_model_kill(struct disk_model *disk)
{
	pthread_mutex_lock(&disk->mutex);
	disk->is_dead = true;
	disk->gate_is_closed = false;
	pthread_cond_broadcast(&disk->changed);
	pthread_mutex_unlock(&disk->mutex);
}

void disk_model_revive(struct disk_model *disk)
{
	pthread_mutex_lock(&disk->mutex);
	disk->is_dead = false;
	pthread_mutex_unlock(&disk->mutex);
}

static void set_gate(struct disk_model *disk, bool is_closed)
{
	pthread_mutex_lock(&disk->mutex);
	disk->gate_is_closed = is_closed;
	disk->passes = 0;
	pthread_cond_broadcast(&disk->changed);
	pthread_mutex_unlock(&disk->mutex);
}

void disk_model_close_gate(struct disk_model *disk)
{
	set_gate(disk, true);
}

void disk_model_open_gate(struct disk_model *disk)
{
	set_gate(disk, false);
}

void disk_model_pass(struct disk_model *disk)
{
	pthread_mutex_lock(&disk->mutex);
	disk->passes++;
	pthread_cond_broadcast(&disk->changed);
	/* Taken at once when a call stands there; else there is nothing to let through. */
	while (disk->is_waiting && disk->passes > 0)
		pthread_cond_wait(&disk->changed, &disk->mutex);
	disk->passes = 0;
	pthread_mutex_unlock(&disk->mutex);
}

void disk_model_poke(struct disk_model *disk)
{
	pthread_mutex_lock(&disk->mutex);
	pthread_cond_broadcast(&disk->changed);
	pthread_mutex_unlock(&disk->mutex);
}

bool disk_model_await(struct disk_model *disk, bool (*is_idle)(void *owner), void *owner)
{
	pthread_mutex_lock(&disk->mutex);
	while (!(disk->is_waiting && disk->gate_is_closed) && !is_idle(owner))
		pthread_cond_wait(&disk->changed, &disk->mutex);
	bool is_waiting = disk->is_waiting;
	pthread_mutex_unlock(&disk->mutex);
	return is_waiting;
}

uint8_t *disk_model_file(struct disk_model *disk, size_t number, const char **name, size_t *bytes)
{
	if (number >= disk->now.count)
		return NULL;
	const struct disk_entry *entry = &disk->now.entries[number];
	*name = entry->name;
	*bytes = disk->inodes[entry->inode].bytes;
	return disk->inodes[entry->inode].now;
}

void disk_model_put(struct disk_model *disk, const char *name, const uint8_t *bytes, size_t len)
{
	size_t number = disk_model_add_inode(disk);
	struct disk_inode *inode = &disk->inodes[number];
	inode->now = must(malloc(align_up(len + 1, SECTOR_BYTES)));
	memcpy(inode->now, bytes, len);
	inode->bytes = inode->first_bytes = len;
	names_put(&disk->now, name, number);
	disk->first = disk->now;
}

void disk_model_remove(struct disk_model *disk, const char *name)
{
	const struct disk_entry *entry = names_find(&disk->now, name);
	if (entry != NULL)
		names_take(&disk->now, name, entry->inode);
	disk->first = disk->now;
}

struct disk_model *disk_model_copy(struct disk_model *disk)
{
	struct disk_model *copy = disk_model_new();
	const char *name;
	const uint8_t *bytes;
	size_t len;
	for (size_t i = 0; (bytes = disk_model_file(disk, i, &name, &len)) != NULL; i++)
		disk_model_put(copy, name, bytes, len);
	return copy;
}
