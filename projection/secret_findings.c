#include "projection/secret_findings.h"

#include <errno.h>
#include <stdlib.h>

void secret_findings_reset(struct secret_findings *findings, size_t keep)
{
	if (findings->span_allocated > keep || findings->run_allocated > keep)
		secret_findings_free(findings);
	findings->span_count = findings->run_count = 0;
}

void secret_findings_free(struct secret_findings *findings)
{
	free(findings->span);
	free(findings->run);
	*findings = (struct secret_findings){0};
}

static int make_room(void **items, size_t count, size_t *allocated, size_t item_bytes)
{
	if (count < *allocated)
		return 0;
	size_t wanted = *allocated != 0 ? 2 * *allocated : 16;
	void *grown = realloc(*items, wanted * item_bytes);
	if (grown == NULL)
		return -ENOMEM;
	*items = grown;
	*allocated = wanted;
	return 0;
}

/* Runs come nearly in the order of their spans, so few have to make room. */
int secret_findings_add(struct secret_findings *findings, const struct secret_span *span)
{
	const struct secret_span *newest = findings->span_count != 0
						   ? &findings->span[findings->span_count - 1]
						   : NULL;
	if (span->end <= span->start ||
		(newest != NULL && span->start >= newest->start && span->end <= newest->end))
		return 0;
	int r = make_room((void **)&findings->span, findings->span_count, &findings->span_allocated,
		sizeof(*span));
	if (r < 0)
		return r;
	size_t at = findings->span_count++;
	for (; at > 0 && findings->span[at - 1].start > span->start; at--)
		findings->span[at] = findings->span[at - 1];
	findings->span[at] = *span;
	return 0;
}

static bool replaces_its_like(struct secret_findings *findings, const struct secret_run *run)
{
	enum { LOOK_BACK = 64 };
	for (size_t i = 0; i < findings->run_count && i < LOOK_BACK; i++) {
		struct secret_run *other = &findings->run[findings->run_count - 1 - i];
		if (other->machine != run->machine || other->state != run->state ||
			other->accepted != run->accepted)
			continue;
		if (run->run < other->run)
			*other = *run;
		return true;
	}
	return false;
}

int secret_findings_add_run(struct secret_findings *findings, const struct secret_run *run)
{
	if (replaces_its_like(findings, run))
		return 0;
	int r = make_room((void **)&findings->run, findings->run_count, &findings->run_allocated,
		sizeof(*run));
	if (r == 0)
		findings->run[findings->run_count++] = *run;
	return r;
}
