#include "eventlogd/ctl/positions.h"

#include "proto/message.h"

static bool read_cursor(const msgpack_object *map, const char *key, struct cursor *out)
{
	const char *text;
	size_t len;
	const msgpack_object *value = field_map_get(map, key);
	return value != NULL && field_text(value, &text, &len, CURSOR_TEXT_BYTES) &&
	       cursor_parse(text, len, out);
}

static bool read_epoch(const msgpack_object *value, uint16_t *out)
{
	uint64_t epoch;
	if (value == NULL || !field_u64(value, &epoch) || epoch > UINT16_MAX)
		return false;
	*out = (uint16_t)epoch;
	return true;
}

static bool read_epochs(const msgpack_object *map, struct positions *positions)
{
	const msgpack_object *epochs = field_map_get(map, "epochs"), *rows, *row;
	uint32_t count, members;
	if (epochs == NULL || !field_array(epochs, &rows, &count) || count > POSITIONS_EPOCHS_MAX)
		return false;
	for (uint32_t i = 0; i < count; i++) {
		if (!field_array(&rows[i], &row, &members) || members != 2 ||
			!read_epoch(&row[0], &positions->epochs[i].epoch) ||
			!field_u64(&row[1], &positions->epochs[i].first_seq))
			return false;
	}
	positions->epoch_count = count;
	return true;
}

bool positions_read(struct positions *positions, const msgpack_object *map)
{
	*positions = (struct positions){0};
	return read_cursor(map, "oldest_cursor", &positions->oldest) &&
	       read_cursor(map, "newest_cursor", &positions->newest) &&
	       read_epoch(field_map_get(map, "epoch"), &positions->epoch) &&
	       read_epochs(map, positions);
}

bool positions_cursor(const struct positions *positions, uint64_t sequence, struct cursor *out)
{
	struct cursor cursor = {positions->newest.log, positions->epoch, sequence};
	uint32_t i = 0;
	if (sequence == positions->newest.sequence) {
		cursor = positions->newest;
	} else if (sequence == positions->oldest.sequence) {
		cursor = positions->oldest;
	} else if (sequence < positions->newest.sequence) {
		while (i < positions->epoch_count && positions->epochs[i].first_seq > sequence)
			i++;
		if (i == positions->epoch_count)
			return false;
		cursor.epoch = positions->epochs[i].epoch;
	}
	*out = cursor;
	return true;
}
