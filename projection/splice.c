#include "projection/splice.h"

#include <assert.h>

void splice_begin(struct splice *splice, const uint8_t *in, size_t len)
{
	splice->in = in;
	splice->len = len;
	splice->done = 0;
	splice->count = 0;
	splice->out.len = 0;
}

int splice_cut(struct splice *splice, size_t start, size_t end)
{
	assert(splice->done <= start && start <= end && end <= splice->len);
	int r = buf_append(&splice->out, splice->in + splice->done, start - splice->done);
	splice->done = end;
	splice->count++;
	return r;
}

int splice_replace(struct splice *splice, size_t start, size_t end, const void *bytes, size_t len)
{
	int r = splice_cut(splice, start, end);
	return r < 0 ? r : buf_append(&splice->out, bytes, len);
}

int splice_end(struct splice *splice)
{
	int r = buf_append(&splice->out, splice->in + splice->done, splice->len - splice->done);
	splice->done = splice->len;
	return r;
}
