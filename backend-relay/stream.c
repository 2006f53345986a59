#include "backend-relay/stream.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RECENT_ELEMENTS_MAX = 16384 };

struct stream_name {
	struct id runtime_id, worker_id; /* zeroed behind their NULs: hashed whole */
};

struct stream {
	struct streams *streams;
	const struct runtime *runtime;
	struct stream_name name;

	struct source *source;
	enum diagnostic trouble, refusal; /* DIAGNOSTIC_COUNT: none */
	bool has_floor;
	struct ring recent; /* struct source_item */
	struct wakeup wakeup;
	TAILQ_HEAD(, view) views;
	UT_hash_handle hh;
};

/* ---- views ---- */

static void view_lose_feed(struct view *view)
{
	if (view->feed == NULL)
		return;
	view->stream->streams->feeds_lost++;
	feed_abandon(view->feed);
	view->feed = NULL;
}

/*
 * Submits what the pass has room for. False when the stream has lapped the view, or has lost what
 * the view has had: its clients go back to the log, and hear there whether they can go on.
 */
static bool view_fill(struct view *view)
{
	struct ring *recent = &view->stream->recent;
	if (view->next < recent->first)
		return false;
	while (view->next < recent->end && !feed_is_full(view->feed)) {
		const struct source_item *item = ring_at(recent, view->next);
		const struct cursor *position = &item->slot.position;
		/* A catch-up may have been ahead of the live upstream, in the same history. */
		bool is_had = position->sequence <= view->has.sequence;
		if (is_had && position->epoch > view->has.epoch)
			return false;
		if (!is_had && pass_submit(view->feed->pass, item, false) < 0)
			return false;
		view->next++;
	}
	return true;
}

static bool view_is_behind(const struct view *view)
{
	const struct ring *recent = &view->stream->recent;
	if (view->feed == NULL || view->next >= recent->end || pass_is_held(view->feed->pass))
		return false;
	/* Elements stand for bytes: exact enough, and no sum has to be kept for each view. */
	uint64_t waiting = recent->end - view->next, all = recent->end - recent->first;
	bool nearly_full = recent->bytes > recent->max_bytes / 2 || all > RECENT_ELEMENTS_MAX / 2;
	return nearly_full && waiting > all / 2;
}

static void stream_regulate(struct stream *stream)
{
	struct view *view;
	bool behind = false;
	TAILQ_FOREACH(view, &stream->views, link)
	behind |= view_is_behind(view);
	if (stream->source == NULL)
		return;
	if (behind)
		source_pause(stream->source);
	else
		source_resume(stream->source);
}

static void view_on_feed_wake(struct feed *feed)
{
	struct view *view = feed->owner;
	if (feed->state != FEED_OPEN || !view_fill(view))
		view_lose_feed(view);
	stream_regulate(view->stream);
}

/* Whether its live upstream is there. */
static bool view_is_connected(const struct view *view)
{
	return view->stream->source != NULL && source_is_connected(view->stream->source);
}

enum diagnostic view_trouble(const struct view *view)
{
	return view->stream->trouble;
}

enum diagnostic view_refusal(const struct view *view)
{
	return view->stream->refusal;
}

struct feed *view_live_feed(const struct view *view)
{
	bool live = view->feed != NULL && view->feed->state == FEED_OPEN &&
		    !view->feed->is_troubled && view_is_connected(view);
	return live ? view->feed : NULL;
}

bool view_adopt_feed(struct view *view, struct feed *feed, const struct cursor *submitted)
{
	struct stream *stream = view->stream;
	if (view->feed != NULL || !stream->has_floor || !view_is_connected(view) ||
		feed->state != FEED_OPEN ||
		ring_find_after(&stream->recent, submitted, &view->next) != RING_FOUND)
		return false;
	stream->streams->adoptions++;
	view->feed = feed;
	view->has = *submitted;
	feed_share(feed, stream->streams->view_bytes, view_on_feed_wake, view);
	return true;
}

/* What comes next is behind `floor`, and something before that is missing: no feed goes on. */
static void stream_leave_out(struct stream *stream, const struct cursor *floor)
{
	struct view *view;
	TAILQ_FOREACH(view, &stream->views, link)
	view_lose_feed(view);
	ring_restart(&stream->recent, floor);
}

/* ---- the live upstream ---- */

static void stream_on_source_connected(struct source *source)
{
	struct stream *stream = source_owner(source);
	stream->trouble = DIAGNOSTIC_COUNT;
	wakeup_schedule(&stream->wakeup);
}

static void stream_on_source_item(struct source *source, const struct source_item *item)
{
	struct stream *stream = source_owner(source);
	if (!stream->has_floor) {
		struct cursor floor = item->slot.position;
		if (item->kind == SOURCE_EVENT && floor.sequence > 0)
			floor.sequence--;
		ring_restart(&stream->recent, &floor);
		stream->has_floor = true;
	}
	if (item->kind == SOURCE_CAUGHT_UP)
		return; /* of the upstream, not of any client */
	struct source_item copy = source_item_copy(item);
	if (ring_push(&stream->recent, &copy) < 0) {
		/* What can't be kept must not become a gap: begin again behind it. */
		source_item_release(&copy);
		stream_leave_out(stream, &item->slot.position);
	}
	wakeup_schedule(&stream->wakeup);
}

