#include "proto/msgpack_check.h"

#include <assert.h>
#include <errno.h>
#include <stdbool.h>

enum { DEPTH_CAPACITY = 32 };

/* What one head byte announces: bytes to skip, and elements that follow (a map has two a pair). */
struct head {
	uint64_t skip_bytes;
	uint64_t elements;
	bool is_container;
};

struct cursor {
	const uint8_t *p, *end;
};

static bool take_be(struct cursor *at, unsigned int width, uint64_t *out)
{
	if ((size_t)(at->end - at->p) < width)
		return false;
	uint64_t value = 0;
	for (unsigned int i = 0; i < width; i++)
		value = value << 8 | *at->p++;
	*out = value;
	return true;
}

/* Bytes 0xc0 to 0xdf: what follows one of them. Zero: nothing of ours begins so. */
enum shape {
	SHAPE_REFUSED = 0, /* extensions, and the one reserved byte */
	SHAPE_FIXED,       /* so many bytes of a value */
	SHAPE_TEXT,        /* so many bytes of a length, and that many bytes */
	SHAPE_ARRAY,       /* so many bytes of a count, and that many elements */
	SHAPE_MAP,         /* the same, in pairs */
};

struct format {
	enum shape shape;
	uint8_t bytes;
};

static const struct format formats[] = {
	[0x00] = {SHAPE_FIXED, 0}, /* nil */
	[0x02] = {SHAPE_FIXED, 0}, /* false */
	[0x03] = {SHAPE_FIXED, 0}, /* true */
	[0x04] = {SHAPE_TEXT, 1},  /* bin 8, 16, 32 */
	[0x05] = {SHAPE_TEXT, 2},
	[0x06] = {SHAPE_TEXT, 4},
	[0x0a] = {SHAPE_FIXED, 4}, /* float 32, 64 */
	[0x0b] = {SHAPE_FIXED, 8},
	[0x0c] = {SHAPE_FIXED, 1}, /* uint 8, 16, 32, 64 */
	[0x0d] = {SHAPE_FIXED, 2},
	[0x0e] = {SHAPE_FIXED, 4},
	[0x0f] = {SHAPE_FIXED, 8},
	[0x10] = {SHAPE_FIXED, 1}, /* int 8, 16, 32, 64 */
	[0x11] = {SHAPE_FIXED, 2},
	[0x12] = {SHAPE_FIXED, 4},
	[0x13] = {SHAPE_FIXED, 8},
	[0x19] = {SHAPE_TEXT, 1}, /* str 8, 16, 32 */
	[0x1a] = {SHAPE_TEXT, 2},
	[0x1b] = {SHAPE_TEXT, 4},
	[0x1c] = {SHAPE_ARRAY, 2}, /* array 16, 32 */
	[0x1d] = {SHAPE_ARRAY, 4},
	[0x1e] = {SHAPE_MAP, 2}, /* map 16, 32 */
	[0x1f] = {SHAPE_MAP, 4},
};

static bool take_format(
	struct cursor *at, const struct format *format, struct head *head, const char **why)
{
	uint64_t size;
	switch (format->shape) {
	case SHAPE_FIXED:
		head->skip_bytes = format->bytes;
		return true;
	case SHAPE_REFUSED:
		*why = "msgpack extension or reserved type";
		return false;
	case SHAPE_TEXT:
	case SHAPE_ARRAY:
	case SHAPE_MAP:
		break;
	}
	*why = "msgpack ends within a length";
	if (!take_be(at, format->bytes, &size))
		return false;
	if (format->shape == SHAPE_TEXT)
		head->skip_bytes = size;
	else
		head->elements = format->shape == SHAPE_MAP ? 2 * size : size;
	head->is_container = format->shape != SHAPE_TEXT;
	return true;
}

static bool take_head(struct cursor *at, struct head *head, const char **why)
{
	*head = (struct head){0};
	*why = "msgpack ends early";
	if (at->p == at->end)
		return false;
	uint8_t byte = *at->p++;
	if (byte >= 0xc0 && byte <= 0xdf)
		return take_format(at, &formats[byte - 0xc0], head, why);
	if (byte >= 0x80 && byte <= 0x9f) { /* a small map, a small array */
		head->is_container = true;
		head->elements = (byte <= 0x8f ? 2u : 1u) * (byte & 0x0f);
	} else if (byte >= 0xa0 && byte <= 0xbf) {
		head->skip_bytes = byte & 0x1f; /* a short text */
	}
	return true; /* the others are small integers */
}

enum msgpack_check_result msgpack_check(const uint8_t *bytes, size_t len, unsigned int max_depth,
	size_t max_elements, const char **why)
{
	assert(max_depth <= DEPTH_CAPACITY);
	uint64_t open[DEPTH_CAPACITY]; /* elements still to come in each open container */
	unsigned int depth = 0;
	size_t elements = 0;
	struct cursor at = {bytes, bytes + len};
	do {
		struct head head;
		if (depth > 0)
			open[depth - 1]--;
		if (!take_head(&at, &head, why))
			return MSGPACK_CHECK_MALFORMED;
		uint64_t left = (uint64_t)(at.end - at.p);
		/* Each element takes at least one byte, so a count can't exceed what is left. */
		if (head.skip_bytes > left || head.elements > left) {
			*why = "msgpack announces more than there is";
			return MSGPACK_CHECK_MALFORMED;
		}
		elements += head.elements;
		if (elements > max_elements) {
			*why = "msgpack has too many elements";
			return MSGPACK_CHECK_MALFORMED;
		}
		at.p += head.skip_bytes;
		if (head.is_container) {
			if (depth == max_depth) {
				*why = "msgpack nested too deeply";
				return MSGPACK_CHECK_MALFORMED;
			}
			open[depth++] = head.elements;
		}
		while (depth > 0 && open[depth - 1] == 0)
			depth--;
	} while (depth > 0);
	if (at.p != at.end) {
		*why = "bytes left over behind the message";
		return MSGPACK_CHECK_MALFORMED;
	}
	return MSGPACK_CHECK_OK;
}

int msgpack_check_and_unpack(msgpack_zone *zone, const uint8_t *bytes, size_t len,
	unsigned int max_depth, size_t max_elements, msgpack_object *out, const char **why)
{
	if (msgpack_check(bytes, len, max_depth, max_elements, why) != MSGPACK_CHECK_OK)
		return MSGPACK_CHECK_MALFORMED;
	msgpack_zone_clear(zone);
	size_t offset = 0;
	switch (msgpack_unpack((const char *)bytes, len, &offset, zone, out)) {
	case MSGPACK_UNPACK_SUCCESS:
		return MSGPACK_CHECK_OK;
	case MSGPACK_UNPACK_NOMEM_ERROR:
		return -ENOMEM;
	default:
		*why = "not msgpack";
		return MSGPACK_CHECK_MALFORMED;
	}
}
