/*
 * One pattern as a machine that takes a byte at a time and never goes back: a table of states,
 * made from the pattern's text by following all ways through it at once.
 *
 * A run begins at one place of a text. It is pending, then accepted (a secret, which may go on),
 * then over. Once accepted, every byte that it takes belongs to the secret.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "projection/secret_pattern.h"
#include "proto/base/attributes.h"

enum {
	MACHINE_OVER = 0, /* the state of a run that has ended */
	MACHINE_START = 1,
	MACHINE_STATES_MAX = 4096,
	MACHINE_ANCHOR_POSITIONS = 4,
};

struct machine_state {
	bool accepted;
	bool inside; /* a byte of the secret has been taken, or the next one will be */
	bool last;   /* nothing can follow */
};

struct secret_machine {
	const struct secret_pattern *pattern;
	uint8_t class_of[256];
	uint16_t class_count, state_count;
	uint16_t *next; /* [state_count][class_count] */
	struct machine_state *state;
	uint8_t behind; /* bytes at the end of a match that are not the secret */

	/* The bytes that can stand at the four positions of the anchor. */
	uint8_t anchor;
	uint64_t anchor_bytes[MACHINE_ANCHOR_POSITIONS][4];
};

/* 0, -ENOMEM, or -EINVAL: the pattern is none, or breaks a rule of secret_pattern.h. */
_must_check_ int secret_machine_init(
	struct secret_machine *machine, const struct secret_pattern *pattern);
void secret_machine_free(struct secret_machine *machine);

static inline uint16_t secret_machine_step(
	const struct secret_machine *machine, uint16_t state, uint8_t byte)
{
	return machine->next[(size_t)state * machine->class_count + machine->class_of[byte]];
}

/* How many bytes of text[at, len) leave the state as it is. */
size_t secret_machine_stay(
	const struct secret_machine *machine, uint16_t state, const uint8_t *text, size_t len);
