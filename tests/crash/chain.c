#include "tests/crash/chain.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "eventlogd/log/event_log_private.h"

void chain_init(struct chain *chain)
{
	chain->published = calloc(SEQUENCES_MAX, sizeof(*chain->published));
	chain->promises_allocated = 64;
	chain->promises = calloc(chain->promises_allocated, sizeof(*chain->promises));
	if (chain->published == NULL || chain->promises == NULL)
		abort();
	chain->promise_count = 1;
}

void chain_free(struct chain *chain)
{
	free(chain->promises);
	free(chain->published);
}

void chain_fail(struct chain *chain, const char *format, ...)
{
	va_list arguments;
	va_start(arguments, format);
	chain->failed++;
	printf("FAILED: chain %llu, image %llu: ", (unsigned long long)chain->seed,
		(unsigned long long)chain->images);
	vprintf(format, arguments);
	printf("\n");
	va_end(arguments);
}

void chain_publish(
	struct chain *chain, uint64_t sequence, uint16_t epoch, uint64_t hash, size_t worker)
{
	if (sequence >= SEQUENCES_MAX)
		return;
	struct published *published = &chain->published[sequence];
	for (unsigned int i = 0; i < published->count; i++)
		if (published->by_epoch[i].epoch == epoch)
			chain_fail(chain, "sequence %llu of epoch %u was given twice",
				(unsigned long long)sequence, epoch);
	if (published->count == EPOCHS_PER_SEQUENCE)
		return;
	published->by_epoch[published->count].epoch = epoch;
	published->by_epoch[published->count].hash = hash;
	published->by_epoch[published->count].is_doubtful = false;
	published->by_epoch[published->count].worker = (uint8_t)worker;
	published->by_epoch[published->count].calls = disk_model_calls(chain->disk) + 1;
	published->count++;
	if (sequence > chain->published_max)
		chain->published_max = sequence;
}

bool chain_has_published(const struct chain *chain, const struct dumped_record *record)
{
	if (record->sequence >= SEQUENCES_MAX)
		return false;
	const struct published *published = &chain->published[record->sequence];
	for (unsigned int i = 0; i < published->count; i++)
		if (published->by_epoch[i].epoch == record->epoch)
			return published->by_epoch[i].hash == record->hash;
	return false;
}

void chain_forget_unwritten(struct chain *chain, uint64_t written)
{
	struct log_dump dump;
	if (log_dump_read(&dump, event_log_view(chain->log)) != 0)
		chain_fail(chain, "the next life can't read");
	for (uint64_t sequence = 1; sequence <= chain->published_max; sequence++) {
		struct published *published = &chain->published[sequence];
		const struct dumped_record *record = log_dump_find(&dump, sequence);
		unsigned int kept = 0;
		for (unsigned int i = 0; i < published->count; i++) {
			bool is_there = record != NULL &&
					record->epoch == published->by_epoch[i].epoch;
			bool is_doubtful = published->by_epoch[i].is_doubtful ||
					   (published->by_epoch[i].calls != 0 &&
						   sequence > written);
			if (is_doubtful && !is_there)
				continue;
			published->by_epoch[kept] = published->by_epoch[i];
			published->by_epoch[kept++].is_doubtful = false;
		}
		published->count = kept;
	}
	log_dump_free(&dump);
}

void chain_promise(struct chain *chain)
{
	struct event_log_status status;
	event_log_status(chain->log, &status);
	if (chain->promise_count == chain->promises_allocated) {
		chain->promises_allocated = chain->promises_allocated * 2 + 64;
		chain->promises = realloc(
			chain->promises, chain->promises_allocated * sizeof(*chain->promises));
		if (chain->promises == NULL)
			abort();
	}
	struct promise *next = &chain->promises[chain->promise_count++];
	chain->compacted += status.reserve_segments != 0;
	*next = (struct promise){.durable = status.durable_seq};
	for (size_t i = 0; i < WORKERS; i++) {
		char worker[3] = {'w', (char)('0' + i), '\0'};
		(void)event_log_producer_seq(
			chain->log, worker, 2, PRODUCER, &next->producer_seq[i]);
		struct log_worker known;
		if (event_log_worker(chain->log, worker, 2, &known))
			next->pruned[i] = known.highest_pruned;
	}
	struct event_log_progress progress;
	event_log_progress(chain->log, &progress);
	next->visible = progress.visible_seq;
	if (chain->config.durability == DURABILITY_DURABLE &&
		progress.visible_seq > status.durable_seq)
		chain_fail(chain, "%llu is visible, %llu durable",
			(unsigned long long)progress.visible_seq,
			(unsigned long long)status.durable_seq);
	next->calls = disk_model_calls(chain->disk); /* last: all of it holds from here on */
}

const struct promise *chain_promise_at(const struct chain *chain, size_t calls, bool next)
{
	const struct promise *found = &chain->promises[0];
	for (size_t i = 0; i < chain->promise_count; i++) {
		found = &chain->promises[i];
		if (next && found->calls > calls)
			break;
		if (!next && i + 1 < chain->promise_count && chain->promises[i + 1].calls > calls)
			break;
	}
	return found;
}

void chain_go_on_from(struct chain *chain, size_t calls)
{
	struct disk_model *next = disk_model_crash(chain->disk, calls, &chain->random);
	struct promise inherited = *chain_promise_at(chain, calls, false);
	inherited.calls = 0;
	disk_model_free(chain->disk);
	chain->disk = next;
	chain->promises[0] = inherited;
	chain->promise_count = 1;
	for (uint64_t sequence = 1; sequence <= chain->published_max; sequence++) {
		struct published *published = &chain->published[sequence];
		unsigned int kept = 0;
		for (unsigned int i = 0; i < published->count; i++) {
			if (published->by_epoch[i].calls > calls)
				continue;
			published->by_epoch[kept] = published->by_epoch[i];
			published->by_epoch[kept].is_doubtful = published->by_epoch[kept].calls !=
									0 &&
								sequence > inherited.visible;
			published->by_epoch[kept++].calls = 0;
		}
		published->count = kept;
	}
}

void chain_end_log(struct disk_model *disk, struct event_log *log)
{
	disk_model_kill(disk);
	log->is_read_only = true;
	log->sync_error = -EIO;
	(void)event_log_close(log, 0);
}
