#include "backend-relay/client_cursor.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "proto/limits.h"

enum {
	PREFIX_BYTES = 3,
	KEY_ID_BYTES = 4,
	NONCE_BYTES = crypto_aead_xchacha20poly1305_ietf_NPUBBYTES,
	TAG_BYTES = crypto_aead_xchacha20poly1305_ietf_ABYTES,
	CONTENT_BYTES = 32,
	SEALED_BYTES = KEY_ID_BYTES + NONCE_BYTES + CONTENT_BYTES + TAG_BYTES,
	STREAM_BYTES_MAX = 2 * (ID_BYTES_MAX + 1),
};

static_assert(CLIENT_CURSOR_TEXT_BYTES == PREFIX_BYTES + (SEALED_BYTES * 4 + 2) / 3,
	"bo_ and base64url without padding");
static_assert(CLIENT_CURSOR_TEXT_BYTES <= CLIENT_CURSOR_TEXT_MAX, "the limit of the protocol");

static void derive(const uint8_t secret[KEY_BYTES], const char *label, uint8_t *out, size_t len)
{
	crypto_generichash_state state;
	crypto_generichash_init(&state, secret, KEY_BYTES, KEY_BYTES);
	crypto_generichash_update(&state, (const uint8_t *)label, strlen(label));
	uint8_t hash[KEY_BYTES];
	crypto_generichash_final(&state, hash, sizeof(hash));
	memcpy(out, hash, len);
	sodium_memzero(hash, sizeof(hash));
}

int client_cursor_add_key(struct client_cursor_keys *keys, const uint8_t secret[KEY_BYTES])
{
	if (keys->count == CLIENT_CURSOR_KEYS_MAX)
		return -ENOSPC;
	struct client_cursor_key *key = &keys->key[keys->count++];
	derive(secret, "client cursor: key id", key->id, sizeof(key->id));
	derive(secret, "client cursor: seal", key->seal, sizeof(key->seal));
	derive(secret, "client cursor: nonce", key->nonce, sizeof(key->nonce));
	return 0;
}

void client_cursor_view_digest(const void *revision, size_t len, uint8_t out[VIEW_DIGEST_BYTES])
{
	uint8_t hash[crypto_generichash_BYTES_MIN];
	crypto_generichash(hash, sizeof(hash), revision, len, NULL, 0);
	memcpy(out, hash, VIEW_DIGEST_BYTES);
}

/* Both ids with their NUL, which no id contains. */
static size_t put_stream(
	uint8_t out[STREAM_BYTES_MAX], const char *runtime_id, const char *worker_id)
{
	size_t runtime_len = strlen(runtime_id) + 1, worker_len = strlen(worker_id) + 1;
	assert(runtime_len + worker_len <= STREAM_BYTES_MAX);
	memcpy(out, runtime_id, runtime_len);
	memcpy(out + runtime_len, worker_id, worker_len);
	return runtime_len + worker_len;
}

static void put_content(uint8_t out[CONTENT_BYTES], const struct client_position *position)
{
	put_le32(out, position->at.log);
	put_le16(out + 4, position->at.epoch);
	put_le64(out + 6, position->at.sequence);
	memcpy(out + 14, position->view, VIEW_DIGEST_BYTES);
	put_le16(out + 22, position->warm_from.epoch);
	put_le64(out + 24, position->at.sequence - position->warm_from.sequence);
}

static bool get_content(const uint8_t in[CONTENT_BYTES], struct client_position *out)
{
	struct client_position position = {
		.at = {.log = get_le32(in),
			.epoch = get_le16(in + 4),
			.sequence = get_le64(in + 6)},
	};
	uint64_t distance = get_le64(in + 24);
	if (distance > position.at.sequence)
		return false;
	memcpy(position.view, in + 14, VIEW_DIGEST_BYTES);
	position.warm_from = (struct cursor){
		.log = position.at.log,
		.epoch = get_le16(in + 22),
		.sequence = position.at.sequence - distance,
	};
	*out = position;
	return true;
}

struct sealing {
	uint8_t stream[STREAM_BYTES_MAX], content[CONTENT_BYTES], nonce[NONCE_BYTES];
	size_t stream_len;
};

static void begin_sealing(const struct client_cursor_keys *keys, struct sealing *sealing,
	const char *runtime_id, const char *worker_id, const struct client_position *position)
{
	assert(keys->count > 0 && position->warm_from.sequence <= position->at.sequence);
	sealing->stream_len = put_stream(sealing->stream, runtime_id, worker_id);
	put_content(sealing->content, position);
}

