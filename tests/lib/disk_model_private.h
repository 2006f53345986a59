/*
 * The inside of a disk model, shared by the files that make it up: disk_model.c (the file
 * operations, and their record), disk_crash.c (what a power loss leaves).
 */
#pragma once

#include <pthread.h>
#include <stdlib.h>

#include "tests/lib/disk_model.h"

enum {
	NAME_BYTES = 64,
	NAMES_MAX = 256,
	FDS_MAX = 512,
};

struct disk_inode {
	uint8_t *now;
	uint8_t *first; /* as it was when the disk was made; NULL: as it is now */
	size_t bytes, first_bytes, capacity;
};

struct disk_entry {
	char name[NAME_BYTES];
	size_t inode;
};

struct disk_names {
	struct disk_entry entries[NAMES_MAX];
	size_t count;
};

enum disk_call_kind {
	CALL_WRITE,
	CALL_ZERO,
	CALL_GROW,
	CALL_SYNC,
	CALL_LINK,
	CALL_UNLINK,
	CALL_RENAME
};

struct disk_call {
	enum disk_call_kind kind;
	bool is_directory; /* CALL_SYNC: of the directory */
	size_t inode;
	size_t offset, len;
	size_t covers; /* CALL_SYNC: calls before this one */
	uint8_t *bytes;
	char name[NAME_BYTES], to[NAME_BYTES];
};

struct disk_model {
	struct file_ops ops;
	pthread_mutex_t mutex;
	pthread_cond_t changed;
	pthread_t owner;
	bool is_dead, gate_is_closed, is_waiting;
	unsigned int passes;
	struct disk_inode *inodes;
	size_t inode_count;
	struct disk_names now, first;
	struct disk_call *calls;
	size_t call_count, calls_allocated;
	size_t fds[FDS_MAX]; /* inode + 1; 0: free */
};

/* Aborts without memory. */
static inline void *must(void *memory)
{
	if (memory == NULL)
		abort();
	return memory;
}

/* With the mutex held. */
size_t disk_model_add_inode(struct disk_model *disk);

void disk_names_apply(struct disk_names *names, const struct disk_call *call);
