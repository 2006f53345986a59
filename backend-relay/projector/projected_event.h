/*
 * An event that projection has answered for, framed for clients.
 *
 * This type is the promise "no byte of a payload reaches a client that projection has not answered
 * for" in a form that the compiler checks: it is made in one place only, from a verdict (pass.c,
 * where the constructor is private), and it is the only thing with a payload that can be queued for
 * a client (client.c). Nothing converts a struct source_event into it.
 *
 * One of them serves all clients of a view: many references, one frame.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct projected_event;
struct ws_frames;

struct projected_event *projected_event_ref(struct projected_event *event);
void projected_event_unref(struct projected_event *event); /* accepts NULL */

/* The WebSocket frame with the envelope, borrowed. */
struct ws_frames *projected_event_frames(const struct projected_event *event);
size_t projected_event_bytes(const struct projected_event *event);
/* Whether the payload is another than the one that was published. */
bool projected_event_is_redacted(const struct projected_event *event);
