#include "backend-relay/course.h"

#include <errno.h>
#include <string.h>

static void leave_feed(struct course *course)
{
	feed_detach(&course->reader);
	catch_up_close(course->catch_up);
	course->catch_up = NULL;
}

void course_leave(struct course *course)
{
	leave_feed(course);
	view_leave(course->view);
	course->view = NULL;
}

int course_catch_up(struct course *course)
{
	const struct course_config *config = &course->config;
	leave_feed(course);
	course->has_seam = false;
	int r = catch_up_open(&course->catch_up, config->projector, config->streams,
		config->runtime, config->worker_id, config->role,
		course->has_position ? &course->position : NULL, config->catch_up_bytes);
	if (r < 0)
		return r;
	course->events_before = 0;
	feed_attach(course->catch_up->feed, &course->reader, 0);
	return 0;
}

/* ---- from the log to the live ring ---- */

static void join(struct course *course, struct feed *feed, uint64_t index)
{
	leave_feed(course);
	course->has_joined_with = course->position.at;
	const struct ring *ring = &feed->deliveries;
	const struct delivery *next = index < ring->end ? ring_at(ring, index) : NULL;
	course->events_before = next != NULL ? next->events_before : feed->events;
	feed_attach(feed, &course->reader, index);
}

static bool position_is_of_view(const struct course *course, const struct feed *feed)
{
	return memcmp(pass_view(feed->pass), course->position.view, VIEW_DIGEST_BYTES) == 0;
}

static struct feed *joinable_feed(const struct course *course)
{
	struct feed *feed = view_live_feed(course->view);
	return feed != NULL && course->has_position && position_is_of_view(course, feed) ? feed
											 : NULL;
}

enum course_result course_try_to_go_live(struct course *course)
{
	if (course->catch_up == NULL || course->view == NULL ||
		course->reader.feed->state != FEED_OPEN)
		return COURSE_OK;
	if (catch_up_hand_over(course->catch_up, course->view)) {
		catch_up_close(course->catch_up);
		course->catch_up = NULL;
		return COURSE_OK;
	}
	struct feed *feed = course->has_caught_up ? joinable_feed(course) : NULL;
	uint64_t index;
	if (feed == NULL ||
		ring_find_after(&feed->deliveries, &course->position.at, &index) != RING_FOUND)
		return COURSE_OK;
	join(course, feed, index);
	return COURSE_JOINED;
}

/*
 * A client whose cursor is exactly a position of the live ring needs no upstream of its own: the
 * cursor is ours and the place is there.
 */
static bool try_to_begin_live(struct course *course)
{
	struct feed *feed = joinable_feed(course);
	uint64_t index;
	if (feed == NULL || !ring_find_exactly(&feed->deliveries, &course->position.at, &index))
		return false;
	course->has_seam = !course->has_caught_up;
	course->seam = feed->deliveries.end;
	join(course, feed, index);
	return true;
}

bool course_is_to_begin(const struct course *course)
{
	return course->catch_up != NULL && !catch_up_has_begun(course->catch_up);
}

int course_begin(struct course *course)
{
	if (course->has_position && !position_is_of_view(course, course->reader.feed))
		return COURSE_POLICY_CHANGED;
	if (course->view == NULL)
		course->view = view_join(course->config.streams, course->config.runtime,
			course->config.worker_id, course->config.role);
	if (course->view == NULL)
		return -ENOMEM;
	return try_to_begin_live(course) ? COURSE_JOINED : catch_up_begin(course->catch_up);
}

void course_look_again(struct course *course)
{
	if (course->catch_up != NULL)
		feed_wake(course->catch_up->feed);
}

/* ---- its upstream ---- */

bool course_is_connected(const struct course *course)
{
	return course->catch_up == NULL || course->catch_up->is_connected;
}

enum diagnostic course_trouble(const struct course *course)
{
	return course->catch_up != NULL ? course->catch_up->trouble : view_trouble(course->view);
}

enum diagnostic course_refusal(const struct course *course)
{
	return course->catch_up != NULL ? course->catch_up->refusal : view_refusal(course->view);
}

/* ---- reading ---- */

uint64_t course_events_behind(const struct course *course)
{
	return course->reader.feed->events - course->events_before;
}

bool course_has_parted(const struct course *course, const struct delivery *delivery)
{
	return course_knows(course, delivery) &&
	       delivery->output.position.at.epoch > course->has_joined_with.epoch;
}

bool course_knows(const struct course *course, const struct delivery *delivery)
{
	return course->catch_up == NULL &&
	       delivery->output.position.at.sequence <= course->has_joined_with.sequence;
}

void course_take(struct course *course, const struct delivery *delivery)
{
	const struct pass_output *output = &delivery->output;
	course->events_before = delivery->events_before + (output->kind == PASS_EVENT);
	if (!course_knows(course, delivery)) {
		course->position = output->position;
		course->has_position = true;
	}
	feed_reader_take(&course->reader);
}

bool course_is_at_seam(const struct course *course)
{
	return course->has_seam && course->reader.next >= course->seam;
}

bool course_note_caught_up(struct course *course)
{
	if (course->has_caught_up || !course->has_position)
		return false;
	course->has_caught_up = true;
	course->has_seam = false;
	return true;
}
