#include "eventlogd/ctl/second_look.h"

#include <string.h>

int second_look_take(struct log_view *view, uint64_t position)
{
	struct log_ends before, after;
	struct cursor then, now;
	log_view_ends(view, &before);
	log_view_cursor(view, position, &then);
	int r = log_view_refresh(view);
	if (r < 0)
		return r;
	log_view_ends(view, &after);
	log_view_cursor(view, position, &now);
	if (memcmp(before.log_id, after.log_id, LOG_ID_BYTES) != 0)
		return SECOND_LOOK_OTHER_LOG;
	/* Before the first record is the same place in every epoch. */
	if (position > after.newest_seq || (position > 0 && now.epoch != then.epoch))
		return SECOND_LOOK_OTHER_PAST;
	return SECOND_LOOK_SAME;
}

const char *second_look_text(int answer)
{
	switch (answer) {
	case SECOND_LOOK_OTHER_LOG:
		return "another log has taken its place meanwhile";
	case SECOND_LOOK_OTHER_PAST:
		return "it has lost events meanwhile that were read already";
	default:
		return strerror(-answer);
	}
}
