#include "backend-relay/upstream/source_item.h"

#include <stdlib.h>
#include <string.h>

struct source_event *source_event_new(const struct runtime_event *from)
{
	struct source_event *event = malloc(sizeof(*event) + from->payload_len);
	if (event == NULL)
		return NULL;
	*event = (struct source_event){.refs = 1,
		.position = from->cursor,
		.ts_ms = from->ts_ms,
		.has_source_ts = from->has_source_ts,
		.source_ts_ms = from->source_ts_ms,
		.len = from->payload_len};
	memcpy(event->payload, from->payload, from->payload_len);
	return event;
}

struct source_event *source_event_ref(struct source_event *event)
{
	event->refs++;
	return event;
}

void source_event_unref(struct source_event *event)
{
	if (event != NULL && --event->refs == 0)
		free(event);
}

void source_item_release(void *item)
{
	source_event_unref(((struct source_item *)item)->event);
}

struct source_item source_item_copy(const struct source_item *item)
{
	struct source_item copy = *item;
	if (copy.event != NULL)
		source_event_ref(copy.event);
	return copy;
}
