/*
 * projection/secret_text: the first bytes say where the rest is cut. In pieces it goes out as it
 * would at once, nothing outside of spans is changed, and little is kept.
 */
#include <stdlib.h>
#include <string.h>

#include "projection/secret_text.h"

enum { CUTS = 4, ALL_SETS = (1 << SECRETS_SETS) - 1, LONGEST_KEPT = SECRET_PENDING_MAX + 256 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void expect(bool claim)
{
	if (!claim)
		abort();
}

static struct secret_matcher *matcher(void)
{
	static struct secret_matcher *all;
	if (all == NULL)
		expect(secret_matcher_new(&all, ALL_SETS) == 0);
	return all;
}

/* What is left of the text around the masks is the text around the spans. */
static void look_at_whole(const struct secret_findings *findings, const uint8_t *text, size_t len,
	const struct buf *out)
{
	size_t at = 0, out_at = 0;
	for (size_t i = 0; i < findings->span_count;) {
		size_t start = findings->span[i].start, end = findings->span[i].end;
		for (i++; i < findings->span_count && findings->span[i].start < end; i++)
			end = findings->span[i].end > end ? findings->span[i].end : end;
		expect(at <= start && start < end && end <= len);
		expect(memcmp(out->data + out_at, text + at, start - at) == 0);
		out_at += start - at;
		expect(out->data[out_at++] == '\1');
		at = end;
	}
	expect(out->len - out_at == len - at);
	expect(len == at || memcmp(out->data + out_at, text + at, len - at) == 0);
}

static void take_pieces(const struct secret_search *search, const uint8_t *cuts,
	const uint8_t *text, size_t len, struct buf *out)
{
	struct secret_text pieces = {0};
	size_t at = 0;
	bool is_recent;
	for (size_t i = 0; i <= CUTS; i++) {
		size_t n = len - at;
		if (i < CUTS && n > cuts[i])
			n = cuts[i];
		expect(secret_text_take(&pieces, search, text + at, n, out, &is_recent) == 0);
		expect(pieces.held.len <= LONGEST_KEPT && pieces.sent <= pieces.held.len);
		at += n;
	}
	/* No pattern goes on over this, but a private key. */
	expect(secret_text_take(&pieces, search, (const uint8_t *)" \n", 2, out, &is_recent) == 0);
	secret_text_free(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	if (len < CUTS)
		return 0;
	struct secret_findings findings = {0};
	struct buf text = {0}, whole = {0}, pieces = {0};
	const struct secret_search search = {matcher(), &findings, ALL_SETS, "\1"};
	expect(buf_append(&text, bytes + CUTS, len - CUTS) == 0);
	take_pieces(&search, bytes, bytes + CUTS, len - CUTS, &pieces);
	expect(buf_append(&text, " \n", 2) == 0);
	int r = secret_text_mask(&search, text.data, text.len, false, &whole);
	expect(r >= 0);
	if (r > 0)
		look_at_whole(&findings, text.data, text.len, &whole);
	else
		expect(buf_append(&whole, text.data, text.len) == 0);
	expect(whole.len == pieces.len && memcmp(whole.data, pieces.data, whole.len) == 0);
	secret_findings_free(&findings);
	buf_free(&text);
	buf_free(&whole);
	buf_free(&pieces);
	return 0;
}
