#include "eventlogd/ctl/publish_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "proto/json.h"

static bool is_blank(const struct line *line)
{
	for (size_t i = 0; i < line->len; i++) {
		if (memchr(" \t\r", line->bytes[i], 3) == NULL)
			return false;
	}
	return !line->too_long;
}

int plain_line_read(_unused_ void *owner, const struct line *line, uint64_t max_event_bytes,
	struct publish_line *out)
{
	*out = (struct publish_line){0};
	if (is_blank(line))
		return PUBLISH_LINE_EVENT;
	if (line->too_long || line->len > max_event_bytes) {
		out->code = "event_too_large";
		snprintf(out->reason, sizeof(out->reason), "more than %" PRIu64 " bytes",
			max_event_bytes);
		return PUBLISH_LINE_REFUSED;
	}
	struct json_event_info info;
	int r = json_check_event(line->bytes, line->len, &info);
	if (r != JSON_OK) {
		out->code = r == JSON_NOT_OBJECT ? "not_an_object" : "invalid_json";
		snprintf(out->reason, sizeof(out->reason), "%s at byte %zu", info.error.reason,
			info.error.offset + 1);
		return PUBLISH_LINE_REFUSED;
	}
	out->payload = line->bytes;
	out->payload_len = line->len;
	return PUBLISH_LINE_EVENT;
}
