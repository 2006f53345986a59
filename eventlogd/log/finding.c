#include "eventlogd/log/finding.h"

#include <assert.h>
#include <stddef.h>

#include "proto/base/attributes.h"

static const struct {
	const char *name;
	enum finding_severity severity;
} rows[] = {
	[FINDING_LOG_CREATED] = {"log created", FINDING_INFO},
	[FINDING_UNCLEAN_STOP] = {"unclean stop", FINDING_INFO},
	[FINDING_TEMPORARY_REMOVED] = {"temporary file removed", FINDING_INFO},
	[FINDING_SEGMENT_PRUNED] = {"segment pruned", FINDING_INFO},
	[FINDING_SEGMENT_COMPACTED] = {"segment compacted", FINDING_INFO},
	[FINDING_FOREIGN_FILE] = {"foreign file", FINDING_ATTENTION},
	[FINDING_OTHER_LOG] = {"segment of another log", FINDING_ATTENTION},
	[FINDING_NEWER_FORMAT] = {"segment of a newer format", FINDING_ATTENTION},
	[FINDING_FOOTER_DAMAGED] = {"footer damaged", FINDING_ATTENTION},
	[FINDING_TORN_TAIL] = {"torn tail", FINDING_ATTENTION},
	[FINDING_TABLE_LARGE] = {"worker table too large for segment_bytes", FINDING_ATTENTION},
	[FINDING_HEADER_DAMAGED] = {"header damaged", FINDING_DAMAGE},
	[FINDING_DAMAGED] = {"records damaged", FINDING_DAMAGE},
	[FINDING_LOST] = {"records lost", FINDING_DAMAGE},
	[FINDING_READ_ERROR] = {"read error", FINDING_DAMAGE},
	[FINDING_INDEX_WRONG] = {"index wrong", FINDING_DAMAGE},
	[FINDING_DIGEST_WRONG] = {"digest wrong", FINDING_DAMAGE},
};

const char *finding_name(enum finding_kind kind)
{
	assert((unsigned int)kind < ARRAY_SIZE(rows));
	return rows[kind].name;
}

enum finding_severity finding_severity(enum finding_kind kind)
{
	assert((unsigned int)kind < ARRAY_SIZE(rows));
	return rows[kind].severity;
}

void finding_report(const struct finding_sink *sink, const struct finding *finding)
{
	if (sink != NULL && sink->report != NULL)
		sink->report(sink->owner, finding);
}
