/* From segment to segment, and what the syncer reports. */
#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "eventlogd/log/event_log_private.h"

void log_want_spare(struct event_log *log)
{
	if (log->spare_asked || log->spare_fd >= 0 || log->is_read_only ||
		/* The name is taken until the spare in the roll has got its own. */
		log->roll != NULL)
		return;
	log->spare_asked = true;
	log->spare_error = 0;
	syncer_request_spare(&log->syncer);
}

/*
 * The base of the segment before one with this base; 0: none. Those of the same base are what a
 * stop right after a roll leaves: they go without a note, and what is before them stays known.
 */
static uint64_t base_before(const struct log_view *view, uint64_t base)
{
	size_t i = view->segment_count;
	while (i > 0 && view->segments[i - 1]->base >= base)
		i--;
	return i == 0 ? 0 : view->segments[i - 1]->base;
}

void log_need_spare(struct event_log *log)
{
	log_want_spare(log);
	syncer_hurry_spare(&log->syncer);
}

static int prepare_next(struct event_log *log, struct roll *roll, uint64_t wall_ns)
{
	struct segment_header *header = calloc(1, sizeof(*header));
	struct segment_index *index = NULL;
	if (header == NULL)
		return -ENOMEM;
	*header = (struct segment_header){
		.base = log->written.seq + 1,
		.created_ns = wall_ns,
		.file_bytes = log->config.segment_bytes,
		.previous_base = base_before(&log->view, log->written.seq + 1),
		/* The segment before it is synced before this header is written. */
		.durable_seq = log->written.seq,
		.epoch = log->view.epoch,
		.epoch_count = log->view.epoch_count,
	};
	/* 0 would let zeros look like a place's salt. */
	while (header->salt == 0)
		header->salt = randombytes_random();
	memcpy(header->log_id, log->view.log_id, LOG_ID_BYTES);
	memcpy(header->epochs, log->view.epochs,
		log->view.epoch_count * sizeof(log->view.epochs[0]));
	segment_header_encode(header, roll->header);
	segment_name_format(header->base, header->epoch, roll->name);
	roll->may_replace = strcmp(roll->name, log->replaced_name) == 0;
	int r = catalog_reserve(&log->view);
	if (r == 0)
		r = segment_index_new(&index);
	if (r == 0)
		r = segment_new_take(&log->next, log->ops, log->directory_fd, header, index);
	if (r == 0)
		log->next->has_digest = true;
	free(header);
	return r;
}

static void prepare_seal(struct event_log *log, struct roll *roll)
{
	/* Without a footer the segment is scanned at the next start; nothing else changes. */
	int r = seal_prepare(&roll->seal, log->active, &log->view.table, 0, log->view.log_id);
	roll->has_seal = r == 0;
	if (r != 0)
		seal_free(&roll->seal);
}

int log_begin_roll(struct event_log *log, uint64_t wall_ns)
{
	assert(log->roll == NULL && log->spare_fd >= 0);
	struct roll *roll = calloc(1, sizeof(*roll));
	if (roll == NULL)
		return -ENOMEM;
	int r = prepare_next(log, roll, wall_ns);
	if (r != 0) {
		free(roll);
		return r;
	}
	roll->old_fd = log->active_fd;
	if (log->active != NULL)
		prepare_seal(log, roll);
	roll->next_fd = log->spare_fd;
	log->spare_fd = -1;
	log->active = NULL;
	log->active_fd = -1;
	log->roll = roll;
	log->roll_asked = true;
	syncer_request_roll(&log->syncer, roll);
	return 0;
}

/* Not before: what is in no file yet has not been created. */
static void tell_created(struct event_log *log)
{
	const struct finding finding = {.kind = FINDING_LOG_CREATED};
	if (log->is_new)
		finding_report(&log->config.findings, &finding);
	log->is_new = false;
}

static void finish_roll(struct event_log *log)
{
	struct roll *roll = log->roll;
	log->roll_asked = false;
	if (roll->is_sealed) {
		segment_seal(catalog_newest(&log->view), &roll->seal.trailer,
			roll->seal.allocated_bytes);
		roll->is_sealed = false;
	}
	if (roll->error != 0) {
		log->has_no_space = true;
		log->counters.no_space_count++;
		return;
	}
	if (roll->next_fd >= 0) {
		int r = catalog_add(&log->view, log->next);
		assert(r == 0); /* reserved in prepare_next() */
		(void)r;
		log->active = log->next;
		log->active_fd = roll->next_fd;
		log->marked_seq = log->written.seq;
		log->next = NULL;
		syncer_set_fd(&log->syncer, log->active_fd);
		tell_created(log);
	}
	seal_free(&roll->seal);
	free(roll);
	log->roll = NULL;
	log->counters.rolls++;
	log_want_spare(log);
}

void log_take_news(struct event_log *log)
{
	struct syncer_news news;
	syncer_poll(&log->syncer, &news);
	if (news.error != 0 && !log->is_read_only) {
		log->is_read_only = true;
		log->sync_error = news.error;
	}
	if (news.synced.bytes >= log->synced.bytes && news.synced.ticket >= log->synced.ticket)
		log->synced = news.synced;
	log->counters.syncs = news.sync_count;
	if (log->config.durability == DURABILITY_DURABLE && log->synced.seq > log->view.visible_seq)
		log->view.visible_seq = log->synced.seq;
	if (news.spare_done) {
		log->spare_asked = false;
		log->spare_fd = news.spare_fd;
		log->spare_error = news.spare_error;
	}
	if (news.roll_done)
		finish_roll(log);
	if (news.compact_done)
		log_compaction_done(log, news.compact_error);
	if (news.scrub_done)
		log_scrub_done(log, news.scrub_result);
	if (news.has_replaced)
		log_compaction_replaced(log);
	if (news.heal_done) {
		log->heal_asked = false;
		if (news.heal_error == 0) {
			log->heal_is_due = false;
			log->has_no_space = false;
		}
	}
}
