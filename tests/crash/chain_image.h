/* Judging a disk as a power loss may leave it. */
#pragma once

#include "tests/crash/chain.h"

/* Recovers an image of the moment after `calls` calls, holds it against what had been promised
 * then, and often has the power go once more inside that recovery. */
void chain_check_image(struct chain *chain, struct disk_model *image, size_t calls);
