#include "projection/secret_matcher.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "projection/secret_positions.h"
#include "proto/base/bytes.h"

enum {
	MACHINES_MAX = 64,
	WINDOW_BYTES = 3,
	FILTER_BITS = 15,
	ENTRY_SLOTS = 4096,
	/* More bytes than an end mark has: two machines that look for one agree after as many. */
	END_MARK_BYTES = 64,
};

/* Three bytes, folded, that stand `offset` behind the beginning of a machine's pattern. */
struct window {
	uint32_t bytes; /* 0: free slot; no window is three NULs */
	uint8_t machine, offset;
};

/* A stretch of the text that a machine has been through. */
struct stretch {
	uint64_t search; /* in which search; others mean nothing */
	uint16_t state, state_at_end;
	size_t from, to;
};

struct secret_matcher {
	struct secret_machine machine[MACHINES_MAX];
	size_t machine_count;
	uint64_t filter[(1u << FILTER_BITS) / 64]; /* hashes of windows */
	struct window window[ENTRY_SLOTS];
	uint64_t first_byte[256]; /* machines that can begin with it */
	size_t reach; /* bytes from a pattern's beginning to behind its anchor, at most */
	uint64_t searches;
	struct stretch loop[MACHINES_MAX], body[MACHINES_MAX];
};

/* ---- the table of windows ---- */

/* Letters of both cases become one; other bytes stay apart well enough. */
static inline uint8_t fold(uint8_t byte)
{
	return byte | 0x20;
}

static inline uint32_t hash_window(uint32_t bytes)
{
	return (bytes * UINT32_C(0x9e3779b1)) >> (32 - FILTER_BITS);
}

static int add_window(struct secret_matcher *matcher, uint32_t bytes, size_t machine, size_t offset)
{
	uint32_t hash = hash_window(bytes);
	matcher->filter[hash / 64] |= UINT64_C(1) << (hash % 64);
	for (size_t i = 0; i < ENTRY_SLOTS / 2; i++) {
		struct window *window = &matcher->window[(hash + i) % ENTRY_SLOTS];
		if (window->bytes == bytes && window->machine == machine &&
			window->offset == offset)
			return 0;
		if (window->bytes == 0) {
			*window = (struct window){bytes, (uint8_t)machine, (uint8_t)offset};
			return 0;
		}
	}
	return -EINVAL;
}

/* All windows that can stand at three positions of the anchor, from `position` on. */
static int add_windows(struct secret_matcher *matcher, size_t number, size_t position)
{
	const struct secret_machine *machine = &matcher->machine[number];
	uint8_t byte[WINDOW_BYTES][256];
	size_t count[WINDOW_BYTES] = {0};
	for (size_t i = 0; i < WINDOW_BYTES; i++) {
		bool seen[256] = {false};
		for (int b = 0; b < 256; b++) {
			uint8_t folded = fold((uint8_t)b);
			if (!secret_byte_in(machine->anchor_bytes[position + i], (uint8_t)b) ||
				seen[folded])
				continue;
			seen[folded] = true;
			byte[i][count[i]++] = folded;
		}
	}
	int r = 0;
	for (size_t i = 0; i < count[0]; i++) {
		for (size_t j = 0; j < count[1]; j++) {
			for (size_t k = 0; k < count[2] && r == 0; k++)
				r = add_window(matcher,
					byte[0][i] | (uint32_t)byte[1][j] << 8 |
						(uint32_t)byte[2][k] << 16,
					number, machine->anchor + position);
		}
	}
	return r;
}

static int add_machine(struct secret_matcher *matcher, const struct secret_pattern *pattern)
{
	size_t number = matcher->machine_count;
	if (number == MACHINES_MAX)
		return -EINVAL;
	struct secret_machine *machine = &matcher->machine[number];
	int r = secret_machine_init(machine, pattern);
	if (r < 0)
		return r;
	matcher->machine_count++;
	for (int b = 0; b < 256; b++) {
		if (secret_machine_step(machine, MACHINE_START, (uint8_t)b) != MACHINE_OVER)
			matcher->first_byte[b] |= UINT64_C(1) << number;
	}
	size_t reach = (size_t)machine->anchor + MACHINE_ANCHOR_POSITIONS;
	if (reach > matcher->reach)
		matcher->reach = reach;
	r = add_windows(matcher, number, 0);
	return r < 0 ? r : add_windows(matcher, number, 1);
}

