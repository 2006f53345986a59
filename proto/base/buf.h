/*
 * A growable run of bytes with a cap.
 *
 * Holds what is being built for, or was read from, a socket or file. Growing doubles the
 * allocation; the cap is a promise to the rest of the process, so an attempt to pass it is a
 * result and not an abort.
 *
 * Results: 0, -ENOMEM (no memory), -EMSGSIZE (the cap). On failure the content is unchanged.
 * Lifecycle: zero-initialise or buf_init(); buf_free() leaves it empty and usable again.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/base/attributes.h"

struct buf {
	uint8_t *data;
	size_t len;
	size_t allocated;
	size_t max; /* bytes; 0 means no cap */
};

void buf_init(struct buf *buf, size_t max);
void buf_free(struct buf *buf);

/* Makes room for `extra` more bytes behind the content. */
_must_check_ int buf_reserve(struct buf *buf, size_t extra);
/* Room for that much and no more, for what is kept long; in a buffer that has no memory yet. */
_must_check_ int buf_reserve_exactly(struct buf *buf, size_t bytes);
_must_check_ int buf_append(struct buf *buf, const void *bytes, size_t len);
_must_check_ int buf_append_str(struct buf *buf, const char *text);
_must_check_ _printf_(2, 3) int buf_printf(struct buf *buf, const char *format, ...);

/* Drops `len` bytes from the front and moves the rest down. */
void buf_consume(struct buf *buf, size_t len);

/* Empties it; keeps the allocation unless it is larger than keep_bytes. */
void buf_reset(struct buf *buf, size_t keep_bytes);

#define _cleanup_buf_ _cleanup_(buf_free)
