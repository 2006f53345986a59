/*
 * What a search for secrets found in a text: the secrets, and the runs of machines that the end of
 * the text cut off.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

struct secret_span {
	size_t run;        /* where the pattern begins */
	size_t start, end; /* the secret */
};

/* A run that the end of the text cuts off. */
struct secret_run {
	uint16_t machine, state;
	bool accepted;
	bool inside;  /* the secret has begun, at `start` */
	size_t run;   /* where the pattern begins */
	size_t start; /* where the secret begins */
};

/* Its allocations are used again. Zero-initialise it. */
struct secret_findings {
	struct secret_span *span; /* by start */
	size_t span_count, span_allocated;
	struct secret_run *run;
	size_t run_count, run_allocated;
};

void secret_findings_reset(struct secret_findings *findings, size_t keep);
void secret_findings_free(struct secret_findings *findings);

/* Adds a span, unless it is empty or inside the one before. 0 or -ENOMEM. */
_must_check_ int secret_findings_add(
	struct secret_findings *findings, const struct secret_span *span);

/*
 * Adds a run, unless there is one that will do the same from here on: of those the one that began
 * first stays. 0 or -ENOMEM.
 */
_must_check_ int secret_findings_add_run(
	struct secret_findings *findings, const struct secret_run *run);
