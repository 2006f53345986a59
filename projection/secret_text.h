/*
 * Masking the secrets in a text, also in one that comes in pieces.
 *
 * Spans that overlap become one mask. Of a text in pieces, what goes out for all pieces together is
 * what would go out for the whole, wherever it was cut: what may be part of a secret is held back
 * until that is known. Of that at most SECRET_PENDING_MAX bytes are pending; after them, and after
 * the opening mark of a private key, everything to the end of the secret is masked as it comes.
 *
 * What is kept between pieces depends only on the pieces since secret_text_is_empty() was last
 * true.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "projection/secret_matcher.h"
#include "proto/base/attributes.h"
#include "proto/base/buf.h"

enum { SECRET_TAILS_MAX = 64 };

/* Who looks for what, and what stands instead. */
struct secret_search {
	struct secret_matcher *matcher;
	struct secret_findings *findings;
	secret_sets sets;
	const char *mask;
};

/*
 * Finds what is to be masked in a text that is complete, or (`cut`) the beginning of one whose rest
 * comes elsewhere: then what may be a secret is, too. 0 or -errno; `findings` has the spans.
 */
_must_check_ int secret_text_find(
	const struct secret_search *search, const uint8_t *text, size_t len, bool cut);

/* 1: `out` has the text with its masks; 0: there is nothing to mask; or -errno. */
_must_check_ int secret_text_mask(const struct secret_search *search, const uint8_t *text,
	size_t len, bool cut, struct buf *out);

/* A text in pieces. Zero-initialise it. */
struct secret_text {
	struct buf held;  /* the end of the text so far, from where a secret could begin */
	size_t sent;      /* how much of it has gone out */
	size_t masked_to; /* up to there in `held` a mask that has gone out stands for it */
	struct secret_run tail[SECRET_TAILS_MAX]; /* secrets that go on; masked as they come */
	size_t tail_count;
};

void secret_text_free(struct secret_text *text);
bool secret_text_is_empty(const struct secret_text *text);

/*
 * Takes the next piece and appends to `out` what can go out. 0 or -errno. `is_recent`: what is kept
 * began within this piece.
 */
_must_check_ int secret_text_take(struct secret_text *text, const struct secret_search *search,
	const uint8_t *piece, size_t len, struct buf *out, bool *is_recent);

/* Nothing more comes: appends to `out` what is held and is no part of a secret. 0 or -errno. */
_must_check_ int secret_text_end(
	struct secret_text *text, const struct secret_search *search, struct buf *out);
