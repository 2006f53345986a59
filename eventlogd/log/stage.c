#include "eventlogd/log/stage.h"

#include <assert.h>
#include <stdlib.h>

/* Kept for the next turn when the stage runs empty. */
#define STAGE_KEEP_BYTES ((size_t)4 << 20)

void stage_init(struct stage *stage)
{
	*stage = (struct stage){0};
	buf_init(&stage->records, 0);
}

void stage_free(struct stage *stage)
{
	buf_free(&stage->records);
	free(stage->batches);
	stage_init(stage);
}

static bool grow_ring(struct stage *stage)
{
	size_t wanted = stage->allocated == 0 ? 64 : stage->allocated * 2;
	struct staged_batch *grown = malloc(wanted * sizeof(*grown));
	if (grown == NULL)
		return false;
	for (size_t i = 0; i < stage->count; i++)
		grown[i] = *stage_peek(stage, i);
	free(stage->batches);
	stage->batches = grown;
	stage->allocated = wanted;
	stage->first = 0;
	return true;
}

uint8_t *stage_reserve(struct stage *stage, size_t bytes)
{
	if (stage->count == stage->allocated && !grow_ring(stage))
		return NULL;
	if (stage->start > stage_bytes(stage)) {
		buf_consume(&stage->records, stage->start);
		stage->start = 0;
	}
	/* A batch of nothing but duplicates needs no room; an empty buffer must not look like none.
	 */
	if (buf_reserve(&stage->records, bytes > 0 ? bytes : 1) != 0)
		return NULL;
	return stage->records.data + stage->records.len;
}

void stage_push(struct stage *stage, const struct staged_batch *batch)
{
	assert(stage->count < stage->allocated);
	stage->batches[(stage->first + stage->count) % stage->allocated] = *batch;
	stage->count++;
	stage->records.len += batch->bytes;
}

size_t stage_bytes(const struct stage *stage)
{
	return stage->records.len - stage->start;
}

struct staged_batch *stage_peek(struct stage *stage, size_t skip)
{
	assert(skip < stage->count);
	return &stage->batches[(stage->first + skip) % stage->allocated];
}

uint8_t *stage_data(struct stage *stage)
{
	return stage->records.data + stage->start;
}

void stage_pop(struct stage *stage)
{
	stage->start += stage_peek(stage, 0)->bytes;
	stage->first = (stage->first + 1) % stage->allocated;
	stage->count--;
	if (stage->count == 0) {
		assert(stage_bytes(stage) == 0);
		stage->start = 0;
		buf_reset(&stage->records, STAGE_KEEP_BYTES);
	}
}
