/*
 * Spare: the next log segment in the making, under its temporary name.
 *
 * It is allocated and synced whole, so that a full disk shows before the space is needed. In
 * `durable` mode it is then overwritten with zeros: a sync of bytes that were written before has no
 * extents to convert, and nothing of the file system's own to write. Nothing depends on the zeros,
 * so they come piece by piece, no faster than small syncs fill the active segment: publishers wait
 * for little of it, and a segment that large batches fill gets none, where they would not pay.
 *
 * spare_begin(), then spare_step() while spare_step_is_due(), until spare_is_finished(). A step
 * that fails has removed the file and closed it: a spare holds nothing yet, a new one can be tried.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/log/file_ops.h"
#include "proto/base/attributes.h"

struct spare_config {
	const struct file_ops *ops;
	int directory_fd;
	uint64_t segment_bytes;
	bool has_zeros;
};

struct spare {
	int fd;         /* -1: not there yet */
	bool is_urgent; /* the log can't go on without it: few zeros will do */
	uint64_t begun_ns;
	uint64_t zeroed_bytes, synced_bytes;
	uint64_t earned_bytes; /* so many may be zeroed by now */
};

void spare_begin(struct spare *spare, uint64_t now_ns);
/* That many bytes were synced into the active segment at once. */
void spare_earn(struct spare *spare, uint64_t synced_bytes);
bool spare_is_finished(
	const struct spare *spare, const struct spare_config *config, uint64_t now_ns);
/* Of a spare that is not finished. */
bool spare_step_is_due(const struct spare *spare, const struct spare_config *config);
/* Makes the file, or writes the next zeros, or syncs them. 0 or -errno. */
_must_check_ int spare_step(
	struct spare *spare, const struct spare_config *config, uint64_t now_ns);
