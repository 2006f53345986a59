/*
 * backend-relay/client_cursor: whatever a client sends as its cursor. What opens must be what
 * sealing gives; the first byte says how the input is used.
 */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "backend-relay/client_cursor.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct client_cursor_keys *test_keys(void)
{
	static struct client_cursor_keys keys;
	static const uint8_t secrets[2][KEY_BYTES] = {{1}, {2}};
	for (size_t i = 0; keys.count < ARRAY_SIZE(secrets); i++) {
		int r = client_cursor_add_key(&keys, secrets[i]);
		assert(r == 0);
		(void)r;
	}
	return &keys;
}

static void open_text(const char *text, size_t len)
{
	struct client_position position;
	char again[CLIENT_CURSOR_TEXT_BYTES + 1];
	if (client_cursor_open(test_keys(), "r", "w", text, len, &position) != CLIENT_CURSOR_OK)
		return;
	client_cursor_seal(test_keys(), "r", "w", &position, again);
	/* Under the first key, or the second one's text was given. */
	assert(len == CLIENT_CURSOR_TEXT_BYTES);
	assert(memcmp(again, text, 3) == 0);
}

/* A sealed cursor with one byte changed never opens. */
static void open_changed(const uint8_t *data, size_t size)
{
	struct client_position position = {0}, opened;
	char text[CLIENT_CURSOR_TEXT_BYTES + 1];
	if (size < 2 + sizeof(position.at.sequence))
		return;
	memcpy(&position.at.sequence, data + 2, sizeof(position.at.sequence));
	position.warm_from = position.at;
	client_cursor_seal(test_keys(), "r", "w", &position, text);
	enum client_cursor_result r = client_cursor_open(
		test_keys(), "r", "w", text, strlen(text), &opened);
	assert(r == CLIENT_CURSOR_OK && opened.at.sequence == position.at.sequence);
	size_t place = data[0] % CLIENT_CURSOR_TEXT_BYTES;
	if (text[place] == (char)data[1])
		return;
	text[place] = (char)data[1];
	r = client_cursor_open(test_keys(), "r", "w", text, CLIENT_CURSOR_TEXT_BYTES, &opened);
	assert(r != CLIENT_CURSOR_OK);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size == 0)
		return 0;
	if (data[0] == '!')
		open_changed(data + 1, size - 1);
	else
		open_text((const char *)data, size);
	return 0;
}
