/*
 * A disk in memory, as file operations for eventlogd/log, that knows what a power loss may leave.
 *
 * Every call that changes something is recorded. disk_model_crash() builds, from the calls up to
 * any one of them, a disk as it may be found afterwards: what fsync and fdatasync covered is there;
 * of the rest each 512-byte sector has any version that it ever had, whole pages or single sectors,
 * in order or not, or is torn where nothing durable stood; names that the directory's fsync did not
 * cover are there or not. A sync covers what was written before it was called, nothing later.
 *
 * The log calls from two threads. With the gate closed, the second one stops before each changing
 * call until disk_model_pass() lets it through, so that schedules can be chosen by a seed.
 *
 * Files get their size once, by fallocate, or grow to 256 KiB as they are written. Nothing ever
 * fails, but every call answers -EIO once the disk is dead.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/file_ops.h"

struct disk_model;

struct disk_model *disk_model_new(void);
void disk_model_free(struct disk_model *disk); /* close the log before */
const struct file_ops *disk_model_ops(const struct disk_model *disk);

/* Changing calls so far. */
size_t disk_model_calls(struct disk_model *disk);
/* From now on every call answers -EIO and changes nothing. */
void disk_model_kill(struct disk_model *disk);
/* As after kill -9 of who used it: what was not synced is there, and may still be lost later. */
void disk_model_revive(struct disk_model *disk);

/* What is found when the power went after the first `calls` calls: one of the many possibilities,
 * chosen by `*random` (tests/lib/random.h). */
struct disk_model *disk_model_crash(struct disk_model *disk, size_t calls, uint64_t *random);

/* Which calls of threads other than this one wait. The gate is open at first. */
void disk_model_close_gate(struct disk_model *disk);
void disk_model_open_gate(struct disk_model *disk);
void disk_model_pass(struct disk_model *disk); /* lets one call through; none need wait yet */
/* Waits until a call stands at the gate (true) or is_idle() says that none will come (false).
 * disk_model_poke() makes it ask again. */
bool disk_model_await(struct disk_model *disk, bool (*is_idle)(void *owner), void *owner);
void disk_model_poke(struct disk_model *disk);

/* Files by number, in no order; NULL behind the last. The bytes are the file's own. */
uint8_t *disk_model_file(struct disk_model *disk, size_t number, const char **name, size_t *bytes);
/* Tools for tests of corruption; all of it durable at once. */
void disk_model_put(struct disk_model *disk, const char *name, const uint8_t *bytes, size_t len);
void disk_model_remove(struct disk_model *disk, const char *name);
struct disk_model *disk_model_copy(struct disk_model *disk);
