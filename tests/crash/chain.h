/*
 * A chain of lives of one log on one disk (tests/lib/disk_model.h): what was published in them, and
 * what could be relied on from which moment on. A moment is a number of changing calls of the disk
 * of this life.
 *
 * chain_live.h writes a life, chain_image.h judges a disk as a power loss may leave it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/log/event_log.h"
#include "proto/base/attributes.h"
#include "tests/crash/log_dump.h"
#include "tests/lib/disk_model.h"

enum {
	WORKERS = 5,
	SEQUENCES_MAX = 1 << 15,
	EPOCHS_PER_SEQUENCE = 8,
	PRODUCER = 77,
};

/* What was published under a sequence, by epoch. */
struct published {
	struct {
		uint64_t hash;
		size_t calls; /* of this life's disk, when it was staged; 0: of an earlier life */
		uint16_t epoch;
		uint8_t worker;
		bool is_doubtful; /* staged before the loss, never seen by a reader */
	} by_epoch[EPOCHS_PER_SEQUENCE];
	unsigned int count;
};

/* What may be relied on from a moment on. */
struct promise {
	size_t calls;                   /* when it was given */
	uint64_t durable;               /* up to here everything is there after a power loss */
	uint64_t visible;               /* readers have seen up to here */
	uint64_t pruned[WORKERS];       /* up to here its records may be gone */
	uint64_t producer_seq[WORKERS]; /* staged: no more than this was published */
};

struct chain {
	uint64_t seed, random;
	bool has_reserve;                   /* retention keeps newest keyframes */
	uint64_t images, failed, compacted; /* compacted: moments with something in the reserve */
	struct published *published;        /* by sequence */
	uint64_t published_max;
	struct promise *promises; /* of this life, by ascending calls */
	size_t promise_count, promises_allocated;
	struct disk_model *disk; /* of this life */
	struct event_log *log;
	struct event_log_config config;
	uint64_t wall_ns, monotonic_ns;
};

/* Not yet with a disk, a log or a configuration. Aborts without memory, as all of this does. */
void chain_init(struct chain *chain);
void chain_free(struct chain *chain);

/* Prints it, with the chain and the image, and counts it. */
_printf_(2, 3) void chain_fail(struct chain *chain, const char *format, ...);

/* Takes down that the log has been asked to keep this; what it holds is told by a dump_hash(). */
void chain_publish(
	struct chain *chain, uint64_t sequence, uint16_t epoch, uint64_t hash, size_t worker);
bool chain_has_published(const struct chain *chain, const struct dumped_record *record);
/* Of what is not in chain->log, sequences above `written` may be given again: they were only
 * staged when it ended. UINT64_MAX: after a power loss, those that no reader had seen. */
void chain_forget_unwritten(struct chain *chain, uint64_t written);

/* Takes down what the log promises now. */
void chain_promise(struct chain *chain);
/* The newest promise of a moment, or the one after it. */
const struct promise *chain_promise_at(const struct chain *chain, size_t calls, bool next);

/*
 * The disk of the next life. What was staged after that moment was never published; what was staged
 * before and not visible may have been in memory only.
 */
void chain_go_on_from(struct chain *chain, size_t calls);

/* Ends a log on any disk without another write, sync or name. */
void chain_end_log(struct disk_model *disk, struct event_log *log);
