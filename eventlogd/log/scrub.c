#include "eventlogd/log/scrub.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/event_log_inside.h"
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

/* The sealed segment that was not looked at for longest; NULL: all were, within the period. */
static struct segment *choose_segment(const struct log_view *view, uint64_t monotonic_ns)
{
	struct segment *chosen = NULL;
	for (size_t i = 0; i < view->segment_count; i++) {
		struct segment *segment = view->segments[i];
		bool is_due = segment->scrubbed_ns == 0 ||
			      monotonic_ns - segment->scrubbed_ns >= SCRUB_PERIOD_NS;
		if (segment->is_sealed && is_due &&
			(chosen == NULL || segment->scrubbed_ns < chosen->scrubbed_ns))
			chosen = segment;
	}
	return chosen;
}

void log_scrub_tick(struct event_log *log, uint64_t monotonic_ns)
{
	if (log->scrub_asked)
		return;
	if (log->scrub.segment_id == 0) {
		struct segment *segment = choose_segment(&log->view, monotonic_ns);
		if (segment == NULL)
			return;
		segment->scrubbed_ns = monotonic_ns;
		scrub_begin(&log->scrub, segment);
	}
	log->scrub_asked = true;
	syncer_request_scrub(&log->syncer, &log->scrub);
}

void log_scrub_done(struct event_log *log, int result)
{
	struct scrub *scrub = &log->scrub;
	log->scrub_asked = false;
	if (result == SCRUB_GOES_ON)
		return;
	struct finding finding = {.kind = FINDING_DIGEST_WRONG,
		.file = scrub->name,
		.offset = SEGMENT_HEADER_BYTES,
		.bytes = scrub->end - SEGMENT_HEADER_BYTES};
	if (result == SCRUB_MATCHES || result == SCRUB_DIFFERS) {
		log->counters.scrubbed_segments++;
		log->counters.scrubbed_bytes += finding.bytes;
	}
	if (result == SCRUB_DIFFERS) {
		log->counters.scrub_mismatches++;
	} else if (result < 0 && result != -ENOENT && result != -ENOMEM) {
		log->counters.scrub_errors++;
		finding.kind = FINDING_READ_ERROR;
		finding.error = result;
	}
	if (result != SCRUB_MATCHES && result != -ENOENT && result != -ENOMEM)
		finding_report(&log->config.findings, &finding);
	scrub->segment_id = 0;
}
