#include "eventlogd/log/seal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/footer.h"
#include "proto/base/bytes.h"
#include "proto/base/crc32c.h"

/* The log waits for the hole, some milliseconds on ext4: less than this part is not worth it. */
#define HOLE_SHARE_OF_SEGMENT 64u

int seal_prepare(struct seal *seal, const struct segment *segment, struct worker_table *table,
	uint32_t flags, const uint8_t log_id[LOG_ID_BYTES])
{
	*seal = (struct seal){.file_bytes = segment->file_bytes, .has_digest = segment->has_digest};
	seal->trailer = (struct segment_trailer){
		.base = segment->base,
		.first_seq = segment->count == 0 ? 0 : segment->trailer.first_seq,
		.last_seq = segment->last_seq,
		.first_time_ns = segment->trailer.first_time_ns,
		.last_time_ns = segment->last_time_ns,
		.count = segment->count,
		.data_end = segment->data_end,
		.digest = segment->digest,
		.flags = flags,
		.salt = segment->salt,
		.features = segment->features,
		.epoch = segment->epoch,
	};
	memcpy(seal->trailer.log_id, log_id, LOG_ID_BYTES);
	buf_init(&seal->bytes, 0);
	return footer_encode(
		segment->index, table, segment->file_bytes, &seal->trailer, &seal->bytes);
}

void seal_free(struct seal *seal)
{
	buf_free(&seal->bytes);
}

/* Of what the file gives back, where it was not kept while the records were written. */
static int digest_data(struct seal *seal, const struct file_ops *ops, int fd)
{
	enum { CHUNK_BYTES = 256 * 1024 };
	uint8_t *chunk = malloc(CHUNK_BYTES);
	if (chunk == NULL)
		return -ENOMEM;
	uint32_t digest = crc32c(NULL, 0);
	int r = 0;
	for (uint64_t at = SEGMENT_HEADER_BYTES; r == 0 && at < seal->trailer.data_end;) {
		uint64_t left = seal->trailer.data_end - at;
		size_t len = left < CHUNK_BYTES ? (size_t)left : CHUNK_BYTES;
		r = file_read(ops, fd, chunk, len, at);
		if (r == 0)
			digest = crc32c_extend(digest, chunk, len);
		at += len;
	}
	free(chunk);
	seal->trailer.digest = digest;
	return r;
}

static void give_back_unused(const struct seal *seal, const struct file_ops *ops, int fd)
{
	uint64_t from = align_up(seal->trailer.data_end, 4096);
	uint64_t to = (seal->file_bytes - seal->bytes.len) & ~UINT64_C(4095);
	/* A file system that can't do it keeps the blocks; nothing else depends on it. */
	if (to > from && to - from >= seal->file_bytes / HOLE_SHARE_OF_SEGMENT)
		(void)ops->fallocate(ops->owner, fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			from, to - from);
}

/* A full disk keeps a footer from being written; it is no failure of what stands there already. */
static int write_part(
	const struct file_ops *ops, int fd, const uint8_t *bytes, size_t len, uint64_t offset)
{
	int r = file_write(ops, fd, bytes, len, offset, NULL);
	if (r == -ENOSPC || r == -EDQUOT)
		return SEAL_NO_ROOM;
	return r == 0 ? ops->fdatasync(ops->owner, fd) : r;
}

int seal_write(struct seal *seal, const struct file_ops *ops, int fd)
{
	int r = seal->has_digest ? 0 : digest_data(seal, ops, fd);
	if (r != 0)
		return r == -ENOMEM ? SEAL_NO_ROOM : r;
	size_t body_bytes = seal->bytes.len - SEGMENT_TRAILER_BYTES;
	uint8_t *trailer = seal->bytes.data + body_bytes;
	segment_trailer_encode(&seal->trailer, trailer);

	/* The trailer makes the body valid, so the body has to be on the disk before it. */
	r = write_part(ops, fd, seal->bytes.data, body_bytes, seal->file_bytes - seal->bytes.len);
	if (r == 0)
		r = write_part(ops, fd, trailer, SEGMENT_TRAILER_BYTES,
			seal->file_bytes - SEGMENT_TRAILER_BYTES);
	if (r != 0)
		return r;
	give_back_unused(seal, ops, fd);
	struct stat st;
	seal->allocated_bytes = ops->stat(ops->owner, fd, &st) == 0 ? (uint64_t)st.st_blocks * 512
								    : seal->file_bytes;
	return SEAL_WRITTEN;
}
