#include "eventlogd/log/compaction.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/footer.h"
#include "eventlogd/log/map_guard.h"
#include "eventlogd/log/scan.h"
#include "eventlogd/log/seal.h"
#include "proto/base/bytes.h"

/* Gathered before it is written. */
enum { CHUNK_BYTES = 1024 * 1024, FILE_ALIGNMENT = 4096 };

struct compaction {
	struct segment *source;
	struct compaction_keep *keeps;
	uint64_t dropped_through;
	struct segment_header header;
	struct segment *made; /* NULL until the first step, and after it was taken */
	struct worker_table rows;
	struct scan scan;
	uint64_t expected; /* the next sequence of a source without damage */
	bool saw_damage;   /* since the last record */
	int fd;            /* -1: not open */
	struct buf chunk;
	uint64_t written; /* offset in the file of the chunk's first byte */
};

int compaction_new(struct compaction **out, const struct log_view *view, struct segment *source)
{
	struct compaction *compaction = calloc(1, sizeof(*compaction));
	if (compaction == NULL)
		return -ENOMEM;
	struct segment_header *header = &compaction->header;
	*header = (struct segment_header){
		.base = source->base,
		.created_ns = source->trailer.first_time_ns,
		.previous_base = source->previous_base,
		.durable_seq = source->durable_seq,
		.features = source->features | SEGMENT_COMPACTED,
		.epoch = source->epoch,
		.epoch_count = view->epoch_count,
	};
	while (header->salt == 0 || header->salt == source->salt)
		header->salt = randombytes_random();
	memcpy(header->log_id, view->log_id, LOG_ID_BYTES);
	memcpy(header->epochs, view->epochs, view->epoch_count * sizeof(view->epochs[0]));
	compaction->source = source;
	compaction->fd = -1;
	compaction->written = SEGMENT_HEADER_BYTES;
	worker_table_init(&compaction->rows, UINT32_MAX);
	buf_init(&compaction->chunk, 0);
	struct segment_index *index;
	int r = segment_index_new(&index);
	/* Until the end its size is not known. */
	if (r == 0)
		r = segment_new_take(
			&compaction->made, source->ops, source->directory_fd, header, index);
	struct damage_range damage;
	/* In a whole segment the records tell; in a compacted one a hole may be what was pruned. */
	for (uint64_t from = 0; r == 0 && segment_is_compacted(source) &&
				segment_damage_next(source, from, &damage) == 0;
		from = damage.last + 1)
		r = segment_index_add_damage(compaction->made->index, damage.first, damage.last);
	if (r != 0) {
		compaction_free(compaction);
		return r;
	}
	*out = compaction;
	return 0;
}

void compaction_free(struct compaction *compaction)
{
	if (compaction == NULL)
		return;
	struct compaction_keep *keep, *next;
	map_for_each (compaction->keeps, keep, next) {
		HASH_DEL(compaction->keeps, keep);
		free(keep);
	}
	if (compaction->fd >= 0)
		compaction->source->ops->close(compaction->source->ops->owner, compaction->fd);
	segment_free(compaction->made);
	worker_table_free(&compaction->rows);
	buf_free(&compaction->chunk);
	free(compaction);
}

struct compaction_keep *compaction_find(
	const struct compaction *compaction, const char *worker, size_t len)
{
	struct compaction_keep *keep = NULL;
	if (compaction != NULL)
		HASH_FIND(hh, compaction->keeps, worker, len, keep);
	return keep;
}

int compaction_add(struct compaction *compaction, const struct compaction_keep *keep)
{
	if (compaction_find(compaction, keep->worker.text, keep->worker_len) != NULL)
		return 0;
	struct compaction_keep *copy = malloc(sizeof(*copy));
	if (copy == NULL)
		return -ENOMEM;
	*copy = *keep;
	HASH_ADD_KEYPTR(hh, compaction->keeps, copy->worker.text, copy->worker_len, copy);
	if (!map_has_handle(copy)) {
		free(copy);
		return -ENOMEM;
	}
	return 0;
}

struct segment *compaction_source(const struct compaction *compaction)
{
	return compaction->source;
}

struct compaction_keep *compaction_keeps(const struct compaction *compaction)
{
	return compaction->keeps;
}

uint64_t compaction_dropped_through(const struct compaction *compaction)
{
	return compaction->dropped_through;
}

bool compaction_is_empty(const struct compaction *compaction)
{
	return compaction->made->count == 0;
}

struct segment *compaction_take_segment(struct compaction *compaction)
{
	struct segment *made = compaction->made;
	compaction->made = NULL;
	return made;
}

