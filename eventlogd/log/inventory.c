#include "eventlogd/log/inventory.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/record.h"

struct name {
	char text[SEGMENT_NAME_BYTES + 1];
};

struct names {
	const struct finding_sink *findings;
	struct inventory *inventory;
	struct name *items;
	size_t count, allocated;
};

static void report_file(
	const struct finding_sink *findings, enum finding_kind kind, const char *name, int error)
{
	struct finding finding = {.kind = kind, .file = name, .error = error};
	finding_report(findings, &finding);
}

static int names_add(void *owner, const char *text)
{
	struct names *names = owner;
	uint64_t base;
	uint16_t epoch;
	if (strcmp(text, SEGMENT_SPARE_NAME) == 0) {
		names->inventory->has_spare = true;
		return 0;
	}
	if (strcmp(text, SEGMENT_COMPACT_NAME) == 0) {
		names->inventory->has_compact = true;
		return 0;
	}
	if (!segment_name_parse(text, &base, &epoch)) {
		report_file(names->findings, FINDING_FOREIGN_FILE, text, 0);
		return 0;
	}
	if (names->count == names->allocated) {
		size_t wanted = names->allocated * 2 + 64;
		void *grown = realloc(names->items, wanted * sizeof(*names->items));
		if (grown == NULL)
			return -ENOMEM;
		names->items = grown;
		names->allocated = wanted;
	}
	memcpy(names->items[names->count++].text, text, SEGMENT_NAME_BYTES + 1);
	return 0;
}

/* Names are hex of one length, so their order as texts is that of base and epoch. */
static int compare_names(const void *a, const void *b)
{
	const struct name *x = a, *y = b;
	return strcmp(x->text, y->text);
}

static int open_segments(struct log_view *view, struct names *names,
	const struct finding_sink *findings, struct segment_header *newest_header, bool *has_header)
{
	struct segment_header *header = malloc(sizeof(*header));
	if (header == NULL)
		return -ENOMEM;
	int r = 0;
	for (size_t i = 0; r >= 0 && i < names->count; i++) {
		struct segment *segment;
		const char *name = names->items[i].text;
		r = segment_open(&segment, view->ops, view->directory_fd, name, header);
		if (r == -ENOENT) {
			/* Pruned since the directory was listed. */
			r = 0;
			continue;
		}
		if (r < 0)
			report_file(findings, FINDING_READ_ERROR, name, r);
		names->inventory->newest_is_newer = r == SEGMENT_NEWER;
		if (r == SEGMENT_FOREIGN)
			report_file(findings, FINDING_FOREIGN_FILE, name, 0);
		else if (r == SEGMENT_NEWER)
			report_file(findings, FINDING_NEWER_FORMAT, name, 0);
		if (r != SEGMENT_OPENED)
			continue;
		r = catalog_add(view, segment);
		if (r != 0) {
			segment_free(segment);
		} else if (!segment->header_is_damaged) {
			*newest_header = *header;
			*has_header = true;
		}
	}
	free(header);
	return r < 0 ? r : 0;
}

/* The log id that most segments have; false: two that as many have. */
static bool choose_log_id(struct log_view *view, bool *found)
{
	size_t best = 0;
	bool unique = true;
	for (size_t i = 0; i < view->segment_count; i++) {
		const struct segment *one = view->segments[i];
		size_t votes = 0;
		bool is_first = true;
		/* Counted already: as good as always, as all are of one log. */
		if (best != 0 && memcmp(one->log_id, view->log_id, LOG_ID_BYTES) == 0)
			continue;
		for (size_t j = 0; one->has_log_id && j < view->segment_count; j++) {
			const struct segment *other = view->segments[j];
			if (!other->has_log_id ||
				memcmp(one->log_id, other->log_id, LOG_ID_BYTES) != 0)
				continue;
			votes++;
			is_first = is_first && j >= i;
		}
		if (votes == 0 || !is_first || votes < best)
			continue;
		unique = votes > best;
		best = votes;
		memcpy(view->log_id, one->log_id, LOG_ID_BYTES);
	}
	*found = best != 0;
	return unique;
}

/* The epochs that the newest header lists, and those of segments behind it. */
static void take_epochs(struct log_view *view, const struct segment_header *header)
{
	view->epoch_count = 0;
	if (header != NULL) {
		memcpy(view->epochs, header->epochs, header->epoch_count * sizeof(view->epochs[0]));
		view->epoch_count = header->epoch_count;
		view->epoch = header->epoch;
	}
	for (size_t i = 0; i < view->segment_count; i++) {
		const struct segment *segment = view->segments[i];
		if (segment->epoch > view->epoch)
			catalog_begin_epoch(view, segment->epoch, segment->base);
	}
}

