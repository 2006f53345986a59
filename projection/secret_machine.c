#include "projection/secret_machine.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "projection/secret_positions.h"

enum { SET_WORDS = 4, HASH_SLOTS = 2 * MACHINE_STATES_MAX };

/* The positions that can take the next byte, and whether the secret has begun. */
struct ways {
	uint64_t word[SET_WORDS];
	bool inside, in_tail; /* in_tail: looking for the end mark */
};

/* A machine while it is made. */
struct making {
	struct secret_machine *machine;
	struct secret_positions head, tail;
	struct ways *ways;         /* by state */
	uint16_t slot[HASH_SLOTS]; /* states, by the hash of their ways; 0: free */
	uint8_t sample[256];       /* by class: a byte of it */
	size_t allocated;
};

static void add_way(struct ways *ways, const struct secret_positions *positions, size_t position)
{
	/* Position `count` is the end of the pattern. */
	for (;; position++) {
		ways->word[position / 64] |= UINT64_C(1) << (position % 64);
		if (position == positions->count || !positions->position[position].optional)
			return;
	}
}

static bool has_way(const struct ways *ways, size_t position)
{
	return (ways->word[position / 64] >> (position % 64) & 1) != 0;
}

static bool is_empty(const struct ways *ways)
{
	uint64_t any = 0;
	for (size_t i = 0; i < SET_WORDS; i++)
		any |= ways->word[i];
	return any == 0;
}

/* Bytes that no position tells apart share a class. */
static void find_classes(struct making *making)
{
	struct secret_machine *machine = making->machine;
	const struct secret_positions *const both[] = {&making->head, &making->tail};
	for (int byte = 0; byte < 256; byte++) {
		uint16_t class = 0;
		for (; class < machine->class_count; class ++) {
			bool same = true;
			for (size_t i = 0; i < 2; i++) {
				for (size_t j = 0; j < both[i]->count && same; j++) {
					const uint64_t *bytes = both[i]->position[j].bytes;
					same = secret_byte_in(bytes, (uint8_t)byte) ==
					       secret_byte_in(bytes, making->sample[class]);
				}
			}
			if (same)
				break;
		}
		if (class == machine->class_count)
			making->sample[machine->class_count++] = (uint8_t)byte;
		machine->class_of[byte] = (uint8_t) class;
	}
}

static size_t hash_ways(const struct ways *ways)
{
	uint64_t hash = (uint64_t)ways->inside * 2 + (uint64_t)ways->in_tail;
	for (size_t i = 0; i < SET_WORDS; i++) {
		hash = (hash ^ ways->word[i]) * UINT64_C(0x9e3779b97f4a7c15);
		hash ^= hash >> 29;
	}
	return (size_t)(hash >> 32) % HASH_SLOTS;
}

static bool ways_equal(const struct ways *a, const struct ways *b)
{
	return memcmp(a->word, b->word, sizeof(a->word)) == 0 && a->inside == b->inside &&
	       a->in_tail == b->in_tail;
}

static int grow(struct making *making)
{
	struct secret_machine *machine = making->machine;
	if (machine->state_count < making->allocated)
		return 0;
	size_t wanted = making->allocated != 0 ? 2 * making->allocated : 64;
	if (wanted > MACHINE_STATES_MAX)
		return -EINVAL;
	struct ways *ways = realloc(making->ways, wanted * sizeof(*ways));
	if (ways != NULL)
		making->ways = ways;
	uint16_t *next = realloc(machine->next, wanted * machine->class_count * sizeof(*next));
	if (next != NULL)
		machine->next = next;
	struct machine_state *state = realloc(machine->state, wanted * sizeof(*state));
	if (state != NULL)
		machine->state = state;
	if (ways == NULL || next == NULL || state == NULL)
		return -ENOMEM;
	making->allocated = wanted;
	return 0;
}

static void describe_state(struct making *making, const struct ways *ways, uint16_t number)
{
	const struct secret_positions *head = &making->head;
	struct machine_state *state = &making->machine->state[number];
	struct ways others = *ways;
	others.word[head->count / 64] &= ~(UINT64_C(1) << (head->count % 64));
	*state = (struct machine_state){.inside = ways->inside};
	if (ways->in_tail) {
		state->accepted = true;
		state->last = has_way(ways, making->tail.count);
	} else if (has_way(ways, head->count)) {
		state->accepted = true;
		state->last = is_empty(&others);
	}
}

/* The state with these ways, made if there is none. 0 or -errno. */
static int find_state(struct making *making, const struct ways *ways, uint16_t *number)
{
	size_t slot = hash_ways(ways);
	for (; making->slot[slot] != 0; slot = (slot + 1) % HASH_SLOTS) {
		if (ways_equal(&making->ways[making->slot[slot]], ways)) {
			*number = making->slot[slot];
			return 0;
		}
	}
	int r = grow(making);
	if (r < 0)
		return r;
	*number = making->machine->state_count++;
	making->slot[slot] = *number;
	making->ways[*number] = *ways;
	describe_state(making, ways, *number);
	return 0;
}

