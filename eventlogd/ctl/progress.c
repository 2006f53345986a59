#include "eventlogd/ctl/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "proto/base/clock.h"

enum { BAR_CELLS = 24, LINE_BYTES = 160 };
static const uint64_t REDRAW_NS = 200 * NS_PER_MS;

void progress_init(struct progress *progress, const char *what, uint64_t total_bytes,
	bool is_wanted, uint64_t now_ns)
{
	*progress = (struct progress){.is_shown = is_wanted && isatty(STDERR_FILENO) == 1,
		.what = what,
		.total_bytes = total_bytes,
		.started_ns = now_ns};
}

static void format_seconds(uint64_t seconds, char out[24])
{
	if (seconds >= 3600)
		snprintf(out, 24, "%" PRIu64 ":%02u:%02u", seconds / 3600,
			(unsigned int)(seconds / 60 % 60), (unsigned int)(seconds % 60));
	else
		snprintf(out, 24, "%u:%02u", (unsigned int)(seconds / 60),
			(unsigned int)(seconds % 60));
}

void progress_format(const struct progress *progress, uint64_t done_bytes, uint64_t count,
	uint64_t now_ns, char *out, unsigned int out_size)
{
	double elapsed_s = (double)(now_ns - progress->started_ns) / (double)NS_PER_S;
	double per_second = elapsed_s > 0 ? (double)count / elapsed_s : 0;
	if (progress->total_bytes == 0) {
		snprintf(
			out, out_size, "%" PRIu64 " %s  %.0f/s", count, progress->what, per_second);
		return;
	}
	double share = (double)done_bytes / (double)progress->total_bytes;
	if (share > 1)
		share = 1;
	char bar[BAR_CELLS + 1];
	for (int i = 0; i < BAR_CELLS; i++)
		bar[i] = (double)i < share * (double)BAR_CELLS ? '#' : '-';
	bar[BAR_CELLS] = '\0';
	char left[24] = "-:--";
	if (share > 0)
		format_seconds((uint64_t)(elapsed_s / share - elapsed_s + 0.5), left);
	snprintf(out, out_size, "[%s] %3.0f %%  %" PRIu64 " %s  %.0f/s  ETA %s", bar, share * 100,
		count, progress->what, per_second, left);
}

void progress_update(
	struct progress *progress, uint64_t done_bytes, uint64_t count, uint64_t now_ns)
{
	if (!progress->is_shown || now_ns - progress->drawn_ns < REDRAW_NS)
		return;
	char line[LINE_BYTES];
	progress_format(progress, done_bytes, count, now_ns, line, sizeof(line));
	fprintf(stderr, "\r%s\033[K", line);
	fflush(stderr);
	progress->drawn_ns = now_ns;
	progress->is_drawn = true;
}

void progress_clear(struct progress *progress)
{
	if (!progress->is_drawn)
		return;
	fputs("\r\033[K", stderr);
	fflush(stderr);
	progress->is_drawn = false;
}