/* Reads the newest header page of what is left, where another log's was the newest of all. */
static int read_newest_header(struct log_view *view, struct segment_header *header, bool *found)
{
	*found = false;
	for (size_t i = view->segment_count; i-- > 0 && !*found;) {
		const struct segment *segment = view->segments[i];
		if (!segment->has_log_id || segment->header_is_damaged)
			continue;
		struct segment *again;
		int r = segment_open(&again, view->ops, view->directory_fd, segment->name, header);
		if (r < 0)
			return r;
		if (r != SEGMENT_OPENED)
			continue;
		*found = !again->header_is_damaged;
		segment_free(again);
	}
	return 0;
}

static void leave_others_alone(struct log_view *view, const struct finding_sink *findings)
{
	for (size_t i = view->segment_count; i-- > 0;) {
		const struct segment *segment = view->segments[i];
		if (!segment->has_log_id ||
			memcmp(segment->log_id, view->log_id, LOG_ID_BYTES) == 0)
			continue;
		report_file(findings, FINDING_OTHER_LOG, segment->name, 0);
		catalog_remove(view, i);
	}
}

/* Whether a file of which neither header page nor trailer can tell whose it is stands where its
 * neighbours have room for a segment. */
static bool has_place(const struct log_view *view, size_t position)
{
	const struct segment *segment = view->segments[position];
	for (size_t i = position + 1; i < view->segment_count; i++) {
		const struct segment *next = view->segments[i];
		if (next->has_log_id)
			return next->header_is_damaged || next->previous_base == segment->base;
	}
	for (size_t i = position; i-- > 0;) {
		const struct segment *before = view->segments[i];
		if (before->has_log_id && before->is_sealed)
			return segment->base == before->last_seq + 1;
		if (before->has_log_id)
			return segment->base - before->base <=
			       before->file_bytes / RECORD_HEADER_BYTES;
	}
	return true;
}

/* 1: nothing of ours is or was there. 0, or -errno. */
static int is_stranger(struct log_view *view, size_t position)
{
	struct segment *segment = view->segments[position];
	const struct segment *before = position > 0 ? view->segments[position - 1] : NULL;
	if (segment->has_log_id || segment->is_unreadable)
		return 0;
	/* In the middle of a sealed segment. */
	if (before != NULL && before->is_sealed && before->last_seq >= segment->base)
		return 1;
	if (has_place(view, position))
		return 0;
	int r = catalog_map(view, segment);
	if (r == 0)
		r = segment_infer_salt(segment);
	return r == -EIO ? 0 : r;
}

static int leave_strangers_alone(
	struct log_view *view, const struct finding_sink *findings, struct inventory *out)
{
	for (size_t i = 0; i < view->segment_count;) {
		int r = is_stranger(view, i);
		if (r < 0)
			return r;
		if (r == 0) {
			i++;
			continue;
		}
		out->has_stranger_ahead |= i + 1 == view->segment_count;
		report_file(findings, FINDING_FOREIGN_FILE, view->segments[i]->name, 0);
		catalog_remove(view, i);
	}
	return 0;
}

static void report_all(
	const struct log_view *view, const struct finding_sink *findings, enum finding_kind kind)
{
	for (size_t i = 0; i < view->segment_count; i++)
		report_file(findings, kind, view->segments[i]->name, 0);
}

int inventory_take(
	struct log_view *view, const struct finding_sink *findings, struct inventory *out)
{
	*out = (struct inventory){0};
	struct names names = {.findings = findings, .inventory = out};
	struct segment_header *header = malloc(sizeof(*header));
	bool has_header = false, found = false;
	int r = header == NULL ? -ENOMEM : 0;
	if (r == 0)
		r = view->ops->list(view->ops->owner, view->directory_fd, names_add, &names);
	if (r != 0)
		goto out;
	if (names.count != 0)
		qsort(names.items, names.count, sizeof(*names.items), compare_names);
	r = open_segments(view, &names, findings, header, &has_header);
	if (r != 0 || view->segment_count == 0)
		goto out;
	if (!choose_log_id(view, &found)) {
		report_all(view, findings, FINDING_OTHER_LOG);
		r = -ENOTUNIQ;
	} else if (!found) {
		report_all(view, findings, FINDING_HEADER_DAMAGED);
		r = -EBADMSG;
	}
	if (r != 0)
		goto out;
	leave_others_alone(view, findings);
	r = leave_strangers_alone(view, findings, out);
	if (r != 0)
		goto out;
	if (has_header && memcmp(header->log_id, view->log_id, LOG_ID_BYTES) != 0)
		r = read_newest_header(view, header, &has_header);
	if (r == 0)
		take_epochs(view, has_header ? header : NULL);
out:
	free(names.items);
	free(header);
	return r;
}
