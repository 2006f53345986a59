#include "eventlogd/ctl/publish_worker.h"

#include <stdlib.h>
#include <string.h>

struct publish_worker *publish_workers_get(struct publish_workers *workers, const char *id)
{
	struct publish_worker *worker = NULL;
	size_t len = strlen(id);
	HASH_FIND(hh, workers->all, id, len, worker);
	if (worker != NULL)
		return worker;
	worker = calloc(1, sizeof(*worker));
	if (worker == NULL || !id_set(&worker->id, id, len)) {
		free(worker);
		return NULL;
	}
	HASH_ADD_KEYPTR(hh, workers->all, worker->id.text, len, worker);
	if (!map_has_handle(worker)) {
		free(worker);
		return NULL;
	}
	worker->out = (struct outbox_worker){.id = worker->id.text, .next_number = 1};
	return worker;
}

void publish_workers_asked(
	struct publish_workers *workers, struct publish_worker *worker, uint64_t question_id)
{
	worker->question_id = question_id;
	worker->next_asked = NULL;
	if (workers->last_asked != NULL)
		workers->last_asked->next_asked = worker;
	else
		workers->first_asked = worker;
	workers->last_asked = worker;
}

struct publish_worker *publish_workers_answered(
	struct publish_workers *workers, uint64_t question_id)
{
	struct publish_worker *worker = workers->first_asked;
	if (worker == NULL || worker->question_id != question_id)
		return NULL;
	workers->first_asked = worker->next_asked;
	if (workers->first_asked == NULL)
		workers->last_asked = NULL;
	worker->question_id = 0;
	return worker;
}

void publish_workers_forget_questions(struct publish_workers *workers)
{
	while (workers->first_asked != NULL)
		(void)publish_workers_answered(workers, workers->first_asked->question_id);
}

void publish_workers_free(struct publish_workers *workers)
{
	struct publish_worker *worker, *next;
	map_for_each (workers->all, worker, next) {
		HASH_DEL(workers->all, worker);
		free(worker);
	}
	*workers = (struct publish_workers){0};
}
