#include "eventlogd/log/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/footer.h"
#include "eventlogd/log/map_guard.h"
#include "eventlogd/log/scan.h"

static uint64_t next_segment_id(void)
{
	static uint64_t last;
	return __atomic_add_fetch(&last, 1, __ATOMIC_RELAXED);
}

static struct segment *segment_alloc(const struct file_ops *ops, int directory_fd)
{
	struct segment *segment = calloc(1, sizeof(*segment));
	if (segment == NULL)
		return NULL;
	segment->ops = ops;
	segment->directory_fd = directory_fd;
	segment->id = next_segment_id();
	return segment;
}

void segment_free(struct segment *segment)
{
	if (segment == NULL)
		return;
	segment_unmap(segment);
	segment_index_free(segment->index);
	free(segment);
}

static void take_header(struct segment *segment, const struct segment_header *header)
{
	memcpy(segment->log_id, header->log_id, LOG_ID_BYTES);
	segment->has_log_id = true;
	segment->base = header->base;
	segment->previous_base = header->previous_base;
	segment->durable_seq = header->durable_seq;
	segment->features = header->features;
	segment->salt = header->salt;
	segment->epoch = header->epoch;
	segment->data_end = SEGMENT_HEADER_BYTES;
	segment->last_seq = header->base - 1;
}

static void take_trailer(struct segment *segment, const struct segment_trailer *trailer)
{
	segment->trailer = *trailer;
	segment->is_sealed = true;
	segment->data_end = trailer->data_end;
	segment->last_seq = trailer->last_seq;
	segment->count = trailer->count;
	segment->last_time_ns = trailer->last_time_ns;
	segment->sections_checked = segment->sections_bad = 0;
}

/* Judges header page and trailer against each other and the file's name. */
static int judge_pages(struct segment *segment, const uint8_t *header_page,
	const uint8_t *trailer_page, struct segment_header *header)
{
	uint64_t base;
	uint16_t epoch;
	segment_name_parse(segment->name, &base, &epoch);
	enum segment_format_result r = segment_header_decode(header_page, header);
	if (r == SEGMENT_FORMAT_NEWER)
		return SEGMENT_NEWER;
	/* Whole, and of another place: a copy by a name that is not its own. */
	if (r == SEGMENT_FORMAT_OK && (header->base != base || header->epoch != epoch))
		return SEGMENT_FOREIGN;
	segment->header_is_damaged = r != SEGMENT_FORMAT_OK;
	if (!segment->header_is_damaged) {
		take_header(segment, header);
	} else {
		segment->base = base;
		segment->epoch = epoch;
		segment->data_end = SEGMENT_HEADER_BYTES;
		segment->last_seq = base - 1;
	}

	struct segment_trailer trailer;
	r = segment_trailer_decode(trailer_page, segment->file_bytes, &trailer);
	if (r == SEGMENT_FORMAT_NEWER)
		return SEGMENT_NEWER;
	if (r != SEGMENT_FORMAT_OK || trailer.base != base || trailer.epoch != epoch)
		return SEGMENT_OPENED;
	if (segment->header_is_damaged) {
		segment->salt = trailer.salt;
		segment->features = trailer.features;
		memcpy(segment->log_id, trailer.log_id, LOG_ID_BYTES);
		segment->has_log_id = true;
	} else if (trailer.salt != segment->salt ||
		   memcmp(trailer.log_id, segment->log_id, LOG_ID_BYTES) != 0) {
		return SEGMENT_OPENED;
	}
	take_trailer(segment, &trailer);
	return SEGMENT_OPENED;
}

