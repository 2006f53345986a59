/*
 * The cursor of a client: opaque text that any relay with the same key honours.
 *
 *	bo_ + base64url without padding of
 *	    key id (4 bytes)  nonce (24)  sealed content (32)  tag (16)
 *
 *	content: log u32, epoch u16, sequence u64, view (8 bytes),
 *	         warm epoch u16, warm distance u64, all little-endian
 *
 * Sealed with XChaCha20-Poly1305; the stream (runtime_id, worker_id) is associated data, so a
 * cursor of one stream opens in no other. The nonce of an event's cursor is a keyed hash of content
 * and stream: the same event has the same cursor at every relay, and no counter has to be kept.
 * Equal nonces therefore mean equal plaintexts, which is the one case in which repeating a nonce is
 * harmless.
 *
 * The nonce of any other place is random. Such a place may move with what other workers of the
 * runtime publish, hidden ones too; whoever compares two of them shall not learn whether it did.
 *
 * A cursor has one spelling: base64 with bits to spare is refused, and every other change is seen
 * by the seal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend-relay/key_file.h"
#include "proto/base/attributes.h"
#include "proto/cursor.h"

enum {
	CLIENT_CURSOR_TEXT_BYTES = 105, /* of ours; without the NUL */
	CLIENT_CURSOR_TEXT_MAX = 123,   /* `bo_` and up to 120 characters: longer is malformed */
	CLIENT_CURSOR_KEYS_MAX = 8,
	VIEW_DIGEST_BYTES = 8,
};

/* What a client has, and what it takes to go on from there. */
struct client_position {
	struct cursor at; /* everything up to and including this */
	/*
	 * Events after this one, up to `at`, rebuild projection's state when they are fed again as
	 * warm. Equal to `at` when no state is open. Same log, sequence not after at's.
	 */
	struct cursor warm_from;
	uint8_t view[VIEW_DIGEST_BYTES]; /* digest of the view's revision */
};

struct client_cursor_key {
	uint8_t id[4];
	uint8_t seal[KEY_BYTES], nonce[KEY_BYTES];
};

/* The first key seals; all of them open. */
struct client_cursor_keys {
	size_t count;
	struct client_cursor_key key[CLIENT_CURSOR_KEYS_MAX];
};

/* Derives what is needed from a key and adds it. 0, or -ENOSPC after CLIENT_CURSOR_KEYS_MAX. */
_must_check_ int client_cursor_add_key(
	struct client_cursor_keys *keys, const uint8_t secret[KEY_BYTES]);

/* The digest of a view's revision that goes into cursors. */
void client_cursor_view_digest(const void *revision, size_t len, uint8_t out[VIEW_DIGEST_BYTES]);

/*
 * Of an event: always the same text. Writes CLIENT_CURSOR_TEXT_BYTES characters and a NUL. At least
 * one key has been added.
 */
void client_cursor_seal(const struct client_cursor_keys *keys, const char *runtime_id,
	const char *worker_id, const struct client_position *position,
	char out[CLIENT_CURSOR_TEXT_BYTES + 1]);

/* Of a place where no event of the stream need be: each time another text. */
void client_cursor_seal_place(const struct client_cursor_keys *keys, const char *runtime_id,
	const char *worker_id, const struct client_position *position,
	char out[CLIENT_CURSOR_TEXT_BYTES + 1]);

enum client_cursor_result {
	CLIENT_CURSOR_OK = 0,
	CLIENT_CURSOR_MALFORMED, /* does not begin with bo_, too long, or not URL-safe */
	CLIENT_CURSOR_UNKNOWN,   /* made up, tampered with, another stream's, of a key not here */
};

/* `text` needs no NUL. The output is set only on CLIENT_CURSOR_OK. */
_must_check_ enum client_cursor_result client_cursor_open(const struct client_cursor_keys *keys,
	const char *runtime_id, const char *worker_id, const char *text, size_t len,
	struct client_position *out);
