/*
 * The options of one verb as a table: name, type, where the value goes, and the line of help.
 *
 * The parser, --help and the test that holds the man page to both read the same table. Options may
 * stand before and after arguments; "--" ends them. Every verb has --help without naming it.
 *
 * Results: OPTIONS_OK, OPTIONS_HELP (asked for), OPTIONS_WRONG (told on stderr already; exit 2).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

enum option_type {
	OPTION_FLAG,   /* bool: true when given */
	OPTION_TEXT,   /* const char *: borrowed from argv */
	OPTION_LIST,   /* struct option_list: may be given more than once */
	OPTION_COUNT,  /* struct option_count: a decimal number */
	OPTION_CHOICE, /* const char *: one of `choices` */
};

enum { OPTION_LIST_MAX = 64 };

struct option_list {
	const char *item[OPTION_LIST_MAX];
	size_t count;
};
/* Whether a text is in it; an empty list admits every one. */
bool option_list_admits(const struct option_list *list, const char *text);

struct option_count {
	uint64_t value;
	bool given;
};

struct option_row {
	const char *name; /* without the dashes */
	char letter;      /* 0: no short form */
	enum option_type type;
	size_t offset;        /* of the member in the verb's struct */
	const char *argument; /* how --help calls its value */
	const char *help;
	const char *const *choices; /* for OPTION_CHOICE, NULL-terminated */
};

enum options_result { OPTIONS_OK, OPTIONS_HELP, OPTIONS_WRONG };

/*
 * Reads argv[1…] by `rows`, which end with a NULL name. The other arguments are moved to
 * argv[0…*argument_count). `who` begins each complaint.
 */
_must_check_ enum options_result options_parse(const struct option_row *rows, void *target,
	const char *who, int argc, char **argv, int *argument_count);

/* Prints the rows for --help on stdout. */
void options_print_help(const struct option_row *rows);