int secret_matcher_new(struct secret_matcher **out, secret_sets sets)
{
	struct secret_matcher *matcher = calloc(1, sizeof(*matcher));
	if (matcher == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < secret_pattern_count; i++) {
		if ((sets >> secret_patterns[i].set & 1) == 0)
			continue;
		int r = add_machine(matcher, &secret_patterns[i]);
		if (r < 0) {
			secret_matcher_free(matcher);
			return r;
		}
	}
	*out = matcher;
	return 0;
}

void secret_matcher_free(struct secret_matcher *matcher)
{
	if (matcher == NULL)
		return;
	for (size_t i = 0; i < matcher->machine_count; i++)
		secret_machine_free(&matcher->machine[i]);
	free(matcher);
}

/* ---- a run ---- */

struct search {
	struct secret_matcher *matcher;
	secret_sets sets;
	const uint8_t *text;
	size_t len;
	bool goes_on;
	struct secret_findings *findings;
};

/* Where a stretch that leaves the state as it is ends, at or behind `at`. */
static size_t end_of_loop(struct search *search, size_t number, uint16_t state, size_t at)
{
	struct secret_matcher *matcher = search->matcher;
	struct stretch *loop = &matcher->loop[number];
	if (loop->search != matcher->searches || loop->state != state || at < loop->from ||
		at > loop->to)
		*loop = (struct stretch){.search = matcher->searches,
			.state = state,
			.from = at,
			.to = at + secret_machine_stay(&matcher->machine[number], state,
					   search->text + at, search->len - at)};
	return loop->to;
}

/*
 * Runs a machine from run->run on to where it is over, which is returned, or to the end of the
 * text.
 */
static size_t run_on(struct search *search, struct secret_run *run)
{
	struct secret_matcher *matcher = search->matcher;
	const struct secret_machine *machine = &matcher->machine[run->machine];
	bool has_end = machine->pattern->end != NULL;
	struct stretch *body = &matcher->body[run->machine];
	size_t at = run->run;
	while (at < search->len) {
		uint16_t next = secret_machine_step(machine, run->state, search->text[at]);
		if (next == MACHINE_OVER)
			break;
		if (!run->inside && machine->state[next].inside) {
			run->inside = true;
			run->start = has_end ? at + 1 : at;
		}
		if (next == run->state)
			at = end_of_loop(search, run->machine, next, at);
		else
			at++;
		run->state = next;
		run->accepted = run->accepted || machine->state[next].accepted ||
				at - run->run >= SECRET_PENDING_MAX;
		if (has_end && run->inside && at >= run->start + END_MARK_BYTES &&
			body->search == matcher->searches && at >= body->from + END_MARK_BYTES &&
			at <= body->to) {
			run->state = body->state_at_end;
			return body->to;
		}
	}
	if (has_end && run->inside)
		*body = (struct stretch){.search = matcher->searches,
			.state_at_end = run->state,
			.from = run->start,
			.to = at};
	return at;
}

static int try_run(struct search *search, size_t number, size_t begin)
{
	const struct secret_machine *machine = &search->matcher->machine[number];
	if ((search->sets >> machine->pattern->set & 1) == 0)
		return 0;
	struct secret_run run = {.machine = (uint16_t)number, .state = MACHINE_START, .run = begin};
	size_t end = run_on(search, &run);
	bool open = end == search->len && !machine->state[run.state].last;
	if (run.accepted) {
		size_t behind = machine->state[run.state].last ? machine->behind : 0;
		int r = secret_findings_add(
			search->findings, &(struct secret_span){begin, run.start, end - behind});
		if (r < 0)
			return r;
	}
	return open && search->goes_on ? secret_findings_add_run(search->findings, &run) : 0;
}

