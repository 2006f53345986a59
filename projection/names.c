#include "projection/names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { FIRST_SLOTS = 64 };

static uint64_t load(const uint8_t *p, size_t width)
{
	uint64_t value = 0;
	memcpy(&value, p, width);
	return value;
}

/* Length, beginning and end; enough to tell apart what people call members. */
static size_t hash_of(const uint8_t *text, size_t len)
{
	uint64_t first, last;
	if (len >= 8) {
		first = load(text, 8);
		last = load(text + len - 8, 8);
	} else if (len >= 4) {
		first = load(text, 4);
		last = load(text + len - 4, 4);
	} else {
		first = load(text, len);
		last = 0;
	}
	uint64_t mixed = (first ^ last << 27 ^ last >> 37 ^ len) * UINT64_C(0x9e3779b97f4a7c15);
	return (size_t)(mixed >> 32);
}

static void put_in_slot(struct names *names, uint16_t number)
{
	size_t mask = names->slot_count - 1;
	size_t i = hash_of((const uint8_t *)names->text[number], names->len[number]) & mask;
	while (names->slot[i] != 0)
		i = (i + 1) & mask;
	names->slot[i] = number;
}

/* At most a quarter of the slots is taken. */
static int grow_slots(struct names *names)
{
	size_t wanted = names->slot_count != 0 ? names->slot_count : FIRST_SLOTS;
	while (wanted < 4 * (names->count + 1))
		wanted *= 2;
	if (wanted == names->slot_count)
		return 0;
	uint16_t *slot = calloc(wanted, sizeof(*slot));
	if (slot == NULL)
		return -ENOMEM;
	free(names->slot);
	names->slot = slot;
	names->slot_count = wanted;
	for (size_t i = 1; i < names->count; i++)
		put_in_slot(names, (uint16_t)i);
	return 0;
}

static int grow_lists(struct names *names)
{
	if (names->count < names->allocated)
		return 0;
	size_t wanted = names->allocated != 0 ? names->allocated * 2 : 32;
	char **text = realloc(names->text, wanted * sizeof(*text));
	if (text == NULL)
		return -ENOMEM;
	names->text = text;
	size_t *len = realloc(names->len, wanted * sizeof(*len));
	if (len == NULL)
		return -ENOMEM;
	names->len = len;
	names->allocated = wanted;
	return 0;
}

int names_add(struct names *names, const char *text, uint16_t *number)
{
	size_t len = strlen(text);
	*number = names_find(names, (const uint8_t *)text, len);
	if (*number != NAME_UNKNOWN)
		return 0;
	if (names->count > NAMES_MAX)
		return -E2BIG;
	int r = grow_lists(names);
	if (r == 0)
		r = grow_slots(names);
	if (r < 0)
		return r;
	char *copy = strdup(text);
	if (copy == NULL)
		return -ENOMEM;
	*number = (uint16_t)names->count;
	names->text[names->count] = copy;
	names->len[names->count] = len;
	names->count++;
	if (len > names->longest)
		names->longest = len;
	put_in_slot(names, *number);
	return 0;
}

int names_init(struct names *names)
{
	static const char *const fixed[] = {"event", "data", "type"};
	*names = (struct names){0};
	int r = grow_lists(names);
	if (r < 0)
		return r;
	names->text[NAME_UNKNOWN] = NULL;
	names->len[NAME_UNKNOWN] = 0;
	names->count = 1;
	for (size_t i = 0; i < ARRAY_SIZE(fixed) && r == 0; i++) {
		uint16_t number;
		r = names_add(names, fixed[i], &number);
	}
	if (r < 0)
		names_free(names);
	return r;
}

void names_free(struct names *names)
{
	for (size_t i = 1; i < names->count; i++)
		free(names->text[i]);
	free(names->text);
	free(names->len);
	free(names->slot);
	*names = (struct names){0};
}

uint16_t names_find(const struct names *names, const uint8_t *text, size_t len)
{
	if (len > names->longest || names->slot_count == 0)
		return NAME_UNKNOWN;
	size_t mask = names->slot_count - 1;
	for (size_t i = hash_of(text, len) & mask; names->slot[i] != 0; i = (i + 1) & mask) {
		uint16_t number = names->slot[i];
		if (names->len[number] == len && memcmp(names->text[number], text, len) == 0)
			return number;
	}
	return NAME_UNKNOWN;
}
