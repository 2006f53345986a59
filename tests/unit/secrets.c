/*
 * projection/secret_*: what is masked in texts, whole and in pieces.
 *
 * SIGHTLINE_SEED=N repeats the random texts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "projection/secret_text.h"

enum { ALL_SETS = (1 << SECRETS_SETS) - 1, SAMPLED_SPLITS = 3000, RANDOM_TEXTS = 3000 };

struct sample {
	enum secret_set set;
	const char *text, *masked; /* # is a mask */
};

#define A10 "aB3dE6gH9k"
#define A20 A10 A10
#define A40 A20 A20
#define KEY_BODY "\nMIIEpAIBAAKCAQEA" A40 "\n" A40 "==\n"

static const struct sample samples[] = {
	{SECRETS_AWS, "id AKIAIOSFODNN7EXAMPLE, more", "id AKIA#, more"},
	{SECRETS_AWS, "ASIAQWERTYUIOPASDFGH\n", "ASIA#\n"},
	{SECRETS_AWS, "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n",
		"aws_secret_access_key = #\n"},
	{SECRETS_AWS, "{\"SecretAccessKey\": \"" A40 "\"}", "{\"SecretAccessKey\": \"#\"}"},
	{SECRETS_GITHUB, "see ghp_" A20 A10 "123456 there", "see ghp_# there"},
	{SECRETS_GITHUB, "github_pat_11ABCDEFG0" A40 "_x.", "github_pat_#."},
	{SECRETS_GITLAB, "glpat-" A20 " x", "glpat-# x"},
	{SECRETS_SLACK, "xoxb-123456789012-1234567890123-" A20 " x", "xoxb-# x"},
	{SECRETS_SLACK, "https://hooks.slack.com/services/T000/B000/" A20 " x",
		"https://hooks.slack.com/services/# x"},
	{SECRETS_GOOGLE, "key=AIza" A20 A10 "12345&x", "key=AIza#&x"},
	{SECRETS_OPENAI, "sk-proj-" A40 "_- x", "sk-proj-# x"},
	{SECRETS_OPENAI, "sk-" A20 "T3BlbkFJ" A20 " x", "sk-# x"},
	{SECRETS_ANTHROPIC, "sk-ant-api03-" A40 "-AA x", "sk-ant-# x"},
	{SECRETS_PRIVATE_KEY,
		"a\n-----BEGIN RSA PRIVATE KEY-----" KEY_BODY "-----END RSA PRIVATE KEY-----\nb",
		"a\n-----BEGIN RSA PRIVATE KEY-----#\nb"},
	{SECRETS_PRIVATE_KEY, "-----BEGIN OPENSSH PRIVATE KEY-----" KEY_BODY "never ends",
		"-----BEGIN OPENSSH PRIVATE KEY-----#"},
	{SECRETS_PRIVATE_KEY,
		"-----BEGIN PGP PRIVATE KEY BLOCK-----" KEY_BODY
		"------END PGP PRIVATE KEY BLOCK----- x",
		"-----BEGIN PGP PRIVATE KEY BLOCK-----# x"},
	{SECRETS_JWT, "jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4 x",
		"jwt eyJ# x"},
	{SECRETS_BEARER, "authorization: bearer " A20 "== x", "authorization: bearer # x"},
	{SECRETS_BEARER, "BEARER\t" A20 " x", "BEARER\t# x"},
	{SECRETS_PASSWORD_ASSIGNMENT, "DB_PASSWORD=hunter2hunter2\n", "DB_PASSWORD=#\n"},
	{SECRETS_PASSWORD_ASSIGNMENT, "{\"api_key\": \"" A10 "\"}", "{\"api_key\": \"#\"}"},
	{SECRETS_PASSWORD_ASSIGNMENT, "\\\"secret\\\":\\\"p\xc3\xa4sswort1\\\"",
		"\\\"secret\\\":\\\"#\\\""},
	{SECRETS_PASSWORD_ASSIGNMENT, "token => '" A10 "';", "token => '#';"},
	{SECRETS_URL_CREDENTIALS, "postgres://bob:s3cret@db:5432/x", "postgres://bob:#@db:5432/x"},
	{SECRETS_URL_CREDENTIALS, "redis://:pw@cache/0", "redis://:#@cache/0"},
};

