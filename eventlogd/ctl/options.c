#include "eventlogd/ctl/options.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct option_row help_row = {
	.name = "help", .letter = 'h', .type = OPTION_FLAG, .help = "Print this and exit."};

static const struct option_row *find_long(
	const struct option_row *rows, const char *name, size_t len)
{
	for (; rows->name != NULL; rows++) {
		if (strlen(rows->name) == len && memcmp(rows->name, name, len) == 0)
			return rows;
	}
	return strlen(help_row.name) == len && memcmp(help_row.name, name, len) == 0 ? &help_row
										     : NULL;
}

static const struct option_row *find_short(const struct option_row *rows, char letter)
{
	for (; rows->name != NULL; rows++) {
		if (rows->letter != 0 && rows->letter == letter)
			return rows;
	}
	return letter == help_row.letter ? &help_row : NULL;
}

static bool parse_count(const char *text, uint64_t *out)
{
	if (text[0] < '0' || text[0] > '9')
		return false; /* strtoull would take a sign or white space */
	char *end;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (errno != 0 || *end != '\0')
		return false;
	*out = value;
	return true;
}

static bool is_choice(const struct option_row *row, const char *value)
{
	for (const char *const *choice = row->choices; *choice != NULL; choice++) {
		if (strcmp(*choice, value) == 0)
			return true;
	}
	return false;
}

static bool set_value(
	const struct option_row *row, void *target, const char *who, const char *value)
{
	void *member = (char *)target + row->offset;
	switch (row->type) {
	case OPTION_FLAG:
		*(bool *)member = true;
		return true;
	case OPTION_TEXT:
		*(const char **)member = value;
		return true;
	case OPTION_LIST: {
		struct option_list *list = member;
		if (list->count == OPTION_LIST_MAX) {
			fprintf(stderr, "%s: --%s is given more than %d times\n", who, row->name,
				OPTION_LIST_MAX);
			return false;
		}
		list->item[list->count++] = value;
		return true;
	}
	case OPTION_COUNT: {
		struct option_count *count = member;
		if (!parse_count(value, &count->value)) {
			fprintf(stderr, "%s: --%s must be a number\n", who, row->name);
			return false;
		}
		count->given = true;
		return true;
	}
	case OPTION_CHOICE:
		if (!is_choice(row, value)) {
			fprintf(stderr, "%s: --%s must be one of:", who, row->name);
			for (const char *const *c = row->choices; *c != NULL; c++)
				fprintf(stderr, " %s", *c);
			fputc('\n', stderr);
			return false;
		}
		*(const char **)member = value;
		return true;
	}
	return false;
}

/* One option at argv[*at]; moves *at to the last word that it took. */
static enum options_result parse_one(const struct option_row *rows, void *target, const char *who,
	int argc, char **argv, int *at)
{
	const char *word = argv[*at], *value = NULL;
	const struct option_row *row;
	if (word[1] == '-') {
		size_t len = strcspn(word + 2, "=");
		row = find_long(rows, word + 2, len);
		if (word[2 + len] == '=')
			value = word + 2 + len + 1;
	} else {
		row = find_short(rows, word[1]);
		if (word[2] != '\0')
			value = word + 2;
	}
	if (row == NULL) {
		fprintf(stderr, "%s: unknown option %s (try --help)\n", who, word);
		return OPTIONS_WRONG;
	}
	if (row == &help_row)
		return OPTIONS_HELP;
	if (row->type == OPTION_FLAG) {
		if (value != NULL) {
			fprintf(stderr, "%s: --%s takes no value\n", who, row->name);
			return OPTIONS_WRONG;
		}
	} else if (value == NULL) {
		if (*at + 1 == argc) {
			fprintf(stderr, "%s: --%s needs a value\n", who, row->name);
			return OPTIONS_WRONG;
		}
		value = argv[++*at];
	}
	return set_value(row, target, who, value) ? OPTIONS_OK : OPTIONS_WRONG;
}

enum options_result options_parse(const struct option_row *rows, void *target, const char *who,
	int argc, char **argv, int *argument_count)
{
	int arguments = 0;
	bool only_arguments = false;
	for (int at = 1; at < argc; at++) {
		char *word = argv[at];
		if (only_arguments || word[0] != '-' || word[1] == '\0') {
			argv[arguments++] = word;
		} else if (strcmp(word, "--") == 0) {
			only_arguments = true;
		} else {
			enum options_result r = parse_one(rows, target, who, argc, argv, &at);
			if (r != OPTIONS_OK)
				return r;
		}
	}
	*argument_count = arguments;
	return OPTIONS_OK;
}

static void print_row(const struct option_row *row)
{
	enum { HELP_COLUMN = 26 };
	char head[80];
	int n = snprintf(head, sizeof(head), "  %c%c%s--%s%s%s", row->letter != 0 ? '-' : ' ',
		row->letter != 0 ? row->letter : ' ', row->letter != 0 ? ", " : "  ", row->name,
		row->argument != NULL ? " " : "", row->argument != NULL ? row->argument : "");
	if (n >= HELP_COLUMN)
		printf("%s\n%*s", head, HELP_COLUMN, "");
	else
		printf("%-*s", HELP_COLUMN, head);
	for (const char *p = row->help; *p != '\0'; p++) {
		putchar(*p);
		if (*p == '\n')
			printf("%*s", HELP_COLUMN, "");
	}
	putchar('\n');
}

void options_print_help(const struct option_row *rows)
{
	for (; rows->name != NULL; rows++)
		print_row(rows);
	print_row(&help_row);
}

bool option_list_admits(const struct option_list *list, const char *text)
{
	for (size_t i = 0; i < list->count; i++) {
		if (strcmp(list->item[i], text) == 0)
			return true;
	}
	return list->count == 0;
}
