/*
 * Durability: what an acknowledgement promises, and so when the log is synced.
 */
#pragma once

enum durability {
	DURABILITY_INTERVAL, /* written; synced by time and bytes */
	DURABILITY_DURABLE,  /* synced */
	DURABILITY_OS,       /* written; synced when the kernel likes, and at a roll */
};

/* "interval", "durable", "os", as in the configuration; NULL behind the last. */
extern const char *const durability_names[];

const char *durability_name(enum durability durability);
