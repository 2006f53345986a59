#include "proto/msgpack_check.h"

#include <assert.h>
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

/* A length or count of `width` bytes follows. */
static bool take_sized(struct cursor *at, unsigned int width, uint64_t *out, const char **why)
{
	*why = "msgpack ends within a length";
	return take_be(at, width, out);
}

static bool take_head(struct cursor *at, struct head *head, const char **why)
{
	*head = (struct head){0};
	*why = "msgpack ends early";
	if (at->p == at->end)
		return false;
	uint8_t byte = *at->p++;
	if (byte <= 0x7f || byte >= 0xe0)
		return true; /* small integers */
	if (byte <= 0x8f) {
		*head = (struct head){.elements = 2u * (byte & 0x0f), .is_container = true};
		return true;
	}
	if (byte <= 0x9f) {
		*head = (struct head){.elements = byte & 0x0f, .is_container = true};
		return true;
	}
	if (byte <= 0xbf) {
		head->skip_bytes = byte & 0x1f;
		return true;
	}
	switch (byte) {
	case 0xc0: /* nil */
	case 0xc2: /* false */
	case 0xc3: /* true */
		return true;
	case 0xc4: /* bin 8 */
	case 0xd9: /* str 8 */
		return take_sized(at, 1, &head->skip_bytes, why);
	case 0xc5: /* bin 16 */
	case 0xda: /* str 16 */
		return take_sized(at, 2, &head->skip_bytes, why);
	case 0xc6: /* bin 32 */
	case 0xdb: /* str 32 */
		return take_sized(at, 4, &head->skip_bytes, why);
	case 0xca: /* float 32 */
	case 0xce: /* uint 32 */
	case 0xd2: /* int 32 */
		head->skip_bytes = 4;
		return true;
	case 0xcb: /* float 64 */
	case 0xcf: /* uint 64 */
	case 0xd3: /* int 64 */
		head->skip_bytes = 8;
		return true;
	case 0xcc: /* uint 8 */
	case 0xd0: /* int 8 */
		head->skip_bytes = 1;
		return true;
	case 0xcd: /* uint 16 */
	case 0xd1: /* int 16 */
		head->skip_bytes = 2;
		return true;
	case 0xdc: /* array 16 */
	case 0xdd: /* array 32 */
		head->is_container = true;
		return take_sized(at, byte == 0xdc ? 2 : 4, &head->elements, why);
	case 0xde: /* map 16 */
	case 0xdf: /* map 32 */
		head->is_container = true;
		if (!take_sized(at, byte == 0xde ? 2 : 4, &head->elements, why))
			return false;
		head->elements *= 2;
		return true;
	default:
		*why = "msgpack extension or reserved type";
		return false;
	}
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
