#include "proto/ws/ws_frames.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"

static_assert(WS_FRAGMENT_BYTES <= UINT16_MAX, "the form with a 64-bit length is not needed");

enum {
	FIN = 0x80,
	OPCODE_CONTINUATION = 0,
	LEN_16_BITS = 126,
};

struct ws_frames {
	unsigned int references;
	struct buf bytes;
};

/* What a message of `len` bytes takes with the heads of its fragments, at most. */
static size_t framed_bytes(size_t len)
{
	return len + (len / WS_FRAGMENT_BYTES + 1) * WS_FRAME_HEAD_BYTES_MAX;
}

struct ws_frames *ws_frames_new(size_t message_bytes)
{
	struct ws_frames *frames = calloc(1, sizeof(*frames));
	if (frames == NULL)
		return NULL;
	frames->references = 1;
	if (message_bytes > 0 &&
		buf_reserve_exactly(&frames->bytes, framed_bytes(message_bytes)) < 0) {
		free(frames);
		return NULL;
	}
	return frames;
}

struct ws_frames *ws_frames_ref(struct ws_frames *frames)
{
	frames->references++;
	return frames;
}

void ws_frames_unref(struct ws_frames *frames)
{
	if (frames == NULL || --frames->references > 0)
		return;
	buf_free(&frames->bytes);
	free(frames);
}

static size_t write_head(uint8_t out[WS_FRAME_HEAD_BYTES_MAX], unsigned int first, size_t len)
{
	out[0] = (uint8_t)first;
	if (len < LEN_16_BITS) {
		out[1] = (uint8_t)len;
		return 2;
	}
	out[1] = LEN_16_BITS;
	out[2] = (uint8_t)(len >> 8);
	out[3] = (uint8_t)len;
	return 4;
}

struct pieces {
	const struct iovec *at;
	size_t offset; /* in the current piece */
};

/* Copies the next `len` bytes of the pieces; room has been made. */
static void copy_pieces(struct buf *out, struct pieces *pieces, size_t len)
{
	while (len > 0) {
		size_t left = pieces->at->iov_len - pieces->offset;
		size_t n = left < len ? left : len;
		if (n > 0)
			memcpy(out->data + out->len,
				(const uint8_t *)pieces->at->iov_base + pieces->offset, n);
		out->len += n;
		pieces->offset += n;
		len -= n;
		if (pieces->offset == pieces->at->iov_len) {
			pieces->at++;
			pieces->offset = 0;
		}
	}
}

int ws_frames_add(struct ws_frames *frames, enum ws_message_type type, const struct iovec *pieces,
	size_t count)
{
	assert(frames->references == 1);
	size_t len = 0;
	for (size_t i = 0; i < count; i++)
		len += pieces[i].iov_len;
	int r = buf_reserve(&frames->bytes, framed_bytes(len));
	if (r < 0)
		return r;
	struct pieces from = {pieces, 0};
	unsigned int opcode = type;
	do {
		size_t n = len < WS_FRAGMENT_BYTES ? len : WS_FRAGMENT_BYTES;
		unsigned int fin = n == len ? FIN : 0;
		frames->bytes.len += write_head(
			frames->bytes.data + frames->bytes.len, opcode | fin, n);
		copy_pieces(&frames->bytes, &from, n);
		len -= n;
		opcode = OPCODE_CONTINUATION;
	} while (len > 0);
	return 0;
}

int ws_frames_add_message(
	struct ws_frames *frames, enum ws_message_type type, const void *bytes, size_t len)
{
	struct iovec piece = {(void *)bytes, len};
	return ws_frames_add(frames, type, &piece, 1);
}

size_t ws_frames_bytes(const struct ws_frames *frames)
{
	return frames->bytes.len;
}

const uint8_t *ws_frames_data(const struct ws_frames *frames)
{
	return frames->bytes.data;
}

/* The length of the frame at `bytes`, head included. */
static size_t frame_bytes(const uint8_t *bytes, size_t len)
{
	assert(len >= 2 && bytes[1] <= LEN_16_BITS);
	size_t payload = bytes[1], head = 2;
	if (payload == LEN_16_BITS) {
		assert(len >= 4);
		payload = (size_t)bytes[2] << 8 | bytes[3];
		head = 4;
	}
	assert(head + payload <= len);
	return head + payload;
}

size_t ws_frames_prefix(const uint8_t *bytes, size_t len, size_t max)
{
	size_t prefix = 0;
	if (len <= max)
		return len;
	while (prefix < len) {
		size_t n = frame_bytes(bytes + prefix, len - prefix);
		if (n > max - prefix)
			break;
		prefix += n;
	}
	return prefix;
}
