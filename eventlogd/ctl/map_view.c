#include "eventlogd/ctl/map_view.h"

#include <errno.h>
#include <inttypes.h>
#include <stdint.h>

#include "eventlogd/ctl/gist.h"
#include "proto/json.h"

enum { VALUE_COLUMNS = 200, DEPTH_MAX = 8 };

static int append_json(struct buf *out, const msgpack_object *value, unsigned int depth);

static int append_json_items(struct buf *out, const msgpack_object_array *array, unsigned int depth)
{
	int r = buf_append_str(out, "[");
	for (uint32_t i = 0; r == 0 && i < array->size; i++) {
		if (i > 0)
			r = buf_append_str(out, ",");
		if (r == 0)
			r = append_json(out, &array->ptr[i], depth);
	}
	return r == 0 ? buf_append_str(out, "]") : r;
}

static int append_json_pairs(struct buf *out, const msgpack_object_map *map, unsigned int depth)
{
	int r = buf_append_str(out, "{");
	for (uint32_t i = 0; r == 0 && i < map->size; i++) {
		const msgpack_object *key = &map->ptr[i].key;
		if (key->type != MSGPACK_OBJECT_STR)
			return -EINVAL;
		if (i > 0)
			r = buf_append_str(out, ",");
		if (r == 0)
			r = json_append_quoted(out, key->via.str.ptr, key->via.str.size);
		if (r == 0)
			r = buf_append_str(out, ":");
		if (r == 0)
			r = append_json(out, &map->ptr[i].val, depth);
	}
	return r == 0 ? buf_append_str(out, "}") : r;
}

static int append_json(struct buf *out, const msgpack_object *value, unsigned int depth)
{
	if (depth == 0)
		return -EINVAL;
	switch (value->type) {
	case MSGPACK_OBJECT_NIL:
		return buf_append_str(out, "null");
	case MSGPACK_OBJECT_BOOLEAN:
		return buf_append_str(out, value->via.boolean ? "true" : "false");
	case MSGPACK_OBJECT_POSITIVE_INTEGER:
		return buf_printf(out, "%" PRIu64, value->via.u64);
	case MSGPACK_OBJECT_NEGATIVE_INTEGER:
		return buf_printf(out, "%" PRId64, value->via.i64);
	case MSGPACK_OBJECT_STR:
		return json_append_quoted(out, value->via.str.ptr, value->via.str.size);
	case MSGPACK_OBJECT_ARRAY:
		return append_json_items(out, &value->via.array, depth - 1);
	case MSGPACK_OBJECT_MAP:
		return append_json_pairs(out, &value->via.map, depth - 1);
	default:
		return -EINVAL;
	}
}

int map_view_json(struct buf *out, const msgpack_object *value)
{
	return append_json(out, value, DEPTH_MAX);
}

static int append_name(struct buf *out, const msgpack_object *key, const char *indent)
{
	size_t columns = 0;
	int r = buf_append_str(out, indent);
	if (r == 0)
		r = terminal_append(
			out, key->via.str.ptr, key->via.str.size, VALUE_COLUMNS, &columns);
	return r == 0 ? buf_append_str(out, ":") : r;
}

static int append_lines(struct buf *out, const msgpack_object *map, const char *indent)
{
	int r = 0;
	for (uint32_t i = 0; r == 0 && i < map->via.map.size; i++) {
		const msgpack_object_kv *pair = &map->via.map.ptr[i];
		if (pair->key.type != MSGPACK_OBJECT_STR)
			return -EINVAL;
		r = append_name(out, &pair->key, indent);
		if (r == 0 && pair->val.type == MSGPACK_OBJECT_MAP && indent[0] == '\0') {
			r = buf_append_str(out, "\n");
			if (r == 0)
				r = append_lines(out, &pair->val, "  ");
			continue;
		}
		if (r == 0)
			r = buf_append_str(out, " ");
		if (r == 0 && pair->val.type == MSGPACK_OBJECT_STR)
			r = terminal_append(out, pair->val.via.str.ptr, pair->val.via.str.size,
				VALUE_COLUMNS, NULL);
		else if (r == 0)
			r = append_json(out, &pair->val, DEPTH_MAX);
		if (r == 0)
			r = buf_append_str(out, "\n");
	}
	return r;
}

int map_view_lines(struct buf *out, const msgpack_object *map)
{
	return map->type == MSGPACK_OBJECT_MAP ? append_lines(out, map, "") : -EINVAL;
}
