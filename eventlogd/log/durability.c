#include "eventlogd/log/durability.h"

#include <stddef.h>

const char *const durability_names[] = {
	[DURABILITY_INTERVAL] = "interval",
	[DURABILITY_DURABLE] = "durable",
	[DURABILITY_OS] = "os",
	NULL,
};

const char *durability_name(enum durability durability)
{
	return durability_names[durability];
}