/* Where a byte leads. Empty ways: over. */
static struct ways follow(const struct making *making, const struct ways *from, uint8_t byte)
{
	const struct secret_positions *positions = from->in_tail ? &making->tail : &making->head;
	struct ways to = {.inside = from->inside, .in_tail = from->in_tail};
	if (from->in_tail && has_way(from, positions->count))
		return to; /* the end mark is complete */
	for (size_t i = 0; i < positions->count; i++) {
		if (!has_way(from, i) || !secret_byte_in(positions->position[i].bytes, byte))
			continue;
		to.inside |= !from->in_tail && i >= making->head.group;
		add_way(&to, positions, i + 1);
		if (positions->position[i].loops)
			add_way(&to, positions, i);
	}
	if (from->in_tail)
		add_way(&to, positions, 0); /* the mark can begin anywhere */
	if (!from->in_tail && making->tail.count != 0 && has_way(&to, positions->count)) {
		to = (struct ways){.inside = true, .in_tail = true};
		add_way(&to, &making->tail, 0);
	}
	return to;
}

static int make_states(struct making *making)
{
	struct secret_machine *machine = making->machine;
	struct ways start = {0};
	uint16_t number;
	int r = grow(making);
	if (r < 0)
		return r;
	making->ways[MACHINE_OVER] = start;
	machine->state[MACHINE_OVER] = (struct machine_state){.last = true};
	memset(machine->next, 0, machine->class_count * sizeof(*machine->next));
	machine->state_count = 1;
	add_way(&start, &making->head, 0);
	r = find_state(making, &start, &number);
	for (uint16_t from = MACHINE_START; r == 0 && from < machine->state_count; from++) {
		for (uint16_t class = 0; r == 0 && class < machine->class_count; class ++) {
			struct ways to = follow(making, &making->ways[from], making->sample[class]);
			number = MACHINE_OVER;
			if (!is_empty(&to))
				r = find_state(making, &to, &number);
			machine->next[(size_t)from * machine->class_count + class] = number;
		}
	}
	return r;
}

/* The rules of secret_pattern.h. */
static bool is_sound(const struct making *making)
{
	const struct secret_machine *machine = making->machine;
	for (size_t i = 0; i < (size_t)machine->anchor + MACHINE_ANCHOR_POSITIONS; i++) {
		const struct secret_position *position = &making->head.position[i];
		bool last = i + 1 == (size_t)machine->anchor + MACHINE_ANCHOR_POSITIONS;
		if (i >= making->head.count || position->optional || (position->loops && !last))
			return false;
	}
	for (size_t from = MACHINE_START; from < machine->state_count; from++) {
		for (size_t class = 0; class < machine->class_count; class ++) {
			uint16_t to = machine->next[from * machine->class_count + class];
			if (machine->state[from].accepted && to != MACHINE_OVER &&
				!machine->state[to].accepted)
				return false;
		}
	}
	return true;
}

int secret_machine_init(struct secret_machine *machine, const struct secret_pattern *pattern)
{
	*machine = (struct secret_machine){.pattern = pattern, .anchor = pattern->anchor};
	struct making *making = calloc(1, sizeof(*making));
	if (making == NULL)
		return -ENOMEM;
	making->machine = machine;
	int r = secret_positions_read(&making->head, pattern->text, pattern->any_case);
	if (r == 0 && pattern->end != NULL)
		r = secret_positions_read(&making->tail, pattern->end, false);
	if (r == 0) {
		find_classes(making);
		machine->behind = (uint8_t)(making->head.count - making->head.group_end);
		for (size_t i = 0; i < MACHINE_ANCHOR_POSITIONS; i++)
			memcpy(machine->anchor_bytes[i],
				making->head.position[machine->anchor + i].bytes,
				sizeof(machine->anchor_bytes[i]));
		r = make_states(making);
	}
	if (r == 0 && !is_sound(making))
		r = -EINVAL;
	free(making->ways);
	free(making);
	if (r < 0)
		secret_machine_free(machine);
	return r;
}

void secret_machine_free(struct secret_machine *machine)
{
	free(machine->next);
	free(machine->state);
	*machine = (struct secret_machine){0};
}

size_t secret_machine_stay(
	const struct secret_machine *machine, uint16_t state, const uint8_t *text, size_t len)
{
	size_t at = 0;
	while (at < len && secret_machine_step(machine, state, text[at]) == state)
		at++;
	return at;
}
