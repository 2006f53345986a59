/* What eventlogctl prints of hostile bytes: nothing in it may steer a terminal. */
#include <assert.h>
#include <stddef.h>
#include <stdint.h>

#include "eventlogd/ctl/gist.h"
#include "proto/base/utf8.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

enum { COLUMNS = 60 };

static void check(const struct buf *out)
{
	size_t columns = 0;
	assert(utf8_is_valid(out->data, out->len));
	for (size_t at = 0; at < out->len; columns++) {
		const uint8_t *c = out->data + at;
		assert(c[0] >= 0x20 && c[0] != 0x7f);
		assert(c[0] != 0xc2 || c[1] >= 0xa0); /* C1 */
		at += utf8_character_len(c, out->len - at);
	}
	assert(columns <= COLUMNS);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	struct buf out = {0};
	size_t columns = 0;
	assert(terminal_append(&out, data, len, COLUMNS, &columns) == 0);
	assert(columns <= COLUMNS);
	check(&out);
	buf_reset(&out, SIZE_MAX);
	assert(gist_append(&out, data, len, COLUMNS) == 0);
	check(&out);
	buf_free(&out);
	return 0;
}
