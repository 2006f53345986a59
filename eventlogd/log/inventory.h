/*
 * Inventory: which files of a directory are segments of one log.
 *
 * Everything else is reported and left alone: other names, links, directories, FIFOs, segments of
 * another log or of a newer format. With segments of several logs, the one that most of them belong
 * to is ours.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "eventlogd/log/catalog.h"
#include "eventlogd/log/finding.h"
#include "proto/base/attributes.h"

struct inventory {
	bool has_spare;       /* SEGMENT_SPARE_NAME lies around */
	bool has_compact;     /* SEGMENT_COMPACT_NAME does */
	bool newest_is_newer; /* the newest segment is of a newer format */
	/* Behind the newest segment lies a file by the name of one without anything of ours in it:
	 * not taken for one, but what it was can't be known. */
	bool has_stranger_ahead;
};

/*
 * Puts the segments into an empty catalog, and its log id and epochs with them. 0, -ENOTUNIQ,
 * -EBADMSG (no segment tells the log's id), or another -errno; each with a finding for the file.
 */
_must_check_ int inventory_take(
	struct log_view *view, const struct finding_sink *findings, struct inventory *out);
