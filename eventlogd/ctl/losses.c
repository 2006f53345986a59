#include "eventlogd/ctl/losses.h"

#include <string.h>

#include "proto/ids.h"

enum { PAGE_WORKERS = 256 };

void losses_take(struct losses *losses, struct log_view *view, const struct option_list *workers)
{
	struct log_worker page[PAGE_WORKERS];
	struct log_ends ends;
	struct id last = {0};
	size_t count;
	log_view_ends(view, &ends);
	*losses = (struct losses){.sum = ends.forgotten_through};
	do {
		count = log_view_workers(view, last.text[0] != '\0' ? last.text : NULL,
			strlen(last.text), page, PAGE_WORKERS);
		for (size_t i = 0; i < count; i++) {
			if (!option_list_admits(workers, page[i].id))
				continue;
			losses->sum += page[i].highest_pruned;
			if (page[i].highest_pruned > losses->highest_pruned)
				losses->highest_pruned = page[i].highest_pruned;
		}
		if (count > 0)
			id_set(&last, page[count - 1].id, strlen(page[count - 1].id));
	} while (count == PAGE_WORKERS);
}
