#include "backend-relay/catch_up.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static void catch_up_on_source_connected(struct source *source)
{
	struct catch_up *catch_up = source_owner(source);
	catch_up->trouble = DIAGNOSTIC_COUNT;
	catch_up->is_connected = true;
	feed_wake(catch_up->feed);
}

static bool submit(struct catch_up *catch_up, const struct source_item *item, bool warm)
{
	if (pass_submit(catch_up->feed->pass, item, warm) < 0) {
		catch_up->refusal = DIAGNOSTIC_BACKEND_UPSTREAM_DISCONNECT;
		feed_wake(catch_up->feed);
		return false;
	}
	if (feed_is_full(catch_up->feed))
		source_pause(catch_up->source);
	return true;
}

/* What the client has already only rebuilds state; that something of it is missing does too. */
static void feed_warm(struct catch_up *catch_up, const struct source_item *item)
{
	const struct cursor *at = &catch_up->start.at;
	struct source_item warm = *item;
	bool is_fed = item->kind == SOURCE_EVENT
			      ? item->slot.position.sequence <= at->sequence
			      : item->kind == SOURCE_GAP && item->from.sequence <= at->sequence;
	if (catch_up->warm_is_over)
		return;
	if (warm.slot.position.sequence > at->sequence)
		warm.slot.position = *at;
	if (is_fed && !submit(catch_up, &warm, true))
		return;
	if (item->slot.position.sequence < at->sequence && item->kind != SOURCE_CAUGHT_UP)
		return;
	catch_up->warm_is_over = true;
	feed_wake(catch_up->feed);
}

static void catch_up_on_source_item(struct source *source, const struct source_item *item)
{
	struct catch_up *catch_up = source_owner(source);
	if (catch_up->is_warming) {
		feed_warm(catch_up, item);
		return;
	}
	struct source_item submitted = *item;
	if (catch_up->has_start && item->slot.position.sequence <= catch_up->start.at.sequence) {
		if (item->kind != SOURCE_CAUGHT_UP)
			return;
		/* Nothing has come since: the client stands where it stood. */
		submitted.slot.position = catch_up->start.at;
	}
	if (!submit(catch_up, &submitted, false))
		return;
	catch_up->submitted = submitted.slot.position;
	catch_up->has_submitted = true;
	catch_up->has_caught_up |= item->kind == SOURCE_CAUGHT_UP;
}

static void catch_up_on_source_trouble(struct source *source, enum diagnostic diagnostic)
{
	struct catch_up *catch_up = source_owner(source);
	catch_up->trouble = diagnostic;
	feed_wake(catch_up->feed);
}

static void catch_up_on_source_refused(struct source *source, enum diagnostic diagnostic)
{
	struct catch_up *catch_up = source_owner(source);
	catch_up->refusal = diagnostic;
	feed_wake(catch_up->feed);
}

static const struct source_handler source_handler = {catch_up_on_source_connected,
	catch_up_on_source_item, catch_up_on_source_trouble, catch_up_on_source_refused};

static int open_source(struct catch_up *catch_up, const struct cursor *from)
{
	return source_open(&catch_up->source, catch_up->sources, catch_up->runtime,
		catch_up->worker_id.text, from != NULL ? SOURCE_FROM_CURSOR : SOURCE_FROM_KEYFRAME,
		from, &source_handler, catch_up);
}

static void end_warming(struct catch_up *catch_up)
{
	catch_up->is_warming = false;
	source_close(catch_up->source);
	catch_up->source = NULL;
	if (open_source(catch_up, &catch_up->start.at) < 0)
		catch_up->refusal = DIAGNOSTIC_BACKEND_UPSTREAM_DISCONNECT;
}

static void catch_up_on_feed_wake(struct feed *feed)
{
	struct catch_up *catch_up = feed->owner;
	if (catch_up->is_warming && catch_up->warm_is_over)
		end_warming(catch_up);
	if (catch_up->source != NULL && !feed_is_full(feed))
		source_resume(catch_up->source);
}

int catch_up_open(struct catch_up **out, struct projector *projector, struct streams *streams,
	const struct runtime *runtime, const char *worker_id, const char *role,
	const struct client_position *start, size_t full_bytes)
{
	struct catch_up *catch_up = calloc(1, sizeof(*catch_up));
	if (catch_up == NULL)
		return -ENOMEM;
	catch_up->trouble = catch_up->refusal = DIAGNOSTIC_COUNT;
	catch_up->sources = streams->sources;
	catch_up->runtime = runtime;
	id_set(&catch_up->worker_id, worker_id, strlen(worker_id));
	if (start != NULL) {
		catch_up->has_start = true;
		catch_up->start = *start;
	}
	int r = feed_open(&catch_up->feed, projector, streams->wakeups, role, runtime->id.text,
		worker_id, full_bytes, catch_up_on_feed_wake, catch_up);
	if (r < 0) {
		free(catch_up);
		return r;
	}
	if (start != NULL)
		pass_set_start(catch_up->feed->pass, &start->warm_from);
	*out = catch_up;
	return 0;
}

void catch_up_close(struct catch_up *catch_up)
{
	if (catch_up == NULL)
		return;
	source_close(catch_up->source);
	if (catch_up->feed != NULL)
		feed_abandon(catch_up->feed);
	free(catch_up);
}

int catch_up_begin(struct catch_up *catch_up)
{
	const struct client_position *start = &catch_up->start;
	catch_up->is_warming = catch_up->has_start &&
			       start->warm_from.sequence < start->at.sequence;
	int r = open_source(catch_up, catch_up->has_start ? &start->warm_from : NULL);
	catch_up->has_begun = r == 0;
	return r;
}

bool catch_up_has_begun(const struct catch_up *catch_up)
{
	return catch_up->has_begun;
}

bool catch_up_hand_over(struct catch_up *catch_up, struct view *view)
{
	if (!catch_up->has_submitted || !catch_up->has_caught_up ||
		!view_adopt_feed(view, catch_up->feed, &catch_up->submitted))
		return false;
	catch_up->feed = NULL;
	return true;
}
