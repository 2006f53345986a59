#include "projection/secret_text.h"

#include <string.h>

static size_t max(size_t a, size_t b)
{
	return a > b ? a : b;
}

/*
 * Appends [from, to) of the text with one mask for each run of spans that overlap. What stands
 * before *covered belongs to a mask that is there already; so do spans that begin before `from`.
 */
static int append_masked(const struct secret_search *search, const uint8_t *text, size_t from,
	size_t to, size_t *covered, struct buf *out)
{
	const struct secret_findings *findings = search->findings;
	int r = 0;
	for (size_t i = 0; i < findings->span_count && r == 0; i++) {
		const struct secret_span *span = &findings->span[i];
		if (span->start >= to)
			break;
		if (span->start >= *covered && span->start >= from) {
			from = max(from, *covered);
			r = buf_append(out, text + from, span->start - from);
			if (r == 0)
				r = buf_append_str(out, search->mask);
		}
		*covered = max(*covered, span->end);
	}
	from = max(from, *covered);
	if (r == 0 && from < to)
		r = buf_append(out, text + from, to - from);
	return r;
}

/* What is inside a run that is open, as a span up to the end. */
static int cover_open_runs(struct secret_findings *findings, size_t len)
{
	for (size_t i = 0; i < findings->run_count; i++) {
		const struct secret_run *run = &findings->run[i];
		if (run->accepted || !run->inside)
			continue;
		int r = secret_findings_add(
			findings, &(struct secret_span){run->run, run->start, len});
		if (r < 0)
			return r;
	}
	return 0;
}

int secret_text_find(const struct secret_search *search, const uint8_t *text, size_t len, bool cut)
{
	int r = secret_search(search->matcher, search->sets, text, len, cut, search->findings);
	return r == 0 && cut ? cover_open_runs(search->findings, len) : r;
}

int secret_text_mask(const struct secret_search *search, const uint8_t *text, size_t len, bool cut,
	struct buf *out)
{
	size_t covered = 0;
	int r = secret_text_find(search, text, len, cut);
	if (r < 0 || search->findings->span_count == 0)
		return r;
	r = append_masked(search, text, 0, len, &covered, out);
	return r < 0 ? r : 1;
}

/* ---- a text in pieces ---- */

void secret_text_free(struct secret_text *text)
{
	buf_free(&text->held);
	*text = (struct secret_text){0};
}

bool secret_text_is_empty(const struct secret_text *text)
{
	return text->held.len == 0 && text->tail_count == 0;
}

/* Lets the secrets that go on take from the piece; returns up to where they cover it. */
static size_t continue_tails(struct secret_text *text, const struct secret_search *search,
	const uint8_t *piece, size_t len)
{
	size_t covered = 0, kept = 0;
	for (size_t i = 0; i < text->tail_count; i++) {
		struct secret_run *tail = &text->tail[i];
		size_t end = secret_run_continue(search->matcher, tail, piece, len);
		covered = max(covered, end);
		if (end == len && !secret_run_is_over(search->matcher, tail))
			text->tail[kept++] = *tail;
	}
	text->tail_count = kept;
	return covered;
}

/* Up to where the text can go out: nothing of a secret that may be one. */
static size_t end_of_known(const struct secret_findings *findings, size_t len)
{
	for (size_t i = 0; i < findings->run_count; i++) {
		const struct secret_run *run = &findings->run[i];
		if (!run->accepted && run->inside && run->start < len)
			len = run->start;
	}
	return len;
}

/*
 * From where on the text has to be looked at again: where a pending run begins, or one of which
 * nothing has been masked yet.
 */
static size_t begin_of_kept(const struct secret_findings *findings, size_t len)
{
	size_t begin = len;
	for (size_t i = 0; i < findings->run_count; i++) {
		const struct secret_run *run = &findings->run[i];
		if ((!run->accepted || run->start == len) && run->run < begin)
			begin = run->run;
	}
	for (size_t i = findings->span_count; begin < len && i-- > 0;) {
		const struct secret_span *span = &findings->span[i];
		if (span->run < begin && span->start >= begin) {
			begin = span->run;
			i = findings->span_count;
		}
	}
	return begin;
}

static void keep_tail(struct secret_text *text, const struct secret_run *run)
{
	for (size_t i = 0; i < text->tail_count; i++) {
		if (text->tail[i].machine == run->machine && text->tail[i].state == run->state)
			return;
	}
	if (text->tail_count < SECRET_TAILS_MAX)
		text->tail[text->tail_count++] = *run;
}

/* Keeps as tails the accepted runs that begin before what is kept as text. */
static bool keep_tails(struct secret_text *text, const struct secret_findings *findings,
	size_t begin, size_t piece_at)
{
	bool is_recent = text->tail_count == 0;
	for (size_t i = 0; i < findings->run_count; i++) {
		const struct secret_run *run = &findings->run[i];
		if (!run->accepted || run->run >= begin)
			continue;
		is_recent = is_recent && run->run >= piece_at;
		keep_tail(text, run);
	}
	return is_recent;
}

/* Keeps little memory for what is little, however long the piece was. */
static int keep_from(struct buf *held, size_t begin)
{
	enum { KEEP_BYTES = 16 * 1024 };
	buf_consume(held, begin);
	if (held->allocated <= KEEP_BYTES)
		return 0;
	struct buf small = {0};
	int r = buf_append(&small, held->data, held->len);
	if (r < 0)
		return r;
	buf_free(held);
	*held = small;
	return 0;
}

int secret_text_take(struct secret_text *text, const struct secret_search *search,
	const uint8_t *piece, size_t len, struct buf *out, bool *is_recent)
{
	size_t piece_at = text->held.len;
	size_t covered = text->masked_to;
	if (text->tail_count != 0)
		covered = max(covered, piece_at + continue_tails(text, search, piece, len));
	int r = buf_append(&text->held, piece, len);
	if (r < 0)
		return r;
	const uint8_t *whole = text->held.data;
	size_t whole_len = text->held.len;
	r = secret_search(search->matcher, search->sets, whole, whole_len, true, search->findings);
	if (r < 0)
		return r;
	size_t end = end_of_known(search->findings, whole_len);
	size_t begin = begin_of_kept(search->findings, whole_len);
	r = append_masked(search, whole, text->sent, end, &covered, out);
	if (r < 0)
		return r;
	*is_recent = keep_tails(text, search->findings, begin, piece_at) && begin >= piece_at &&
		     covered <= begin;
	text->sent = end - begin;
	text->masked_to = covered > begin ? covered - begin : 0;
	return keep_from(&text->held, begin);
}

int secret_text_end(struct secret_text *text, const struct secret_search *search, struct buf *out)
{
	const uint8_t *held = text->held.data;
	size_t len = text->held.len, covered = text->masked_to;
	int r = secret_search(search->matcher, search->sets, held, len, false, search->findings);
	return r < 0 ? r : append_masked(search, held, text->sent, len, &covered, out);
}
