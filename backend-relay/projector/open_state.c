#include "backend-relay/projector/open_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void open_state_close(struct open_state *state)
{
	state->is_open = false;
	state->count = 0;
}

void open_state_free(struct open_state *state)
{
	free(state->marks);
	*state = (struct open_state){0};
}

static void forget_every_other(struct open_state *state)
{
	for (size_t i = 0; i < OPEN_STATE_MARKS_MAX / 2; i++)
		state->marks[i] = state->marks[2 * i];
	state->count = OPEN_STATE_MARKS_MAX / 2;
}

/* The last mark that is not after `since` becomes the first. */
static void drop_older_than(struct open_state *state, uint64_t since)
{
	size_t oldest = 0;
	while (oldest + 1 < state->count && state->marks[oldest + 1].ticket <= since)
		oldest++;
	state->count -= oldest;
	memmove(state->marks, state->marks + oldest, state->count * sizeof(*state->marks));
}

int open_state_update(
	struct open_state *state, uint64_t ticket, const struct cursor *before, uint64_t since)
{
	if (since > ticket)
		return OPEN_STATE_IMPOSSIBLE;
	if (state->marks == NULL)
		state->marks = calloc(OPEN_STATE_MARKS_MAX, sizeof(*state->marks));
	if (state->marks == NULL)
		return -ENOMEM;
	if (state->count == OPEN_STATE_MARKS_MAX)
		forget_every_other(state);
	state->marks[state->count++] = (struct open_state_mark){ticket, *before};
	drop_older_than(state, since);
	state->is_open = true;
	state->from = state->marks[0].before;
	return OPEN_STATE_OK;
}
