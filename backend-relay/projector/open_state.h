/*
 * Open state: from where on events would have to be fed to projection again, to rebuild what it
 * knows behind the last answer of a pass.
 *
 * Projection names the oldest ticket that its state depends on; this remembers where the tickets
 * since then begin. It remembers OPEN_STATE_MARKS_MAX places; beyond that every other one is
 * forgotten, and an older place than needed is given, which is right too and only longer.
 *
 * Pure. Zero-initialise; open_state_free() leaves it empty.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"
#include "proto/cursor.h"

enum { OPEN_STATE_MARKS_MAX = 1024 };

struct open_state_mark {
	uint64_t ticket;
	struct cursor before; /* what had been read before it */
};

struct open_state {
	bool is_open;
	struct cursor from; /* feed what comes after this; valid while open */

	/* private */
	struct open_state_mark *marks; /* since the oldest ticket that is needed */
	size_t count;
};

/* The answer for some ticket said that nothing before it is needed any more. */
void open_state_close(struct open_state *state);

enum open_state_result {
	OPEN_STATE_OK = 0,
	OPEN_STATE_IMPOSSIBLE = 1, /* `since` is after `ticket` */
};

/*
 * The answer for `ticket`, which began at `before`: the state depends on everything from the ticket
 * `since` on. Tickets rise from call to call. enum open_state_result, or -ENOMEM.
 */
_must_check_ int open_state_update(
	struct open_state *state, uint64_t ticket, const struct cursor *before, uint64_t since);
void open_state_free(struct open_state *state);
