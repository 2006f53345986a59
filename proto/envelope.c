#include "proto/envelope.h"

#include "proto/base/buf.h"

enum { NS_PER_MS_SIGNED = 1000000 };

int64_t envelope_ms(int64_t ns)
{
	int64_t ms = ns / NS_PER_MS_SIGNED;
	return ns % NS_PER_MS_SIGNED < 0 ? ms - 1 : ms;
}

int envelope_write_event_head(struct buf *buf, const struct envelope *envelope)
{
	size_t start = buf->len;
	int r = buf_append_str(buf, "{\"kind\":\"event\",\"envelope\":{");
	if (r == 0 && envelope->runtime_id != NULL)
		r = buf_printf(buf, "\"runtime_id\":\"%s\",", envelope->runtime_id);
	if (r == 0)
		r = buf_printf(buf,
			"\"cursor\":\"%s\",\"event_id\":\"%s\",\"worker_id\":\"%s\","
			"\"ts_ms\":%lld,",
			envelope->cursor, envelope->event_id, envelope->worker_id,
			(long long)envelope->ts_ms);
	if (r == 0 && envelope->has_source_ts)
		r = buf_printf(buf, "\"source_ts_ms\":%lld,", (long long)envelope->source_ts_ms);
	if (r == 0)
		r = buf_append_str(buf, "\"payload\":");
	if (r < 0)
		buf->len = start;
	return r;
}

int envelope_write_hello(struct buf *buf, const struct hello *hello)
{
	size_t start = buf->len;
	int r = buf_printf(buf, "{\"kind\":\"hello\",\"hello\":{\"heartbeat_s\":%llu",
		(unsigned long long)hello->heartbeat_s);
	if (r == 0 && hello->max_lifetime_s != 0)
		r = buf_printf(
			buf, ",\"max_lifetime_s\":%llu", (unsigned long long)hello->max_lifetime_s);
	if (r == 0 && hello->oldest != NULL)
		r = buf_printf(buf, ",\"oldest\":\"%s\"", hello->oldest);
	if (r == 0 && hello->newest != NULL)
		r = buf_printf(buf, ",\"newest\":\"%s\"", hello->newest);
	if (r == 0)
		r = buf_append_str(buf, "}}");
	if (r < 0)
		buf->len = start;
	return r;
}

int envelope_write_caught_up(struct buf *buf, const char *cursor)
{
	return buf_printf(buf, "{\"kind\":\"caught_up\",\"cursor\":\"%s\"}", cursor);
}

int envelope_write_bookmark(struct buf *buf, const char *cursor)
{
	return buf_printf(buf, "{\"kind\":\"bookmark\",\"cursor\":\"%s\"}", cursor);
}
