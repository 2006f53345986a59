#include "proto/diagnostic.h"

#include <assert.h>
#include <string.h>

#include "proto/base/buf.h"

static const struct diagnostic_row rows[] = {
#define DIAGNOSTIC(NAME, code, final, retry, close_code, message) \
	[DIAGNOSTIC_##NAME] = {code, DIAGNOSTIC_##final, DIAGNOSTIC_##retry, close_code, message},
#include "proto/diagnostics.def"
#undef DIAGNOSTIC
};

const struct diagnostic_row *diagnostic_row(enum diagnostic diagnostic)
{
	assert((unsigned int)diagnostic < DIAGNOSTIC_COUNT);
	return &rows[diagnostic];
}

enum diagnostic diagnostic_by_code(const char *code, size_t len)
{
	unsigned int i = 0;
	while (i < DIAGNOSTIC_COUNT &&
		(strlen(rows[i].code) != len || memcmp(rows[i].code, code, len) != 0))
		i++;
	return (enum diagnostic)i;
}

const char *diagnostic_retry_name(enum diagnostic_retry retry)
{
	static const char *const names[] = {
		[DIAGNOSTIC_NO_RETRY] = NULL,
		[DIAGNOSTIC_NOW] = "now",
		[DIAGNOSTIC_LATER] = "later",
		[DIAGNOSTIC_FROM_KEYFRAME] = "from_keyframe",
		[DIAGNOSTIC_NEVER] = "never",
	};
	return names[retry];
}

bool diagnostic_is_final(enum diagnostic diagnostic, const struct diagnostic_details *details)
{
	enum diagnostic_finality finality = diagnostic_row(diagnostic)->finality;
	return finality == DIAGNOSTIC_FINAL || (finality == DIAGNOSTIC_MAYBE && details->final);
}

/* The values are cursors of ours and texts of the table: nothing in them needs escaping. */
static int write_member(struct buf *buf, const char *name, const char *value)
{
	return value == NULL ? 0 : buf_printf(buf, ",\"%s\":\"%s\"", name, value);
}

static int write_number(struct buf *buf, const char *name, int64_t value)
{
	return value < 0 ? 0 : buf_printf(buf, ",\"%s\":%lld", name, (long long)value);
}

int diagnostic_write_json(
	struct buf *buf, enum diagnostic diagnostic, const struct diagnostic_details *details)
{
	const struct diagnostic_row *row = diagnostic_row(diagnostic);
	size_t start = buf->len;
	int r = buf_printf(buf,
		"{\"kind\":\"diagnostic\",\"diagnostic\":"
		"{\"code\":\"%s\",\"message\":\"%s\",\"final\":%s",
		row->code, row->message,
		diagnostic_is_final(diagnostic, details) ? "true" : "false");
	const struct {
		const char *name, *value;
	} texts[] = {
		{"retry", diagnostic_retry_name(row->retry)},
		{"oldest", details->oldest},
		{"from", details->from},
		{"to", details->to},
		{"cursor", details->cursor},
	};
	for (size_t i = 0; r == 0 && i < ARRAY_SIZE(texts); i++)
		r = write_member(buf, texts[i].name, texts[i].value);
	if (r == 0)
		r = write_number(buf, "behind", details->behind);
	if (r == 0)
		r = write_number(buf, "retry_after_ms", details->retry_after_ms);
	if (r == 0)
		r = buf_append_str(buf, "}}");
	if (r < 0)
		buf->len = start;
	return r;
}
