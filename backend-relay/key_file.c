#include "backend-relay/key_file.h"

#include <errno.h>
#include <sodium.h>

#include "proto/base/secret_file.h"

int key_file_read(const char *path, uint8_t out[KEY_BYTES])
{
	char *text;
	size_t len, key_len = 0;
	int r = secret_file_read(path, &text, &len);
	if (r < 0)
		return r;
	if (len != 2 * KEY_BYTES ||
		sodium_hex2bin(out, KEY_BYTES, text, len, NULL, &key_len, NULL) != 0 ||
		key_len != KEY_BYTES)
		r = -EINVAL;
	secret_free(text, len);
	return r;
}