static int read_pages(struct segment *segment, int fd, struct segment_header *header)
{
	struct stat st;
	int r = segment->ops->stat(segment->ops->owner, fd, &st);
	if (r != 0)
		return r;
	if (!S_ISREG(st.st_mode) || st.st_size < SEGMENT_HEADER_BYTES + SEGMENT_TRAILER_BYTES ||
		(uint64_t)st.st_size > SEGMENT_BYTES_MAX)
		return SEGMENT_FOREIGN;
	segment->file_bytes = (uint64_t)st.st_size;
	segment->allocated_bytes = (uint64_t)st.st_blocks * 512;
	segment->inode = st.st_ino;

	uint8_t header_page[SEGMENT_HEADER_BYTES], trailer_page[SEGMENT_TRAILER_BYTES];
	r = file_read(segment->ops, fd, header_page, sizeof(header_page), 0);
	if (r == 0)
		r = file_read(segment->ops, fd, trailer_page, sizeof(trailer_page),
			segment->file_bytes - SEGMENT_TRAILER_BYTES);
	if (r == -EIO) {
		segment->is_unreadable = true;
		memset(header_page, 0, sizeof(header_page));
		memset(trailer_page, 0, sizeof(trailer_page));
		r = 0;
	}
	return r != 0 ? r : judge_pages(segment, header_page, trailer_page, header);
}

