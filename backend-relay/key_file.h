/*
 * A 256-bit key from a file: 64 hexadecimal digits, as `openssl rand -hex 32` writes them.
 */
#pragma once

#include <stdint.h>

#include "proto/base/attributes.h"

enum { KEY_BYTES = 32 };

/* 0; -EINVAL when it is not exactly such a key; or the -errno of reading. */
_must_check_ int key_file_read(const char *path, uint8_t out[KEY_BYTES]);