static const struct sample harmless[] = {
	{0, "AKIA, ASIA and AKIAIOSFODNN7EXAMPL", NULL},
	{0, "http://localhost:8080/path and https://example.org/a:b@c", NULL},
	{0, "password: see the manual; token = $TOKEN; secret='****************'", NULL},
	{0, "task-0123456789abcdef0123456789abcdef sk-learn", NULL},
	{0, "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----", NULL},
	{0, "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----", NULL},
	{0, "eyJhbGciOiJIUzI1NiJ9 without a second part", NULL},
	{0, "the bearer of this letter", NULL},
	{0, "max_tokens: 100000000", NULL},
};

struct fixture {
	struct secret_matcher *matcher;
	struct secret_findings findings;
	struct buf out;
};

static int open_fixture(void **state)
{
	static struct fixture f;
	*state = &f;
	return secret_matcher_new(&f.matcher, ALL_SETS);
}

static int close_fixture(void **state)
{
	struct fixture *f = *state;
	secret_matcher_free(f->matcher);
	secret_findings_free(&f->findings);
	buf_free(&f->out);
	return 0;
}

static struct secret_search search_of(struct fixture *f, secret_sets sets)
{
	return (struct secret_search){f->matcher, &f->findings, sets, "#"};
}

/* The text with its masks, in f->out. */
static void mask_whole(struct fixture *f, secret_sets sets, const char *text, size_t len)
{
	const struct secret_search search = search_of(f, sets);
	f->out.len = 0;
	int r = secret_text_mask(&search, (const uint8_t *)text, len, false, &f->out);
	assert_true(r >= 0);
	if (r == 0)
		assert_int_equal(buf_append(&f->out, text, len), 0);
}

static void check_whole(struct fixture *f, secret_sets sets, const char *text, const char *masked)
{
	mask_whole(f, sets, text, strlen(text));
	if (f->out.len != strlen(masked) || memcmp(f->out.data, masked, f->out.len) != 0)
		fail_msg("%s\n became %.*s\n and not %s", text, (int)f->out.len,
			(const char *)f->out.data, masked);
}

static void every_set_masks_its_samples_and_no_other_set_does(void **state)
{
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++) {
		check_whole(f, ALL_SETS, samples[i].text, samples[i].masked);
		check_whole(f, 1u << samples[i].set, samples[i].text, samples[i].masked);
		check_whole(f, 0, samples[i].text, samples[i].text);
	}
}

static void what_is_no_secret_stays(void **state)
{
	struct fixture *f = *state;
	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
		check_whole(f, ALL_SETS, harmless[i].text, harmless[i].text);
}

/* ---- pieces ---- */

static void take(struct fixture *f, struct secret_text *text, const char *piece, size_t len)
{
	const struct secret_search search = search_of(f, ALL_SETS);
	bool is_recent;
	assert_int_equal(
		secret_text_take(text, &search, (const uint8_t *)piece, len, &f->out, &is_recent),
		0);
}

/* The text cut at these places, and a last piece that no secret goes on in. */
static void check_split(struct fixture *f, const char *text, size_t len, const size_t *cut,
	size_t cuts, const struct buf *expected)
{
	struct secret_text pieces = {0};
	size_t at = 0;
	f->out.len = 0;
	for (size_t i = 0; i <= cuts; i++) {
		size_t end = i < cuts ? cut[i] : len;
		take(f, &pieces, text + at, end - at);
		at = end;
	}
	if (f->out.len != expected->len || memcmp(f->out.data, expected->data, expected->len) != 0)
		fail_msg("%.*s\n cut at %zu (of %zu cuts) became %.*s\n and not %.*s", (int)len,
			text, cuts > 0 ? cut[0] : 0, cuts, (int)f->out.len,
			(const char *)f->out.data, (int)expected->len,
			(const char *)expected->data);
	secret_text_free(&pieces);
}

static int by_size(const void *a, const void *b)
{
	const size_t *left = a, *right = b;
	return *left < *right ? -1 : *left > *right;
}

static void random_cuts(size_t len, size_t *cut, size_t cuts)
{
	for (size_t i = 0; i < cuts; i++)
		cut[i] = (size_t)random() % (len + 1);
	qsort(cut, cuts, sizeof(*cut), by_size);
}

