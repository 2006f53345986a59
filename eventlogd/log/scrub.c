#include "eventlogd/log/scrub.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/crc32c.h"

void scrub_begin(struct scrub *scrub, const struct segment *segment)
{
	*scrub = (struct scrub){
		.ops = segment->ops,
		.directory_fd = segment->directory_fd,
		.segment_id = segment->id,
		.file_bytes = segment->file_bytes,
		.inode = segment->inode,
		.offset = SEGMENT_HEADER_BYTES,
		.end = segment->data_end,
		.digest = crc32c(NULL, 0),
		.expected = segment->trailer.digest,
	};
	memcpy(scrub->name, segment->name, sizeof(scrub->name));
}

static int read_piece(struct scrub *scrub, int fd)
{
	struct stat st;
	int r = scrub->ops->stat(scrub->ops->owner, fd, &st);
	if (r != 0)
		return r;
	/* Compacted since: another file has its name. */
	if ((uint64_t)st.st_size != scrub->file_bytes ||
		(scrub->inode != 0 && scrub->inode != st.st_ino))
		return -ENOENT;
	uint64_t left = scrub->end - scrub->offset;
	size_t len = left < SCRUB_PIECE_BYTES ? (size_t)left : SCRUB_PIECE_BYTES;
	uint8_t *piece = malloc(len);
	if (piece == NULL)
		return -ENOMEM;
	r = file_read(scrub->ops, fd, piece, len, scrub->offset);
	if (r == 0) {
		scrub->digest = crc32c_extend(scrub->digest, piece, len);
		scrub->offset += len;
	}
	free(piece);
	return r;
}

int scrub_step(struct scrub *scrub)
{
	const struct file_ops *ops = scrub->ops;
	int r = 0;
	if (scrub->offset < scrub->end) {
		int fd = ops->open_at(ops->owner, scrub->directory_fd, scrub->name,
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
		if (fd < 0)
			return fd;
		r = read_piece(scrub, fd);
		ops->close(ops->owner, fd);
	}
	if (r != 0)
		return r;
	if (scrub->offset < scrub->end)
		return SCRUB_GOES_ON;
	return scrub->digest == scrub->expected ? SCRUB_MATCHES : SCRUB_DIFFERS;
}
