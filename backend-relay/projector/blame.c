#include "backend-relay/projector/blame.h"

#include <string.h>

static bool is_same(const struct blamed_event *event, const struct id *runtime_id,
	const struct id *worker_id, const struct cursor *position)
{
	return event->position.sequence == position->sequence &&
	       event->position.epoch == position->epoch && event->position.log == position->log &&
	       strcmp(event->worker_id.text, worker_id->text) == 0 &&
	       strcmp(event->runtime_id.text, runtime_id->text) == 0;
}

static bool is_expired(const struct blamed_event *event, uint64_t now_ns)
{
	return now_ns - event->last_ns > BLAME_EXPIRES_NS;
}

static struct blamed_event *find(struct blame *blame, const struct id *runtime_id,
	const struct id *worker_id, const struct cursor *position)
{
	for (size_t i = 0; i < blame->count; i++) {
		if (is_same(&blame->events[i], runtime_id, worker_id, position))
			return &blame->events[i];
	}
	return NULL;
}

static struct blamed_event *make_room(struct blame *blame)
{
	if (blame->count < BLAME_EVENTS_MAX)
		return &blame->events[blame->count++];
	struct blamed_event *oldest = &blame->events[0];
	for (size_t i = 1; i < blame->count; i++) {
		if (blame->events[i].last_ns < oldest->last_ns)
			oldest = &blame->events[i];
	}
	return oldest;
}

unsigned int blame_add(struct blame *blame, const struct id *runtime_id, const struct id *worker_id,
	const struct cursor *position, uint64_t now_ns)
{
	struct blamed_event *event = find(blame, runtime_id, worker_id, position);
	if (event == NULL) {
		event = make_room(blame);
		*event = (struct blamed_event){*runtime_id, *worker_id, *position, 0, now_ns};
	} else if (is_expired(event, now_ns)) {
		event->deaths = 0;
	}
	event->last_ns = now_ns;
	return ++event->deaths;
}

bool blame_is_poisonous(const struct blame *blame, const struct id *runtime_id,
	const struct id *worker_id, const struct cursor *position, uint64_t now_ns)
{
	for (size_t i = 0; i < blame->count; i++) {
		const struct blamed_event *event = &blame->events[i];
		if (event->deaths >= DEATHS_MAX && !is_expired(event, now_ns) &&
			is_same(event, runtime_id, worker_id, position))
			return true;
	}
	return false;
}
