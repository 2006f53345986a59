/*
 * Finding secrets in a text.
 *
 * Every occurrence of every pattern counts, wherever it begins; a span is one secret from its first
 * to its last byte. Spans may overlap. Since nothing is asked of what stands before an occurrence,
 * what is found in a text does not depend on how much of it was seen earlier, only on what is
 * seen at once: a text that goes on tells which runs are still open at its end.
 *
 * A run that is still pending after SECRET_PENDING_MAX bytes counts as accepted from there on.
 *
 * Time is linear in the text: three bytes at every second place are looked up in a small table,
 * and machines run only from where an anchor may stand; the stretches in which a machine does not
 * change its state are remembered, so that runs that meet in one are walked once.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "projection/secret_findings.h"
#include "projection/secret_machine.h"
#include "projection/secret_pattern.h"
#include "proto/base/attributes.h"

enum { SECRET_PENDING_MAX = 4096 };

struct secret_matcher;

/* For these sets. 0 or -errno. */
_must_check_ int secret_matcher_new(struct secret_matcher **out, secret_sets sets);
void secret_matcher_free(struct secret_matcher *matcher); /* accepts NULL */

/*
 * Finds what of `sets` is in the text. When it `goes_on`, `findings` also has the open runs;
 * accepted ones have their span, up to the end, too. 0 or -ENOMEM.
 */
_must_check_ int secret_search(struct secret_matcher *matcher, secret_sets sets,
	const uint8_t *text, size_t len, bool goes_on, struct secret_findings *findings);

/*
 * Lets an accepted run, open at the end of one text, go on in the next: returns where it ends, or
 * len with its state changed.
 */
size_t secret_run_continue(const struct secret_matcher *matcher, struct secret_run *run,
	const uint8_t *text, size_t len);

/* Whether nothing can follow. */
bool secret_run_is_over(const struct secret_matcher *matcher, const struct secret_run *run);
