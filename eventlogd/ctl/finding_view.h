/*
 * Finding view: what recovery and verification found, on stderr or as JSON on stdout.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "eventlogd/log/finding.h"

struct progress;

struct finding_view {
	const char *who;
	enum finding_severity least; /* less severe ones are not shown */
	bool json;                   /* one object a line on stdout instead */
	struct progress *progress;   /* cleared before a line; may be NULL */
};

/* A finding_sink's report. */
void finding_view_report(void *owner, const struct finding *finding);
