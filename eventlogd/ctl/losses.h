/*
 * What has been pruned of some workers, to tell whether more has been since a directory was looked
 * at.
 */
#pragma once

#include <stdint.h>

#include "eventlogd/ctl/options.h"
#include "eventlogd/log/view.h"

struct losses {
	uint64_t sum; /* differs when anything more has been pruned */
	uint64_t highest_pruned;
};

/* Of these workers; of all when the list is empty. */
void losses_take(struct losses *losses, struct log_view *view, const struct option_list *workers);
