#include "eventlogd/log/reserve.h"

#include <errno.h>
#include <stdlib.h>

#include "eventlogd/log/compaction.h"
#include "eventlogd/log/segment_share.h"

uint64_t reserve_kept_from(const struct log_view *view, const struct worker *worker)
{
	if (worker->is_released)
		return 0;
	return worker->newest_keyframe <= view->visible_seq ? worker->newest_keyframe
							    : worker->visible_keyframe;
}

struct survey {
	struct log_view *view;
	struct segment *segment;
};

static int survey_share(void *owner, const struct segment_share *share)
{
	struct survey *survey = owner;
	struct worker *worker = worker_table_find(
		&survey->view->table, share->worker, share->worker_len);
	if (worker == NULL || share->last_seq <= worker->highest_pruned)
		return 0;
	uint64_t count, bytes;
	int r = segment_share_after(
		survey->view, survey->segment, share, worker->highest_pruned, &count, &bytes);
	if (r != 0)
		return r;
	worker->reserve_count += count;
	worker->reserve_bytes += bytes;
	worker->reserve_last = share->last_seq;
	worker->reserve_segments++;
	return 0;
}

int reserve_survey(struct log_view *view)
{
	size_t count = catalog_compacted_count(view);
	for (size_t i = 0; i < count; i++) {
		struct survey survey = {view, view->segments[i]};
		int r = segment_shares(view, view->segments[i], survey_share, &survey);
		/* What can't be read is told to who reads it. */
		if (r != 0 && r != -EIO)
			return r;
	}
	return 0;
}

uint64_t reserve_bytes(const struct log_view *view)
{
	uint64_t sum = catalog_compacted_count(view) * RESERVE_SEGMENT_BYTES;
	struct worker *worker, *next;
	map_for_each (view->table.workers, worker, next) {
		sum += worker->reserve_bytes;
	}
	return sum;
}

static uint64_t weight_of(const struct worker *worker, const struct compaction *more)
{
	const struct compaction_keep *keep = compaction_find(more, worker->id.text, worker->id_len);
	return worker->reserve_bytes + (keep == NULL ? 0 : keep->share_bytes);
}

struct uid_weight {
	UT_hash_handle hh;
	uint32_t uid;
	uint64_t bytes;
};

static struct uid_weight *uid_weight(struct uid_weight **uids, uint32_t uid)
{
	struct uid_weight *entry = NULL;
	HASH_FIND(hh, *uids, &uid, sizeof(uid), entry);
	if (entry != NULL)
		return entry;
	entry = calloc(1, sizeof(*entry));
	if (entry == NULL)
		return NULL;
	entry->uid = uid;
	HASH_ADD(hh, *uids, uid, sizeof(entry->uid), entry);
	if (map_has_handle(entry))
		return entry;
	free(entry);
	return NULL;
}

/* The uid that takes most; without memory to tell, the heaviest worker's. */
static uint32_t heaviest_uid(
	const struct log_view *view, const struct compaction *more, uint32_t otherwise)
{
	struct uid_weight *uids = NULL, *entry, *next_entry, *most = NULL;
	struct worker *worker, *next;
	map_for_each (view->table.workers, worker, next) {
		uint64_t weight = weight_of(worker, more);
		entry = weight == 0 ? NULL : uid_weight(&uids, worker->owner_uid);
		if (entry == NULL)
			continue;
		entry->bytes += weight;
		if (most == NULL || entry->bytes > most->bytes)
			most = entry;
	}
	uint32_t uid = most == NULL ? otherwise : most->uid;
	map_for_each (uids, entry, next_entry) {
		HASH_DEL(uids, entry);
		free(entry);
	}
	return uid;
}

/* A newer keyframe stands behind all that is kept of it. */
static bool is_superfluous(const struct log_view *view, const struct worker *worker)
{
	uint64_t from = reserve_kept_from(view, worker);
	return worker->reserve_count != 0 && (from == 0 || from > worker->reserve_last);
}

/* The worker in most of too many segments; NULL: there are not too many. */
static struct worker *most_scattered(const struct log_view *view)
{
	struct worker *worker, *next, *most = NULL;
	if (catalog_compacted_count(view) < RESERVE_SEGMENTS_MAX)
		return NULL;
	map_for_each (view->table.workers, worker, next) {
		if (worker->reserve_segments != 0 &&
			(most == NULL || worker->reserve_segments > most->reserve_segments))
			most = worker;
	}
	return most;
}

struct worker *reserve_choose_victim(
	const struct log_view *view, const struct compaction *more, uint64_t limit)
{
	uint64_t total = catalog_compacted_count(view) * RESERVE_SEGMENT_BYTES;
	struct worker *worker, *next, *superfluous = NULL, *heaviest = NULL;
	map_for_each (view->table.workers, worker, next) {
		uint64_t weight = weight_of(worker, more);
		total += weight;
		if (heaviest == NULL || weight > weight_of(heaviest, more))
			heaviest = worker;
		if (is_superfluous(view, worker) &&
			(superfluous == NULL || worker->reserve_bytes > superfluous->reserve_bytes))
			superfluous = worker;
	}
	if (more != NULL)
		total += RESERVE_SEGMENT_BYTES;
	struct worker *scattered = most_scattered(view);
	if (scattered != NULL)
		return superfluous != NULL ? superfluous : scattered;
	if (total <= limit || heaviest == NULL || weight_of(heaviest, more) == 0)
		return NULL;
	if (superfluous != NULL)
		return superfluous;
	uint32_t uid = heaviest_uid(view, more, heaviest->owner_uid);
	heaviest = NULL;
	map_for_each (view->table.workers, worker, next) {
		if (worker->owner_uid == uid &&
			(heaviest == NULL || weight_of(worker, more) > weight_of(heaviest, more)))
			heaviest = worker;
	}
	return heaviest;
}