size_t secret_run_continue(const struct secret_matcher *matcher, struct secret_run *run,
	const uint8_t *text, size_t len)
{
	const struct secret_machine *machine = &matcher->machine[run->machine];
	for (size_t at = 0; at < len; at++) {
		uint16_t next = secret_machine_step(machine, run->state, text[at]);
		if (next == MACHINE_OVER)
			return at;
		run->state = next;
	}
	return len;
}

bool secret_run_is_over(const struct secret_matcher *matcher, const struct secret_run *run)
{
	return matcher->machine[run->machine].state[run->state].last;
}

/* ---- the search ---- */

/* Runs what has this window at this place. */
static int look_up(struct search *search, uint32_t bytes, size_t place)
{
	const struct secret_matcher *matcher = search->matcher;
	for (size_t slot = hash_window(bytes); matcher->window[slot % ENTRY_SLOTS].bytes != 0;
		slot++) {
		const struct window *window = &matcher->window[slot % ENTRY_SLOTS];
		if (window->bytes != bytes || window->offset > place)
			continue;
		int r = try_run(search, window->machine, place - window->offset);
		if (r < 0)
			return r;
	}
	return 0;
}

/* 1 or 0 */
static inline uint64_t passes_filter(const struct secret_matcher *matcher, uint32_t bytes)
{
	uint32_t hash = hash_window(bytes);
	return matcher->filter[hash / 64] >> (hash % 64) & 1;
}

/*
 * Looks at three bytes at every second place: of the two windows of an anchor one stands at such
 * a place.
 */
static int search_anchors(struct search *search)
{
	enum { STEP = 2, LOADED = 8, ADVANCE = 6 };
	const struct secret_matcher *matcher = search->matcher;
	const uint8_t *text = search->text;
	size_t at = 0;
	int r = 0;
	while (search->len - at >= LOADED && r == 0) {
		uint64_t word = get_le64(text + at);
		word |= UINT64_C(0x2020202020202020);
		uint32_t first = word & 0xffffff, second = word >> 16 & 0xffffff,
			 third = word >> 32 & 0xffffff;
		if ((passes_filter(matcher, first) | passes_filter(matcher, second) |
			    passes_filter(matcher, third)) != 0) {
			r = look_up(search, first, at);
			if (r == 0)
				r = look_up(search, second, at + STEP);
			if (r == 0)
				r = look_up(search, third, at + 2 * STEP);
		}
		at += ADVANCE;
	}
	for (; search->len - at >= WINDOW_BYTES && r == 0; at += STEP) {
		uint32_t bytes = fold(text[at]) | (uint32_t)fold(text[at + 1]) << 8 |
				 (uint32_t)fold(text[at + 2]) << 16;
		if (passes_filter(matcher, bytes) != 0)
			r = look_up(search, bytes, at);
		if (search->len - at < STEP)
			break;
	}
	return r;
}

/* Patterns whose anchor the end of the text cuts off. */
static int search_end(struct search *search)
{
	const struct secret_matcher *matcher = search->matcher;
	size_t begin = search->len > matcher->reach ? search->len - matcher->reach : 0;
	for (; begin < search->len; begin++) {
		uint64_t machines = matcher->first_byte[search->text[begin]];
		for (; machines != 0; machines &= machines - 1) {
			size_t number = (size_t)__builtin_ctzll(machines);
			size_t anchor = matcher->machine[number].anchor;
			if (begin + anchor + MACHINE_ANCHOR_POSITIONS <= search->len)
				continue;
			int r = try_run(search, number, begin);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int secret_search(struct secret_matcher *matcher, secret_sets sets, const uint8_t *text, size_t len,
	bool goes_on, struct secret_findings *findings)
{
	struct search search = {matcher, sets, text, len, goes_on, findings};
	matcher->searches++;
	findings->span_count = findings->run_count = 0;
	int r = search_anchors(&search);
	if (r == 0 && goes_on)
		r = search_end(&search);
	return r;
}