/* One item of the source. Nothing is allocated while the guard may jump away. */
struct take {
	struct compaction *compaction;
	size_t wanted; /* room that the chunk needs for the record; 0: nothing to take */
	struct compaction_keep *keep;
	uint64_t sequence, time_ns, bytes;
	bool is_keyframe;
	struct damage_range damage; /* before it, in the source; last 0: none */
};

enum take_result { TAKE_TAKEN, TAKE_PASSED, TAKE_NEEDS_ROOM, TAKE_END };

/* Readers have to be told of it behind the compaction too. */
static void note_damage(struct take *take, uint64_t last)
{
	struct compaction *compaction = take->compaction;
	bool is_damage = compaction->saw_damage || !segment_is_compacted(compaction->source);
	if (is_damage && compaction->expected <= last)
		take->damage = (struct damage_range){compaction->expected, last};
	/* So that a record that has to wait for room does not tell it twice. */
	compaction->expected = last + 1;
	compaction->saw_damage = false;
}

static int take_next(void *argument)
{
	struct take *take = argument;
	struct compaction *compaction = take->compaction;
	struct scan before = compaction->scan;
	struct scan_item item;
	enum scan_result r = scan_next(&compaction->scan, &item);
	if (r == SCAN_NOTHING) {
		compaction->saw_damage |= item.bytes != 0;
		note_damage(take, compaction->source->last_seq);
		return TAKE_END;
	}
	compaction->saw_damage |= r == SCAN_DAMAGED;
	if (r == SCAN_DAMAGED || record_is_internal(&item.record))
		return TAKE_PASSED;
	note_damage(take, item.record.sequence - 1);
	struct compaction_keep *keep = compaction_find(
		compaction, item.record.worker, item.record.worker_len);
	uint64_t sequence = item.record.sequence;
	compaction->expected = sequence + 1;
	if (keep == NULL || sequence < keep->keep_from || sequence <= keep->pruned) {
		compaction->dropped_through = sequence;
		if (keep != NULL && sequence > keep->pruned) {
			keep->lost_count++;
			keep->lost_bytes += item.bytes;
			keep->lost_through = sequence;
		}
		return TAKE_PASSED;
	}
	struct buf *chunk = &compaction->chunk;
	if (take->wanted < item.bytes) {
		compaction->scan = before;
		compaction->expected = sequence;
		take->wanted = item.bytes;
		return TAKE_NEEDS_ROOM;
	}
	memcpy(chunk->data + chunk->len, compaction->source->map + item.offset, item.bytes);
	take->keep = keep;
	take->sequence = sequence;
	take->time_ns = item.record.time_ns;
	take->bytes = item.bytes;
	take->is_keyframe = record_is_keyframe(&item.record);
	return TAKE_TAKEN;
}

static int write_chunk(struct compaction *compaction)
{
	struct buf *chunk = &compaction->chunk;
	int r = file_write(compaction->source->ops, compaction->fd, chunk->data, chunk->len,
		compaction->written, NULL);
	if (r == 0)
		compaction->written += chunk->len;
	buf_reset(chunk, CHUNK_BYTES * 2);
	return r;
}

/* The record behind the chunk's end gets its new place. */
static int place_taken(struct compaction *compaction, const struct take *take)
{
	struct segment *made = compaction->made;
	struct buf *chunk = &compaction->chunk;
	struct compaction_keep *keep = take->keep;
	uint8_t *bytes = chunk->data + chunk->len;
	uint64_t offset = compaction->written + chunk->len;
	uint32_t lag = get_le32(bytes + RECORD_DURABLE_LAG_AT);
	struct index_list *list;
	int r = segment_index_list(made->index, keep->worker.text, keep->worker_len, &list);
	if (r == 0)
		r = segment_index_reserve(made->index, list, 1);
	if (r != 0)
		return r;
	record_place(bytes, made->salt, (uint32_t)offset,
		take->sequence > lag ? take->sequence - lag : 0);
	segment_index_add(made->index, list, (uint32_t)offset,
		(uint32_t)(take->sequence - made->base), (uint32_t)take->bytes, take->is_keyframe);
	chunk->len += take->bytes;
	keep->kept_count++;
	keep->kept_bytes += take->bytes;
	keep->kept_last = take->sequence;
	if (made->count++ == 0) {
		made->trailer.first_seq = take->sequence;
		made->trailer.first_time_ns = take->time_ns;
	}
	made->last_seq = take->sequence;
	made->last_time_ns = take->time_ns;
	return 0;
}

