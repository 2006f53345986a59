#include "proto/base/utf8.h"

bool utf8_is_valid(const uint8_t *p, size_t len)
{
	while (len > 0) {
		size_t n = utf8_character_len(p, len);
		if (n == 0)
			return false;
		p += n;
		len -= n;
	}
	return true;
}
