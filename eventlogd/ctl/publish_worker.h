/*
 * The workers of a stream that is published, and how far the log is with each.
 *
 * A worker's position is asked for with POSITION; replies come in the order of the questions, so
 * the table keeps those that are open in a queue.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/ctl/outbox.h"
#include "proto/base/map.h"
#include "proto/ids.h"

struct publish_worker {
	UT_hash_handle hh;
	struct id id;
	struct outbox_worker out;
	bool is_position_known;
	uint64_t question_id; /* request id of the open POSITION; 0: none */
	struct publish_worker *next_asked;
};

struct publish_workers {
	struct publish_worker *all; /* by id */
	struct publish_worker *first_asked, *last_asked;
};

/* Finds or makes one, with number 1 as its next. NULL: out of memory, or no worker id. */
struct publish_worker *publish_workers_get(struct publish_workers *workers, const char *id);

/* Notes an open question. */
void publish_workers_asked(
	struct publish_workers *workers, struct publish_worker *worker, uint64_t question_id);
/* Whose question this answers, no longer open then; NULL: of none that still is. */
struct publish_worker *publish_workers_answered(
	struct publish_workers *workers, uint64_t question_id);
/* Nothing that was asked is answered any more. */
void publish_workers_forget_questions(struct publish_workers *workers);

void publish_workers_free(struct publish_workers *workers);
