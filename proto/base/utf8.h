/* UTF-8 as in RFC 3629. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* No surrogates, no overlong forms, at most U+10FFFF. An empty text is valid. */
bool utf8_is_valid(const uint8_t *bytes, size_t len);