static void check_every_split(struct fixture *f, const char *text)
{
	char closed[1024];
	size_t cut[4], len = (size_t)snprintf(closed, sizeof(closed), "%s \n", text);
	assert_true(len < sizeof(closed));
	struct buf expected = {0};
	mask_whole(f, ALL_SETS, closed, len);
	assert_int_equal(buf_append(&expected, f->out.data, f->out.len), 0);
	for (cut[0] = 0; cut[0] <= len; cut[0]++) {
		check_split(f, closed, len, cut, 1, &expected);
		for (cut[1] = cut[0]; cut[1] <= len; cut[1]++)
			check_split(f, closed, len, cut, 2, &expected);
	}
	for (size_t i = 0; i < SAMPLED_SPLITS; i++) {
		size_t cuts = 3 + i % 2;
		random_cuts(len, cut, cuts);
		check_split(f, closed, len, cut, cuts, &expected);
	}
	buf_free(&expected);
}

static void assert_same_state(const struct secret_text *a, const struct secret_text *b)
{
	assert_int_equal(a->held.len, b->held.len);
	if (a->held.len > 0)
		assert_memory_equal(a->held.data, b->held.data, a->held.len);
	assert_int_equal(a->sent, b->sent);
	assert_int_equal(a->masked_to, b->masked_to);
	assert_int_equal(a->tail_count, b->tail_count);
	for (size_t i = 0; i < a->tail_count; i++) {
		assert_int_equal(a->tail[i].machine, b->tail[i].machine);
		assert_int_equal(a->tail[i].state, b->tail[i].state);
	}
}

/*
 * What a beginning of the text leaves behind, and what of it goes out, is the same whether it came
 * at once or in two pieces, wherever those meet. So it is for any number of pieces: the last two of
 * them can be taken for one, again and again.
 */
static void check_every_number_of_splits(struct fixture *f, const char *text)
{
	for (size_t end = 0; end <= strlen(text); end++) {
		struct secret_text whole = {0};
		struct buf expected = {0};
		f->out.len = 0;
		take(f, &whole, text, end);
		assert_int_equal(buf_append(&expected, f->out.data, f->out.len), 0);
		for (size_t cut = 0; cut <= end; cut++) {
			struct secret_text pieces = {0};
			f->out.len = 0;
			take(f, &pieces, text, cut);
			take(f, &pieces, text + cut, end - cut);
			assert_int_equal(f->out.len, expected.len);
			if (expected.len > 0)
				assert_memory_equal(f->out.data, expected.data, expected.len);
			assert_same_state(&whole, &pieces);
			secret_text_free(&pieces);
		}
		secret_text_free(&whole);
		buf_free(&expected);
	}
}

static void any_number_of_splits_of_every_sample_leaves_the_same_behind(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		check_every_number_of_splits(*state, samples[i].text);
	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
		check_every_number_of_splits(*state, harmless[i].text);
}

static void every_split_of_every_sample_is_masked_alike(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(samples); i++)
		check_every_split(*state, samples[i].text);
	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
		check_every_split(*state, harmless[i].text);
}

/* ---- random texts of what patterns are made of ---- */

static size_t random_text(char *out, size_t size)
{
	static const char *const parts[] = {"AKIA", "ABCDEFGH", "eyJ", ".", "eyJhbGciOiJI", A10,
		A40, " ", "\n", "sk-", "sk-proj-", "sk-ant-", "T3BlbkFJ", "ghp_", "://", "user",
		":", "@", "password", "token", "=", "\"", "bearer ", "-----BEGIN ", "RSA ",
		"PRIVATE KEY-----", "-----END ", "-", "xoxb-", "a", "A", "\xc3\xa9", "0"};
	size_t len = 0;
	for (size_t n = 1 + (size_t)random() % 40; n > 0; n--) {
		const char *part = parts[(size_t)random() % ARRAY_SIZE(parts)];
		if (len + strlen(part) < size) {
			memcpy(out + len, part, strlen(part));
			len += strlen(part);
		}
	}
	return len;
}

