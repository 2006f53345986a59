#include "proto/base/buf.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BUF_FIRST_ALLOCATION_BYTES = 256 };

void buf_init(struct buf *buf, size_t max)
{
	*buf = (struct buf){.max = max};
}

void buf_free(struct buf *buf)
{
	free(buf->data);
	*buf = (struct buf){.max = buf->max};
}

int buf_reserve(struct buf *buf, size_t extra)
{
	if (extra > SIZE_MAX / 2 - buf->len)
		return -ENOMEM;
	size_t needed = buf->len + extra;
	if (buf->max != 0 && needed > buf->max)
		return -EMSGSIZE;
	if (needed <= buf->allocated)
		return 0;
	size_t target = buf->allocated != 0 ? buf->allocated : BUF_FIRST_ALLOCATION_BYTES;
	while (target < needed)
		target *= 2;
	if (buf->max != 0 && target > buf->max)
		target = buf->max;
	uint8_t *data = realloc(buf->data, target);
	if (data == NULL)
		return -ENOMEM;
	buf->data = data;
	buf->allocated = target;
	return 0;
}

int buf_reserve_exactly(struct buf *buf, size_t bytes)
{
	assert(buf->data == NULL && bytes > 0);
	if (buf->max != 0 && bytes > buf->max)
		return -EMSGSIZE;
	buf->data = malloc(bytes);
	if (buf->data == NULL)
		return -ENOMEM;
	buf->allocated = bytes;
	return 0;
}

int buf_append(struct buf *buf, const void *bytes, size_t len)
{
	int r = buf_reserve(buf, len);
	if (r < 0)
		return r;
	if (len != 0)
		memcpy(buf->data + buf->len, bytes, len);
	buf->len += len;
	return 0;
}

int buf_append_str(struct buf *buf, const char *text)
{
	return buf_append(buf, text, strlen(text));
}

int buf_printf(struct buf *buf, const char *format, ...)
{
	va_list args;
	va_start(args, format);
	int len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return -EINVAL;
	int r = buf_reserve(buf, (size_t)len + 1);
	if (r < 0)
		return r;
	va_start(args, format);
	vsnprintf((char *)buf->data + buf->len, (size_t)len + 1, format, args);
	va_end(args);
	buf->len += (size_t)len;
	return 0;
}

void buf_consume(struct buf *buf, size_t len)
{
	if (len >= buf->len) {
		buf->len = 0;
		return;
	}
	if (len != 0)
		memmove(buf->data, buf->data + len, buf->len - len);
	buf->len -= len;
}

void buf_reset(struct buf *buf, size_t keep_bytes)
{
	buf->len = 0;
	if (buf->allocated > keep_bytes)
		buf_free(buf);
}