static void end_sealing(const struct client_cursor_key *key, const struct sealing *sealing,
	char out[CLIENT_CURSOR_TEXT_BYTES + 1])
{
	uint8_t sealed[SEALED_BYTES], *nonce = sealed + KEY_ID_BYTES;
	memcpy(sealed, key->id, KEY_ID_BYTES);
	memcpy(nonce, sealing->nonce, NONCE_BYTES);
	crypto_aead_xchacha20poly1305_ietf_encrypt(nonce + NONCE_BYTES, NULL, sealing->content,
		CONTENT_BYTES, sealing->stream, sealing->stream_len, NULL, nonce, key->seal);

	memcpy(out, "bo_", PREFIX_BYTES);
	sodium_bin2base64(out + PREFIX_BYTES, CLIENT_CURSOR_TEXT_BYTES + 1 - PREFIX_BYTES, sealed,
		sizeof(sealed), sodium_base64_VARIANT_URLSAFE_NO_PADDING);
}

void client_cursor_seal(const struct client_cursor_keys *keys, const char *runtime_id,
	const char *worker_id, const struct client_position *position,
	char out[CLIENT_CURSOR_TEXT_BYTES + 1])
{
	struct sealing sealing;
	begin_sealing(keys, &sealing, runtime_id, worker_id, position);
	crypto_generichash_state state;
	crypto_generichash_init(&state, keys->key[0].nonce, KEY_BYTES, NONCE_BYTES);
	crypto_generichash_update(&state, sealing.stream, sealing.stream_len);
	crypto_generichash_update(&state, sealing.content, CONTENT_BYTES);
	crypto_generichash_final(&state, sealing.nonce, NONCE_BYTES);
	end_sealing(&keys->key[0], &sealing, out);
}

void client_cursor_seal_place(const struct client_cursor_keys *keys, const char *runtime_id,
	const char *worker_id, const struct client_position *position,
	char out[CLIENT_CURSOR_TEXT_BYTES + 1])
{
	struct sealing sealing;
	begin_sealing(keys, &sealing, runtime_id, worker_id, position);
	randombytes_buf(sealing.nonce, NONCE_BYTES);
	end_sealing(&keys->key[0], &sealing, out);
}

static bool is_url_safe(const char *text, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		char c = text[i];
		if (!((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
			    c == '-' || c == '_'))
			return false;
	}
	return true;
}

static const struct client_cursor_key *find_key(
	const struct client_cursor_keys *keys, const uint8_t id[KEY_ID_BYTES])
{
	for (size_t i = 0; i < keys->count; i++) {
		if (memcmp(keys->key[i].id, id, KEY_ID_BYTES) == 0)
			return &keys->key[i];
	}
	return NULL;
}

enum client_cursor_result client_cursor_open(const struct client_cursor_keys *keys,
	const char *runtime_id, const char *worker_id, const char *text, size_t len,
	struct client_position *out)
{
	if (len > CLIENT_CURSOR_TEXT_MAX || len < PREFIX_BYTES ||
		memcmp(text, "bo_", PREFIX_BYTES) != 0 || !is_url_safe(text, len))
		return CLIENT_CURSOR_MALFORMED;

	uint8_t sealed[SEALED_BYTES], stream[STREAM_BYTES_MAX], content[CONTENT_BYTES];
	size_t sealed_len = 0;
	if (len != CLIENT_CURSOR_TEXT_BYTES ||
		sodium_base642bin(sealed, sizeof(sealed), text + PREFIX_BYTES, len - PREFIX_BYTES,
			NULL, &sealed_len, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0 ||
		sealed_len != SEALED_BYTES)
		return CLIENT_CURSOR_UNKNOWN;
	const struct client_cursor_key *key = find_key(keys, sealed);
	if (key == NULL)
		return CLIENT_CURSOR_UNKNOWN;
	const uint8_t *nonce = sealed + KEY_ID_BYTES;
	size_t stream_len = put_stream(stream, runtime_id, worker_id);
	if (crypto_aead_xchacha20poly1305_ietf_decrypt(content, NULL, NULL, nonce + NONCE_BYTES,
		    CONTENT_BYTES + TAG_BYTES, stream, stream_len, nonce, key->seal) != 0)
		return CLIENT_CURSOR_UNKNOWN;

	return get_content(content, out) ? CLIENT_CURSOR_OK : CLIENT_CURSOR_UNKNOWN;
}