/* Pieces since the state was last empty give the same state: what follows goes out alike. */
static void check_resume(struct fixture *f, const char *text, size_t len, size_t piece)
{
	struct secret_text live = {0}, resumed = {0};
	size_t since = 0;
	for (size_t at = 0; at < len; at += piece) {
		size_t n = len - at < piece ? len - at : piece;
		if (secret_text_is_empty(&live))
			since = at;
		const struct secret_search search = search_of(f, ALL_SETS);
		bool recent;
		f->out.len = 0;
		assert_int_equal(secret_text_take(&live, &search, (const uint8_t *)text + at, n,
					 &f->out, &recent),
			0);
		if (recent)
			since = at;
		for (size_t warm = since; warm < at + n; warm += piece)
			take(f, &resumed, text + warm,
				at + n - warm < piece ? at + n - warm : piece);
		assert_int_equal(live.held.len, resumed.held.len);
		assert_int_equal(live.sent, resumed.sent);
		assert_int_equal(live.masked_to, resumed.masked_to);
		assert_int_equal(live.tail_count, resumed.tail_count);
		secret_text_free(&resumed);
	}
	secret_text_free(&live);
}

static void random_texts_are_masked_alike_however_they_are_cut(void **state)
{
	struct fixture *f = *state;
	const char *given = getenv("SIGHTLINE_SEED");
	unsigned int seed = given != NULL ? (unsigned int)atoi(given) : (unsigned int)time(NULL);
	print_message("SIGHTLINE_SEED=%u\n", seed);
	srandom(seed);
	for (int i = 0; i < RANDOM_TEXTS; i++) {
		char text[1024];
		size_t cut[4], len = random_text(text, sizeof(text) - 2);
		memcpy(text + len, " \n", 2);
		len += 2;
		struct buf expected = {0};
		mask_whole(f, ALL_SETS, text, len);
		assert_int_equal(buf_append(&expected, f->out.data, f->out.len), 0);
		for (size_t cuts = 1; cuts <= 4; cuts++) {
			random_cuts(len, cut, cuts);
			check_split(f, text, len, cut, cuts, &expected);
		}
		check_resume(f, text, len, 1 + (size_t)random() % 40);
		buf_free(&expected);
	}
}

/* ---- bounds ---- */

static void what_stays_undecided_is_masked_after_the_bound(void **state)
{
	struct fixture *f = *state;
	struct secret_text text = {0};
	f->out.len = 0;
	take(f, &text, "x eyJ", 5);
	for (int i = 0; i < 2 * SECRET_PENDING_MAX; i++) {
		take(f, &text, "a", 1);
		assert_true(text.held.len <= SECRET_PENDING_MAX);
	}
	take(f, &text, " !", 2);
	assert_int_equal(f->out.len, strlen("x eyJ# !"));
	assert_memory_equal(f->out.data, "x eyJ# !", f->out.len);
	assert_true(secret_text_is_empty(&text));
	secret_text_free(&text);
}

static void nothing_is_held_before_a_secret_can_have_begun(void **state)
{
	struct fixture *f = *state;
	struct secret_text text = {0};
	f->out.len = 0;
	take(f, &text, "passwor", 7);
	assert_int_equal(f->out.len, 7);
	take(f, &text, "d: hun", 6);
	assert_int_equal(f->out.len, 10);
	take(f, &text, "ter", 3);
	assert_int_equal(f->out.len, 10);
	take(f, &text, " ", 1);
	assert_int_equal(f->out.len, 17);
	secret_text_free(&text);
}

static void a_long_piece_leaves_little_behind(void **state)
{
	struct fixture *f = *state;
	enum { LONG = 1024 * 1024, LITTLE = 64 * 1024 };
	struct secret_text text = {0};
	char *piece = malloc(LONG);
	assert_non_null(piece);
	memset(piece, ' ', LONG);
	memcpy(piece + LONG - 8, "AKIAIOSF", 8);
	f->out.len = 0;
	take(f, &text, piece, LONG);
	assert_int_equal(f->out.len, LONG - 4);
	assert_int_equal(text.held.len, 8);
	assert_true(text.held.allocated <= LITTLE);
	secret_text_free(&text);
	free(piece);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_set_masks_its_samples_and_no_other_set_does),
		cmocka_unit_test(what_is_no_secret_stays),
		cmocka_unit_test(every_split_of_every_sample_is_masked_alike),
		cmocka_unit_test(any_number_of_splits_of_every_sample_leaves_the_same_behind),
		cmocka_unit_test(random_texts_are_masked_alike_however_they_are_cut),
		cmocka_unit_test(what_stays_undecided_is_masked_after_the_bound),
		cmocka_unit_test(nothing_is_held_before_a_secret_can_have_begun),
		cmocka_unit_test(a_long_piece_leaves_little_behind),
	};
	return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
