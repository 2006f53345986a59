#include "proto/cursor.h"

#include <string.h>

enum {
	LOG_AT = 3,
	LOG_DIGITS = 8,
	EPOCH_AT = 11,
	EPOCH_DIGITS = 4,
	SEPARATOR_AT = 15,
	SEQUENCE_AT = 16,
	SEQUENCE_DIGITS = 16
};

static void put_hex(char *out, uint64_t value, int digits)
{
	static const char alphabet[] = "0123456789abcdef";
	for (int i = digits - 1; i >= 0; i--, value >>= 4)
		out[i] = alphabet[value & 0xf];
}

static bool get_hex(const char *text, int digits, uint64_t *out)
{
	uint64_t value = 0;
	for (int i = 0; i < digits; i++) {
		char c = text[i];
		if (c >= '0' && c <= '9')
			value = value << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			value = value << 4 | (uint64_t)(c - 'a' + 10);
		else
			return false;
	}
	*out = value;
	return true;
}

void cursor_format(const struct cursor *cursor, char out[CURSOR_TEXT_BYTES + 1])
{
	memcpy(out, "wo_", LOG_AT);
	put_hex(out + LOG_AT, cursor->log, LOG_DIGITS);
	put_hex(out + EPOCH_AT, cursor->epoch, EPOCH_DIGITS);
	out[SEPARATOR_AT] = '_';
	put_hex(out + SEQUENCE_AT, cursor->sequence, SEQUENCE_DIGITS);
	out[CURSOR_TEXT_BYTES] = '\0';
}

bool cursor_parse(const char *text, size_t len, struct cursor *out)
{
	uint64_t log, epoch, sequence;
	if (len != CURSOR_TEXT_BYTES || memcmp(text, "wo_", LOG_AT) != 0 ||
		text[SEPARATOR_AT] != '_')
		return false;
	if (!get_hex(text + LOG_AT, LOG_DIGITS, &log) ||
		!get_hex(text + EPOCH_AT, EPOCH_DIGITS, &epoch) ||
		!get_hex(text + SEQUENCE_AT, SEQUENCE_DIGITS, &sequence))
		return false;
	*out = (struct cursor){(uint32_t)log, (uint16_t)epoch, sequence};
	return true;
}
