#include "eventlogd/ctl/finding_view.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "eventlogd/ctl/gist.h"
#include "eventlogd/ctl/progress.h"
#include "proto/json.h"

static const char *const severities[] = {
	[FINDING_INFO] = "info",
	[FINDING_ATTENTION] = "attention",
	[FINDING_DAMAGE] = "damage",
};

static int format_json(const struct finding *finding, struct buf *out)
{
	int r = buf_printf(out, "{\"finding\":\"%s\",\"severity\":\"%s\"",
		finding_name(finding->kind), severities[finding_severity(finding->kind)]);
	if (r == 0 && finding->file != NULL) {
		r = buf_append_str(out, ",\"segment\":");
		if (r == 0)
			r = json_append_quoted(out, finding->file, strlen(finding->file));
		if (r == 0)
			r = buf_printf(out, ",\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64,
				finding->offset, finding->bytes);
	}
	if (r == 0)
		r = buf_printf(out,
			",\"first_seq\":%" PRIu64 ",\"last_seq\":%" PRIu64 ",\"records\":%" PRIu64,
			finding->first, finding->last, finding->count);
	if (r == 0 && finding->error != 0)
		r = buf_printf(out, ",\"error\":\"%s\"", strerror(-finding->error));
	return r == 0 ? buf_append_str(out, "}\n") : r;
}

/* File names are whatever lies in the directory: escaped like payloads. */
static int format_text(
	const struct finding_view *view, const struct finding *finding, struct buf *out)
{
	int r = buf_printf(out, "%s: %s: %s", view->who,
		severities[finding_severity(finding->kind)], finding_name(finding->kind));
	if (r == 0 && finding->file != NULL) {
		r = buf_append_str(out, ": segment ");
		if (r == 0)
			r = terminal_append(out, finding->file, strlen(finding->file), 255, NULL);
		if (r == 0)
			r = buf_printf(out, " at offset %" PRIu64 ", %" PRIu64 " bytes",
				finding->offset, finding->bytes);
	}
	if (r == 0 && finding->last != 0)
		r = buf_printf(
			out, ", sequences %" PRIu64 " to %" PRIu64, finding->first, finding->last);
	if (r == 0 && finding->count != 0)
		r = buf_printf(out, ", %" PRIu64 " records", finding->count);
	if (r == 0 && finding->error != 0)
		r = buf_printf(out, ": %s", strerror(-finding->error));
	return r == 0 ? buf_append_str(out, "\n") : r;
}

void finding_view_report(void *owner, const struct finding *finding)
{
	const struct finding_view *view = owner;
	if (finding_severity(finding->kind) < view->least)
		return;
	_cleanup_buf_ struct buf line = {0};
	int r = view->json ? format_json(finding, &line) : format_text(view, finding, &line);
	if (r < 0)
		return; /* no memory for a line; the count in the result still tells */
	if (view->progress != NULL)
		progress_clear(view->progress);
	fwrite(line.data, 1, line.len, view->json ? stdout : stderr);
}