static void stream_on_source_trouble(struct source *source, enum diagnostic diagnostic)
{
	struct stream *stream = source_owner(source);
	stream->trouble = diagnostic;
	wakeup_schedule(&stream->wakeup);
}

static void stream_on_source_refused(struct source *source, enum diagnostic diagnostic)
{
	struct stream *stream = source_owner(source);
	stream->refusal = diagnostic;
	wakeup_schedule(&stream->wakeup);
}

static const struct source_handler source_handler = {stream_on_source_connected,
	stream_on_source_item, stream_on_source_trouble, stream_on_source_refused};

static int stream_connect(struct stream *stream)
{
	stream->has_floor = false;
	stream->trouble = stream->refusal = DIAGNOSTIC_COUNT;
	return source_open(&stream->source, stream->streams->sources, stream->runtime,
		stream->name.worker_id.text, SOURCE_FROM_NEWEST, NULL, &source_handler, stream);
}

/*
 * The runtime does not go on from where the live upstream stood. Start again from the newest, with
 * what is in between left out: no feed may go on over that. Each client goes back to the log from
 * its own position and hears there whether that is still good.
 */
static void stream_restart(struct stream *stream)
{
	stream_leave_out(stream, &(struct cursor){0});
	source_close(stream->source);
	stream->source = NULL;
	if (stream_connect(stream) < 0)
		stream->refusal = DIAGNOSTIC_BACKEND_UPSTREAM_DISCONNECT;
}

static void stream_run(struct wakeup *wakeup)
{
	struct stream *stream = wakeup->owner;
	if (stream->source != NULL && (stream->refusal == DIAGNOSTIC_BACKEND_CURSOR_UNKNOWN ||
					      stream->refusal == DIAGNOSTIC_BACKEND_CURSOR_EXPIRED))
		stream_restart(stream);
	struct view *view;
	TAILQ_FOREACH(view, &stream->views, link)
	{
		if (view->feed != NULL)
			feed_wake(view->feed);
	}
}

/* ---- finding and ending ---- */

static void name_set(struct stream_name *name, const char *runtime_id, const char *worker_id)
{
	*name = (struct stream_name){0};
	bool valid = id_set(&name->runtime_id, runtime_id, strlen(runtime_id)) &&
		     id_set(&name->worker_id, worker_id, strlen(worker_id));
	assert(valid);
	(void)valid;
}

static struct stream *stream_open(
	struct streams *streams, const struct runtime *runtime, const struct stream_name *name)
{
	struct stream *stream = calloc(1, sizeof(*stream));
	if (stream == NULL)
		return NULL;
	stream->streams = streams;
	stream->runtime = runtime;
	stream->name = *name;
	TAILQ_INIT(&stream->views);
	ring_init(&stream->recent, sizeof(struct source_item), RECENT_ELEMENTS_MAX,
		streams->recent_bytes, source_item_release);
	wakeup_init(&stream->wakeup, streams->wakeups, stream_run, stream);
	HASH_ADD(hh, streams->by_name, name, sizeof(stream->name), stream);
	if (!map_has_handle(stream) || stream_connect(stream) < 0) {
		if (map_has_handle(stream))
			HASH_DEL(streams->by_name, stream);
		free(stream);
		return NULL;
	}
	streams->count++;
	return stream;
}

static void stream_close(struct stream *stream)
{
	assert(TAILQ_EMPTY(&stream->views));
	HASH_DEL(stream->streams->by_name, stream);
	stream->streams->count--;
	wakeup_cancel(&stream->wakeup);
	source_close(stream->source);
	ring_free(&stream->recent);
	free(stream);
}

static struct view *stream_add_view(struct stream *stream, const char *role)
{
	struct view *view;
	TAILQ_FOREACH(view, &stream->views, link)
	{
		if (strcmp(view->role.text, role) == 0)
			return view;
	}
	view = calloc(1, sizeof(*view));
	if (view == NULL)
		return NULL;
	view->stream = stream;
	id_set(&view->role, role, strlen(role));
	TAILQ_INSERT_TAIL(&stream->views, view, link);
	return view;
}

struct view *view_join(struct streams *streams, const struct runtime *runtime,
	const char *worker_id, const char *role)
{
	struct stream_name name;
	name_set(&name, runtime->id.text, worker_id);
	struct stream *stream;
	HASH_FIND(hh, streams->by_name, &name, sizeof(name), stream);
	if (stream == NULL)
		stream = stream_open(streams, runtime, &name);
	if (stream == NULL)
		return NULL;
	struct view *view = stream_add_view(stream, role);
	if (view != NULL)
		view->users++;
	else if (TAILQ_EMPTY(&stream->views))
		stream_close(stream);
	/* A runtime that said no is asked again when somebody new comes. */
	if (view != NULL && stream->refusal != DIAGNOSTIC_COUNT && !stream->wakeup.scheduled)
		stream_restart(stream);
	return view;
}

void view_leave(struct view *view)
{
	if (view == NULL || --view->users > 0)
		return;
	struct stream *stream = view->stream;
	if (view->feed != NULL)
		feed_abandon(view->feed);
	TAILQ_REMOVE(&stream->views, view, link);
	free(view);
	if (TAILQ_EMPTY(&stream->views))
		stream_close(stream);
}
