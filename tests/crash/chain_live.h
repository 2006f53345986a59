/* One life of a log: publishing, ticks, stops, and a schedule of its two threads. */
#pragma once

#include "tests/crash/chain.h"

/* On chain->disk, with a configuration of its own, to the moment when the power goes. */
void chain_live(struct chain *chain);
