#include "projection/secret_positions.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { NO_LIMIT = -1 };

struct reader {
	const char *p;
	bool any_case;
};

static void add_byte(uint64_t bytes[4], uint8_t byte)
{
	bytes[byte / 64] |= UINT64_C(1) << (byte % 64);
}

static bool is_letter(uint8_t byte)
{
	return (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
}

/* One byte, as it stands or behind a backslash; \xHH too. -1: nothing there. */
static int take_byte(struct reader *reader)
{
	if (*reader->p == '\0')
		return -1;
	if (*reader->p != '\\')
		return (uint8_t)*reader->p++;
	reader->p++;
	if (*reader->p != 'x')
		return *reader->p != '\0' ? (uint8_t)*reader->p++ : -1;
	if (strlen(reader->p) < 3)
		return -1;
	char digits[] = {reader->p[1], reader->p[2], '\0'};
	reader->p += 3;
	return (int)strtoul(digits, NULL, 16);
}

static int take_class(struct reader *reader, uint64_t bytes[4])
{
	bool inverted = *reader->p == '^';
	if (inverted)
		reader->p++;
	while (*reader->p != ']') {
		int first = take_byte(reader), last = first;
		if (first >= 0 && reader->p[0] == '-' && reader->p[1] != ']') {
			reader->p++;
			last = take_byte(reader);
		}
		if (first < 0 || last < first)
			return -EINVAL;
		for (int byte = first; byte <= last; byte++)
			add_byte(bytes, (uint8_t)byte);
	}
	reader->p++;
	for (size_t i = 0; inverted && i < 4; i++)
		bytes[i] = ~bytes[i];
	return 0;
}

/* {m,n}, {m,}, {m}, ? or nothing behind an item. */
static int take_count(struct reader *reader, long *min, long *max)
{
	*min = *max = 1;
	if (*reader->p == '?') {
		reader->p++;
		*min = 0;
		return 0;
	}
	if (*reader->p != '{')
		return 0;
	char *end;
	*min = *max = strtol(reader->p + 1, &end, 10);
	if (*end == ',') {
		reader->p = end;
		*max = strtol(reader->p + 1, &end, 10);
		if (end == reader->p + 1)
			*max = NO_LIMIT;
	}
	reader->p = end + 1;
	bool valid = *end == '}' && *min >= 0 && (*max == NO_LIMIT || (*max >= *min && *max > 0));
	return valid ? 0 : -EINVAL;
}

static int add_item(struct secret_positions *positions, const uint64_t bytes[4], long min, long max)
{
	long count = max != NO_LIMIT ? max : (min > 0 ? min : 1);
	if (positions->count + (size_t)count > POSITIONS_MAX)
		return -EINVAL;
	for (long i = 0; i < count; i++) {
		struct secret_position *position = &positions->position[positions->count++];
		memcpy(position->bytes, bytes, sizeof(position->bytes));
		position->optional = i >= min;
		position->loops = max == NO_LIMIT && i == count - 1;
	}
	return 0;
}

static int take_item(struct reader *reader, struct secret_positions *positions)
{
	uint64_t bytes[4] = {0};
	long min = 1, max = 1;
	int r = 0;
	if (*reader->p == '[') {
		reader->p++;
		r = take_class(reader, bytes);
	} else {
		int byte = take_byte(reader);
		if (byte < 0)
			return -EINVAL;
		add_byte(bytes, (uint8_t)byte);
	}
	for (int byte = 0; reader->any_case && byte < 256; byte++) {
		if (is_letter((uint8_t)byte) && secret_byte_in(bytes, (uint8_t)(byte ^ 0x20)))
			add_byte(bytes, (uint8_t)byte);
	}
	if (r == 0)
		r = take_count(reader, &min, &max);
	return r < 0 ? r : add_item(positions, bytes, min, max);
}

int secret_positions_read(struct secret_positions *positions, const char *text, bool any_case)
{
	struct reader reader = {.p = text, .any_case = any_case};
	memset(positions, 0, sizeof(*positions));
	while (*reader.p != '\0') {
		int r = 0;
		if (*reader.p == '(') {
			reader.p++;
			positions->group = positions->count;
		} else if (*reader.p == ')') {
			reader.p++;
			positions->group_end = positions->count;
		} else {
			r = take_item(&reader, positions);
		}
		if (r < 0)
			return r;
	}
	return 0;
}