static int begin(struct compaction *compaction)
{
	const struct segment *source = compaction->source;
	const struct file_ops *ops = source->ops;
	int r = ops->unlink_at(ops->owner, source->directory_fd, SEGMENT_COMPACT_NAME);
	if (r != 0 && r != -ENOENT)
		return r;
	int fd = ops->open_at(ops->owner, source->directory_fd, SEGMENT_COMPACT_NAME,
		O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW, 0640);
	if (fd < 0)
		return fd;
	compaction->fd = fd;
	compaction->scan = segment_scan(source, false);
	compaction->expected = source->base;
	return 0;
}

/* The footer lists the workers that have something here; the log's table is in other footers. */
static int add_rows(struct compaction *compaction)
{
	struct compaction_keep *keep, *next;
	map_for_each (compaction->keeps, keep, next) {
		struct worker *row;
		int r = keep->kept_count == 0
				? 0
				: worker_table_get(&compaction->rows, keep->worker.text,
					  keep->worker_len, keep->owner_uid, true, &row);
		if (r != 0)
			return r;
	}
	return 0;
}

static int seal_made(struct compaction *compaction)
{
	const struct file_ops *ops = compaction->source->ops;
	struct segment *made = compaction->made;
	uint8_t page[SEGMENT_HEADER_BYTES];
	segment_header_encode(&compaction->header, page);
	int r = file_write(ops, compaction->fd, page, sizeof(page), 0, NULL);
	if (r == 0)
		r = ops->fdatasync(ops->owner, compaction->fd);
	struct seal seal = {0};
	if (r == 0)
		r = seal_prepare(&seal, made, &compaction->rows, 0, compaction->header.log_id);
	if (r == 0) {
		r = seal_write(&seal, ops, compaction->fd);
		if (r == SEAL_NO_ROOM)
			r = -ENOSPC;
	}
	if (r == 0)
		r = ops->fsync(ops->owner, compaction->fd);
	if (r == 0)
		segment_seal(made, &seal.trailer, seal.allocated_bytes);
	seal_free(&seal);
	return r;
}

static int finish(struct compaction *compaction)
{
	struct segment *made = compaction->made;
	int r = write_chunk(compaction);
	if (r == 0)
		r = add_rows(compaction);
	if (r != 0 || made->count == 0)
		return r;
	made->data_end = compaction->written;
	made->file_bytes = align_up(
		made->data_end + footer_bytes(made->index, &compaction->rows, 0, 0),
		FILE_ALIGNMENT);
	compaction->header.file_bytes = made->file_bytes;
	return made->file_bytes > UINT32_MAX ? -EFBIG : seal_made(compaction);
}

static int copy_some(struct compaction *compaction)
{
	const struct segment *source = compaction->source;
	struct take take = {.compaction = compaction};
	uint64_t until = compaction->scan.offset + COMPACTION_STEP_BYTES;
	while (compaction->scan.offset < until) {
		take.wanted = compaction->chunk.allocated - compaction->chunk.len;
		take.damage = (struct damage_range){0};
		int r = map_guard_run(source->map, source->file_bytes, take_next, &take);
		if (take.damage.last != 0 && segment_index_add_damage(compaction->made->index,
						     take.damage.first, take.damage.last) != 0)
			return -ENOMEM;
		if (r == TAKE_END)
			return COMPACTION_DONE;
		if (r == TAKE_NEEDS_ROOM) {
			r = write_chunk(compaction);
			if (r == 0)
				r = buf_reserve(&compaction->chunk,
					take.wanted > CHUNK_BYTES ? take.wanted : CHUNK_BYTES);
		} else if (r == TAKE_TAKEN) {
			r = place_taken(compaction, &take);
		} else if (r == TAKE_PASSED) {
			r = 0;
		}
		if (r != 0)
			return r;
	}
	return COMPACTION_GOES_ON;
}

int compaction_step(struct compaction *compaction)
{
	const struct segment *source = compaction->source;
	const struct file_ops *ops = source->ops;
	int r = compaction->fd < 0 ? begin(compaction) : 0;
	if (r == 0)
		r = copy_some(compaction);
	if (r == COMPACTION_DONE)
		r = finish(compaction);
	if (r == COMPACTION_GOES_ON)
		return r;
	if (compaction->fd >= 0)
		ops->close(ops->owner, compaction->fd);
	compaction->fd = -1;
	if (r < 0)
		(void)ops->unlink_at(ops->owner, source->directory_fd, SEGMENT_COMPACT_NAME);
	return r;
}