int segment_open(struct segment **out, const struct file_ops *ops, int directory_fd,
	const char *name, struct segment_header *header)
{
	/* O_NONBLOCK: opening a FIFO by that name must not wait for its other end. */
	int fd = ops->open_at(
		ops->owner, directory_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
	if (fd == -ELOOP || fd == -ENXIO || fd == -EISDIR)
		return SEGMENT_FOREIGN;
	if (fd < 0)
		return fd;
	struct segment *segment = segment_alloc(ops, directory_fd);
	int r = -ENOMEM;
	if (segment != NULL) {
		memcpy(segment->name, name, strlen(name) + 1);
		r = read_pages(segment, fd, header);
	}
	ops->close(ops->owner, fd);
	if (r == SEGMENT_OPENED)
		*out = segment;
	else
		segment_free(segment);
	return r;
}

int segment_new_take(struct segment **out, const struct file_ops *ops, int directory_fd,
	const struct segment_header *header, struct segment_index *index)
{
	struct segment *segment = segment_alloc(ops, directory_fd);
	if (segment == NULL) {
		segment_index_free(index);
		return -ENOMEM;
	}
	segment_name_format(header->base, header->epoch, segment->name);
	take_header(segment, header);
	segment->file_bytes = segment->allocated_bytes = header->file_bytes;
	segment->index = index;
	*out = segment;
	return 0;
}

int segment_map(struct segment *segment)
{
	if (segment->map != NULL)
		return 0;
	if (segment->is_unreadable)
		return -EIO;
	const struct file_ops *ops = segment->ops;
	int fd = ops->open_at(ops->owner, segment->directory_fd, segment->name,
		O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, 0);
	if (fd < 0)
		return fd;
	struct stat st;
	int r = ops->stat(ops->owner, fd, &st);
	/* Compacted since, by a daemon that writes here: what was opened is gone. */
	if (r == 0 && segment->inode != 0 && st.st_ino != segment->inode)
		r = -ENOENT;
	if (r == 0 && (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != segment->file_bytes))
		r = -EIO;
	if (r == 0)
		r = ops->map(ops->owner, fd, segment->file_bytes, &segment->map);
	ops->close(ops->owner, fd);
	return r;
}

static int infer_salt(void *argument)
{
	struct segment *segment = argument;
	return scan_infer_salt(segment->map, segment->file_bytes - SEGMENT_TRAILER_BYTES,
		       segment->epoch, &segment->salt)
		       ? 0
		       : 1;
}

int segment_infer_salt(struct segment *segment)
{
	return map_guard_run(segment->map, segment->file_bytes, infer_salt, segment);
}

void segment_unmap(struct segment *segment)
{
	if (segment->map == NULL)
		return;
	segment->ops->unmap(segment->ops->owner, segment->map, segment->file_bytes);
	segment->map = NULL;
}

void segment_seal(
	struct segment *segment, const struct segment_trailer *trailer, uint64_t allocated_bytes)
{
	take_trailer(segment, trailer);
	segment->allocated_bytes = allocated_bytes;
	segment_index_free(segment->index);
	segment->index = NULL;
}

/* One question to an index, answered under the guard. */
struct lookup {
	struct segment *segment;
	uint64_t sequence;
	const char *worker;
	size_t worker_len;
	struct index_entry entry;
	struct index_entry *entries;
	size_t max, count;
	struct damage_range damage;
};

static int check_section(struct segment *segment, enum segment_section_kind kind)
{
	uint32_t bit = 1u << kind;
	if ((segment->sections_checked & bit) == 0) {
		bool valid = footer_section_is_valid(segment->map, &segment->trailer, kind);
		segment->sections_checked |= bit;
		if (!valid)
			segment->sections_bad |= bit;
	}
	return (segment->sections_bad & bit) != 0 ? -EBADMSG : 0;
}

static uint32_t delta_of(const struct segment *segment, uint64_t sequence)
{
	uint64_t delta = sequence > segment->base ? sequence - segment->base : 0;
	return delta < UINT32_MAX ? (uint32_t)delta : UINT32_MAX;
}

static int look_for_sparse(void *argument)
{
	struct lookup *lookup = argument;
	struct segment *segment = lookup->segment;
	int r = check_section(segment, SECTION_SPARSE);
	if (r != 0)
		return r;
	uint32_t delta = delta_of(segment, lookup->sequence);
	return footer_sparse(segment->map, &segment->trailer, delta, &lookup->entry) ? 0 : 1;
}

int segment_seek(struct segment *segment, uint64_t sequence, uint64_t *offset)
{
	struct lookup lookup = {.segment = segment, .sequence = sequence};
	int r = 1;
	if (segment->index != NULL) {
		const struct index_entry *entry = segment_index_sparse(
			segment->index, delta_of(segment, sequence));
		if (entry != NULL) {
			lookup.entry = *entry;
			r = 0;
		}
	} else if (segment->is_sealed) {
		r = map_guard_run(segment->map, segment->file_bytes, look_for_sparse, &lookup);
	}
	if (r < 0 && r != -EBADMSG)
		return r;
	/* Without an index the walk just takes longer. */
	*offset = r == 0 ? lookup.entry.offset : SEGMENT_HEADER_BYTES;
	if (*offset < SEGMENT_HEADER_BYTES || *offset > segment->data_end)
		*offset = SEGMENT_HEADER_BYTES;
	return 0;
}

static int look_for_worker(void *argument)
{
	struct lookup *lookup = argument;
	struct segment *segment = lookup->segment;
	int r = check_section(segment, SECTION_ROWS);
	if (r == 0)
		r = check_section(segment, SECTION_ROW_OFFSETS);
	if (r == 0)
		r = check_section(segment, SECTION_ENTRIES);
	if (r != 0)
		return r;
	struct footer_row row;
	if (!footer_find_row(
		    segment->map, &segment->trailer, lookup->worker, lookup->worker_len, &row))
		return 1;
	uint32_t number = footer_lower_bound(
		segment->map, &segment->trailer, &row, delta_of(segment, lookup->sequence));
	for (; number < row.entry_count && lookup->count < lookup->max; number++)
		if (!footer_entry(segment->map, &segment->trailer, row.first_entry + number,
			    &lookup->entries[lookup->count++]))
			return -EBADMSG;
	return lookup->count == 0 ? 1 : 0;
}

static int list_entries(struct lookup *lookup)
{
	const struct segment *segment = lookup->segment;
	const struct index_list *list = segment_index_find(
		segment->index, lookup->worker, lookup->worker_len);
	if (list == NULL)
		return 1;
	uint32_t number = segment_index_lower_bound(list, delta_of(segment, lookup->sequence));
	for (; number < list->count && lookup->count < lookup->max; number++)
		lookup->entries[lookup->count++] = list->entries[number];
	return lookup->count == 0 ? 1 : 0;
}

int segment_worker_entries(struct segment *segment, const char *worker, size_t len,
	uint64_t sequence, struct index_entry *out, size_t max, size_t *count)
{
	struct lookup lookup = {.segment = segment,
		.sequence = sequence,
		.worker = worker,
		.worker_len = len,
		.entries = out,
		.max = max};
	int r = 1;
	if (segment->index != NULL)
		r = list_entries(&lookup);
	else if (segment->is_sealed)
		r = map_guard_run(segment->map, segment->file_bytes, look_for_worker, &lookup);
	if (r == 0)
		*count = lookup.count;
	return r;
}

static int look_for_damage(void *argument)
{
	struct lookup *lookup = argument;
	struct segment *segment = lookup->segment;
	int r = check_section(segment, SECTION_DAMAGE);
	if (r != 0)
		return r;
	for (uint32_t i = 0; footer_damage(segment->map, &segment->trailer, i, &lookup->damage);
		i++)
		if (lookup->damage.last >= lookup->sequence)
			return 0;
	return 1;
}

int segment_damage_next(struct segment *segment, uint64_t sequence, struct damage_range *out)
{
	if (segment->index != NULL) {
		for (uint32_t i = 0; i < segment->index->damage_count; i++) {
			if (segment->index->damage[i].last >= sequence) {
				*out = segment->index->damage[i];
				return 0;
			}
		}
		return 1;
	}
	if (!segment->is_sealed || segment->trailer.sections[SECTION_DAMAGE].count == 0)
		return 1;
	struct lookup lookup = {.segment = segment, .sequence = sequence};
	int r = map_guard_run(segment->map, segment->file_bytes, look_for_damage, &lookup);
	if (r == 0)
		*out = lookup.damage;
	return r;
}

struct scan segment_scan(const struct segment *segment, bool to_file_end)
{
	return (struct scan){
		.bytes = segment->map,
		.end = to_file_end ? segment->file_bytes - SEGMENT_TRAILER_BYTES
				   : segment->data_end,
		.offset = SEGMENT_HEADER_BYTES,
		.base = segment->base,
		.next_seq = segment->base,
		.salt = segment->salt,
		.epoch = segment->epoch,
	};
}

struct scan_step {
	struct scan *scan;
	struct scan_item *item;
};

static int scan_step(void *argument)
{
	struct scan_step *step = argument;
	return (int)scan_next(step->scan, step->item);
}

int segment_scan_next(const struct segment *segment, struct scan *scan, struct scan_item *out)
{
	struct scan_step step = {scan, out};
	return map_guard_run(segment->map, segment->file_bytes, scan_step, &step);
}

int segment_index_add_item(struct segment_index *index, uint64_t base, const struct scan_item *item)
{
	struct index_list *list;
	int r = segment_index_list(index, item->record.worker, item->record.worker_len, &list);
	if (r == -EINVAL)
		return 0; /* an id that no writer of ours lets through, and no reader can ask for */
	if (r == 0)
		r = segment_index_reserve(index, list, 1);
	if (r == 0)
		segment_index_add(index, list, (uint32_t)item->offset,
			(uint32_t)(item->record.sequence - base), (uint32_t)item->bytes,
			record_is_keyframe(&item->record));
	return r;
}

static int build_index(struct segment *segment, struct segment_index *index)
{
	struct scan scan = segment_scan(segment, false);
	struct scan_item item;
	for (;;) {
		uint64_t expected = scan.next_seq;
		int r = segment_scan_next(segment, &scan, &item);
		if (r < 0)
			return r;
		if (r == SCAN_NOTHING)
			return expected > segment->last_seq ? 0
							    : segment_index_add_damage(index,
								      expected, segment->last_seq);
		if (r == SCAN_DAMAGED || record_is_internal(&item.record))
			continue;
		r = 0;
		if (item.record.sequence > expected && (segment->features & SEGMENT_COMPACTED) == 0)
			r = segment_index_add_damage(index, expected, item.record.sequence - 1);
		if (r == 0)
			r = segment_index_add_item(index, segment->base, &item);
		if (r != 0)
			return r;
	}
}

int segment_build_index(struct segment *segment)
{
	struct segment_index *index;
	int r = segment_index_new(&index);
	if (r != 0)
		return r;
	r = build_index(segment, index);
	if (r != 0) {
		segment_index_free(index);
		return r;
	}
	segment->index = index;
	return 0;
}
