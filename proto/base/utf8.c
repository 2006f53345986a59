#include "proto/base/utf8.h"

static bool is_continuation(uint8_t byte)
{
	return (byte & 0xc0) == 0x80;
}

bool utf8_is_valid(const uint8_t *p, size_t len)
{
	const uint8_t *end = p + len;
	while (p < end) {
		if (*p < 0x80) {
			p++;
		} else if (*p >= 0xc2 && *p <= 0xdf) {
			if (end - p < 2 || !is_continuation(p[1]))
				return false;
			p += 2;
		} else if (*p >= 0xe0 && *p <= 0xef) {
			if (end - p < 3 || !is_continuation(p[1]) || !is_continuation(p[2]))
				return false;
			if ((*p == 0xe0 && p[1] < 0xa0) || (*p == 0xed && p[1] > 0x9f))
				return false; /* overlong; surrogate */
			p += 3;
		} else if (*p >= 0xf0 && *p <= 0xf4) {
			if (end - p < 4 || !is_continuation(p[1]) || !is_continuation(p[2]) ||
				!is_continuation(p[3]))
				return false;
			if ((*p == 0xf0 && p[1] < 0x90) || (*p == 0xf4 && p[1] > 0x8f))
				return false; /* overlong; above U+10FFFF */
			p += 4;
		} else {
			return false;
		}
	}
	return true;
}
