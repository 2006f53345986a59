/*
 * A progress line on stderr: share done, counts, rate, time left. Only when stderr is a terminal.
 *
 * Whoever prints something else on the terminal calls progress_clear() first.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool is_shown;
	bool is_drawn;
	const char *what;     /* "events" */
	uint64_t total_bytes; /* 0: unknown */
	uint64_t started_ns;
	uint64_t drawn_ns;
};

void progress_init(struct progress *progress, const char *what, uint64_t total_bytes,
	bool is_wanted, uint64_t now_ns);
/* Draws at most every 200 ms. */
void progress_update(
	struct progress *progress, uint64_t done_bytes, uint64_t count, uint64_t now_ns);
void progress_clear(struct progress *progress);

/* The text of the line, without control characters. Pure. */
void progress_format(const struct progress *progress, uint64_t done_bytes, uint64_t count,
	uint64_t now_ns, char *out, unsigned int out_size);
