/*
 * Output: the frames of one session in the form that its peer asked for.
 *
 * Items are added to a run of frames (ws_frames.h) that is then sent as one. Trouble is sticky and
 * told by output_take().
 */
#pragma once

#include <stdbool.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"
#include "proto/record.h"
#include "proto/runtime_batch.h"
#include "proto/ws/ws_frames.h"

enum output_form {
	OUTPUT_PLAIN, /* no subprotocol: JSON, events and diagnostics only */
	OUTPUT_V1,    /* sightline.v1: JSON, all kinds */
	OUTPUT_BATCH, /* sightline.v1.msgpack: binary batches */
};

struct output {
	enum output_form form;
	struct ws_frames *frames; /* NULL: nothing yet */
	struct buf *scratch; /* the head of an event, or the batch; empty after output_take() */
	struct runtime_batch_writer batch;
	bool batch_is_open;
	int error;
};

/* `scratch` may be shared: it is used only from the first item up to output_take(). */
void output_init(struct output *output, enum output_form form, struct buf *scratch);
void output_free(struct output *output);

/* A verified record of the log whose cursors begin with `log`. */
void output_add_event(struct output *output, uint32_t log, const struct record *record);
void output_add_diagnostic(struct output *output, enum diagnostic diagnostic,
	const struct diagnostic_details *details);
/* These three are left out in the plain form. */
void output_add_hello(struct output *output, const struct hello *hello);
void output_add_caught_up(struct output *output, const struct cursor *cursor);
void output_add_bookmark(struct output *output, const struct cursor *cursor);

/* Takes the run; NULL when nothing was added. 0 or -ENOMEM (what was added is dropped). */
_must_check_ int output_take(struct output *output, struct ws_frames **frames);
