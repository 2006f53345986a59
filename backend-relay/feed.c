#include "backend-relay/feed.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

enum { SHARED_ELEMENTS_MAX = 65536 };

static void delivery_release(void *element)
{
	projected_event_unref(((struct delivery *)element)->output.event);
}

void feed_wake(struct feed *feed)
{
	wakeup_schedule(&feed->wakeup);
}

static void feed_end(struct feed *feed, enum feed_state state)
{
	if (feed->state == FEED_OPENING || feed->state == FEED_OPEN)
		feed->state = state;
	feed_wake(feed);
}

static void feed_on_opened(struct pass *pass)
{
	struct feed *feed = pass_owner(pass);
	feed->is_troubled = false; /* it may have begun without projection */
	feed_end(feed, FEED_OPEN);
}

static void feed_on_denied(struct pass *pass)
{
	feed_end(pass_owner(pass), FEED_DENIED);
}

static void feed_on_view_changed(struct pass *pass)
{
	feed_end(pass_owner(pass), FEED_VIEW_CHANGED);
}

static void feed_on_state_lost(struct pass *pass)
{
	feed_end(pass_owner(pass), FEED_ABANDONED);
}

static void feed_on_output(struct pass *pass, const struct pass_output *output)
{
	struct feed *feed = pass_owner(pass);
	if (feed->state != FEED_OPEN)
		return;
	if (feed->deliveries.end == 0)
		ring_restart(&feed->deliveries, &output->before);
	struct delivery delivery = {
		.slot = {output->position.at, sizeof(delivery)},
		.output = *output,
		.events_before = feed->events,
	};
	if (output->event != NULL) {
		projected_event_ref(output->event);
		delivery.slot.bytes += projected_event_bytes(output->event);
	}
	if (ring_push(&feed->deliveries, &delivery) < 0) {
		/* An output that can't be kept must not become a gap: back to the log. */
		projected_event_unref(output->event);
		feed_end(feed, FEED_ABANDONED);
		return;
	}
	feed->events += output->event != NULL;
	feed_wake(feed);
}

static void feed_on_room(struct pass *pass)
{
	feed_wake(pass_owner(pass));
}

static void feed_on_trouble(struct pass *pass)
{
	struct feed *feed = pass_owner(pass);
	feed->is_troubled = true;
	feed_wake(feed);
}

static void feed_on_recovered(struct pass *pass)
{
	struct feed *feed = pass_owner(pass);
	feed->is_troubled = false;
	feed_wake(feed);
}

static const struct pass_handler pass_handler = {
	.on_opened = feed_on_opened,
	.on_denied = feed_on_denied,
	.on_view_changed = feed_on_view_changed,
	.on_state_lost = feed_on_state_lost,
	.on_output = feed_on_output,
	.on_room = feed_on_room,
	.on_trouble = feed_on_trouble,
	.on_recovered = feed_on_recovered,
};

static struct feed *feed_ref(struct feed *feed)
{
	feed->refs++;
	return feed;
}

static void feed_unref(struct feed *feed)
{
	if (--feed->refs > 0)
		return;
	assert(TAILQ_EMPTY(&feed->readers));
	wakeup_cancel(&feed->wakeup);
	pass_close(feed->pass);
	ring_free(&feed->deliveries);
	free(feed);
}

static void feed_run(struct wakeup *wakeup)
{
	struct feed *feed = feed_ref(wakeup->owner);
	if (feed->on_wake != NULL)
		feed->on_wake(feed);
	/*
	 * Each reader goes to the end of the list before its turn, so that the list may change
	 * under us: whoever attached or detached meanwhile, the first `count` get their turn.
	 */
	for (unsigned int count = feed->reader_count; count > 0; count--) {
		struct feed_reader *reader = TAILQ_FIRST(&feed->readers);
		if (reader == NULL)
			break;
		TAILQ_REMOVE(&feed->readers, reader, link);
		TAILQ_INSERT_TAIL(&feed->readers, reader, link);
		reader->on_ready(reader);
	}
	feed_unref(feed);
}

int feed_open(struct feed **out, struct projector *projector, struct wakeups *wakeups,
	const char *role, const char *runtime_id, const char *worker_id, size_t full_bytes,
	void (*on_wake)(struct feed *feed), void *owner)
{
	struct feed *feed = calloc(1, sizeof(*feed));
	if (feed == NULL)
		return -ENOMEM;
	int r = pass_open(&feed->pass, projector, role, runtime_id, worker_id, &pass_handler, feed);
	if (r < 0) {
		free(feed);
		return r;
	}
	feed->refs = 1;
	feed->full_bytes = full_bytes;
	feed->on_wake = on_wake;
	feed->owner = owner;
	feed->is_troubled = !projector_is_up(projector);
	TAILQ_INIT(&feed->readers);
	ring_init(&feed->deliveries, sizeof(struct delivery), SIZE_MAX, SIZE_MAX, delivery_release);
	wakeup_init(&feed->wakeup, wakeups, feed_run, feed);
	if (feed->is_troubled)
		feed_wake(feed);
	*out = feed;
	return 0;
}

void feed_share(
	struct feed *feed, size_t max_bytes, void (*on_wake)(struct feed *feed), void *owner)
{
	feed->full_bytes = 0;
	feed->deliveries.max_bytes = max_bytes;
	feed->deliveries.max_elements = SHARED_ELEMENTS_MAX;
	feed->on_wake = on_wake;
	feed->owner = owner;
	feed_wake(feed);
}

void feed_abandon(struct feed *feed)
{
	if (feed->state == FEED_OPENING || feed->state == FEED_OPEN)
		feed->state = FEED_ABANDONED;
	feed->on_wake = NULL;
	feed->owner = NULL;
	feed_wake(feed);
	feed_unref(feed);
}

bool feed_is_full(struct feed *feed)
{
	return pass_is_full(feed->pass) ||
	       (feed->full_bytes != 0 && feed->deliveries.bytes >= feed->full_bytes);
}

void feed_attach(struct feed *feed, struct feed_reader *reader, uint64_t next)
{
	assert(reader->feed == NULL);
	reader->feed = feed_ref(feed);
	reader->next = next;
	TAILQ_INSERT_TAIL(&feed->readers, reader, link);
	feed->reader_count++;
	feed_wake(feed);
}

void feed_detach(struct feed_reader *reader)
{
	struct feed *feed = reader->feed;
	if (feed == NULL)
		return;
	reader->feed = NULL;
	TAILQ_REMOVE(&feed->readers, reader, link);
	feed->reader_count--;
	feed_unref(feed);
}

bool feed_reader_is_lapped(const struct feed_reader *reader)
{
	return reader->next < reader->feed->deliveries.first;
}

const struct delivery *feed_reader_peek(const struct feed_reader *reader)
{
	const struct ring *ring = &reader->feed->deliveries;
	return reader->next < ring->end ? ring_at(ring, reader->next) : NULL;
}

void feed_reader_take(struct feed_reader *reader)
{
	struct feed *feed = reader->feed;
	reader->next++;
	if (feed->full_bytes == 0)
		return;
	bool was_full = feed->deliveries.bytes >= feed->full_bytes;
	ring_drop_before(&feed->deliveries, reader->next);
	if (was_full && feed->deliveries.bytes < feed->full_bytes)
		feed_wake(feed);
}
