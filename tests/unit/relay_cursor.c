/* backend-relay/client_cursor and event_id: what opens, what does not, and what stays the same. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "backend-relay/client_cursor.h"
#include "backend-relay/event_id.h"

static const uint8_t secret_a[KEY_BYTES] = {1, 2, 3}, secret_b[KEY_BYTES] = {4, 5, 6};

static const struct client_position position = {
	.at = {0x89abcdef, 3, 0x1122334455667788},
	.warm_from = {0x89abcdef, 2, 0x1122334455667700},
	.view = {9, 8, 7, 6, 5, 4, 3, 2},
};

static struct client_cursor_keys keys_of(const uint8_t *first, const uint8_t *second)
{
	struct client_cursor_keys keys = {0};
	assert_int_equal(client_cursor_add_key(&keys, first), 0);
	if (second != NULL)
		assert_int_equal(client_cursor_add_key(&keys, second), 0);
	return keys;
}

static void sealed_position_opens_as_it_was(void **state)
{
	(void)state;
	struct client_cursor_keys keys = keys_of(secret_a, NULL);
	char text[CLIENT_CURSOR_TEXT_BYTES + 1];
	client_cursor_seal(&keys, "run", "w:1", &position, text);
	assert_int_equal(strlen(text), CLIENT_CURSOR_TEXT_BYTES);
	assert_memory_equal(text, "bo_", 3);
	struct client_position opened;
	assert_int_equal(client_cursor_open(&keys, "run", "w:1", text, strlen(text), &opened),
		CLIENT_CURSOR_OK);
	assert_int_equal(opened.at.log, position.at.log);
	assert_int_equal(opened.at.epoch, position.at.epoch);
	assert_true(opened.at.sequence == position.at.sequence);
	assert_int_equal(opened.warm_from.log, position.at.log);
	assert_int_equal(opened.warm_from.epoch, 2);
	assert_true(opened.warm_from.sequence == position.warm_from.sequence);
	assert_memory_equal(opened.view, position.view, VIEW_DIGEST_BYTES);
}

static void same_event_has_the_same_cursor_at_every_relay(void **state)
{
	(void)state;
	struct client_cursor_keys here = keys_of(secret_a, NULL),
				  there = keys_of(secret_a, secret_b);
	char one[CLIENT_CURSOR_TEXT_BYTES + 1], two[CLIENT_CURSOR_TEXT_BYTES + 1];
	client_cursor_seal(&here, "run", "w", &position, one);
	client_cursor_seal(&there, "run", "w", &position, two);
	assert_string_equal(one, two);
	struct client_position next = position;
	next.at.sequence++;
	next.warm_from.sequence++;
	client_cursor_seal(&here, "run", "w", &next, two);
	/* Neighbours share the key's id and nothing that shows how near they are. */
	unsigned int equal = 0;
	for (size_t i = 9; i < CLIENT_CURSOR_TEXT_BYTES; i++)
		equal += one[i] == two[i];
	assert_true(equal < 20);
}

/* Nobody can tell two cursors of one place from cursors of two. */
static void place_has_another_cursor_each_time(void **state)
{
	(void)state;
	struct client_cursor_keys keys = keys_of(secret_a, NULL);
	char one[CLIENT_CURSOR_TEXT_BYTES + 1], two[CLIENT_CURSOR_TEXT_BYTES + 1];
	client_cursor_seal_place(&keys, "run", "w", &position, one);
	client_cursor_seal_place(&keys, "run", "w", &position, two);
	unsigned int equal = 0;
	for (size_t i = 9; i < CLIENT_CURSOR_TEXT_BYTES; i++)
		equal += one[i] == two[i];
	assert_true(equal < 20);
	struct client_position opened;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(client_cursor_open(&keys, "run", "w", i == 0 ? one : two,
					 CLIENT_CURSOR_TEXT_BYTES, &opened),
			CLIENT_CURSOR_OK);
		assert_true(opened.at.sequence == position.at.sequence);
		assert_true(opened.warm_from.sequence == position.warm_from.sequence);
	}
}

static void cursor_of_another_stream_is_unknown(void **state)
{
	(void)state;
	struct client_cursor_keys keys = keys_of(secret_a, NULL);
	char text[CLIENT_CURSOR_TEXT_BYTES + 1];
	client_cursor_seal(&keys, "run", "w1", &position, text);
	struct client_position opened;
	static const char *const others[][2] = {
		{"run", "w2"}, {"ru", "nw1"}, {"runw", "1"}, {"other", "w1"}};
	for (size_t i = 0; i < ARRAY_SIZE(others); i++)
		assert_int_equal(client_cursor_open(&keys, others[i][0], others[i][1], text,
					 strlen(text), &opened),
			CLIENT_CURSOR_UNKNOWN);
}

static void every_changed_character_is_noticed(void **state)
{
	(void)state;
	struct client_cursor_keys keys = keys_of(secret_a, NULL);
	char text[CLIENT_CURSOR_TEXT_BYTES + 1];
	client_cursor_seal(&keys, "run", "w", &position, text);
	static const char alphabet[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	for (size_t i = 3; i < CLIENT_CURSOR_TEXT_BYTES; i++) {
		char original = text[i];
		for (size_t c = 0; c < sizeof(alphabet) - 1; c++) {
			struct client_position opened;
			text[i] = alphabet[c];
			if (text[i] != original)
				assert_int_equal(client_cursor_open(&keys, "run", "w", text,
							 CLIENT_CURSOR_TEXT_BYTES, &opened),
					CLIENT_CURSOR_UNKNOWN);
		}
		text[i] = original;
	}
}

static void malformed_and_unknown_are_told_apart(void **state)
{
	(void)state;
	struct client_cursor_keys keys = keys_of(secret_a, NULL);
	static const struct {
		const char *text;
		enum client_cursor_result expected;
	} cases[] = {
		{"", CLIENT_CURSOR_MALFORMED},
		{"bo", CLIENT_CURSOR_MALFORMED},
		{"wo_0123456789ab_0000000000000001", CLIENT_CURSOR_MALFORMED},
		{"Bo_abc", CLIENT_CURSOR_MALFORMED},
		{"bo_ab=", CLIENT_CURSOR_MALFORMED},
		{"bo_ab+/", CLIENT_CURSOR_MALFORMED},
		{"bo_ab cd", CLIENT_CURSOR_MALFORMED},
		{"bo_", CLIENT_CURSOR_UNKNOWN},
		{"bo_abc", CLIENT_CURSOR_UNKNOWN},
	};
	struct client_position opened;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(client_cursor_open(&keys, "run", "w", cases[i].text,
					 strlen(cases[i].text), &opened),
			cases[i].expected);
	char text[200] = "bo_";
	memset(text + 3, 'a', sizeof(text) - 3);
	for (size_t len = 3; len < sizeof(text); len++)
		assert_int_equal(client_cursor_open(&keys, "run", "w", text, len, &opened),
			len <= 123 ? CLIENT_CURSOR_UNKNOWN : CLIENT_CURSOR_MALFORMED);
}

static void older_key_still_opens_and_the_new_one_seals(void **state)
{
	(void)state;
	struct client_cursor_keys before = keys_of(secret_a, NULL);
	struct client_cursor_keys after = keys_of(secret_b, secret_a);
	struct client_cursor_keys later = keys_of(secret_b, NULL);
	char text[CLIENT_CURSOR_TEXT_BYTES + 1], again[CLIENT_CURSOR_TEXT_BYTES + 1];
	client_cursor_seal(&before, "run", "w", &position, text);
	struct client_position opened;
	assert_int_equal(client_cursor_open(&after, "run", "w", text, strlen(text), &opened),
		CLIENT_CURSOR_OK);
	assert_int_equal(client_cursor_open(&later, "run", "w", text, strlen(text), &opened),
		CLIENT_CURSOR_UNKNOWN);
	client_cursor_seal(&after, "run", "w", &opened, again);
	assert_int_equal(client_cursor_open(&later, "run", "w", again, strlen(again), &opened),
		CLIENT_CURSOR_OK);
}

static void number_of_keys_is_bounded(void **state)
{
	(void)state;
	struct client_cursor_keys keys = {0};
	for (int i = 0; i < CLIENT_CURSOR_KEYS_MAX; i++)
		assert_int_equal(client_cursor_add_key(&keys, secret_a), 0);
	assert_int_equal(client_cursor_add_key(&keys, secret_a), -ENOSPC);
}

static void event_id_depends_on_everything_that_names_the_event(void **state)
{
	(void)state;
	struct event_id_key key = {{1}}, other_key = {{2}};
	struct cursor at = {1, 2, 3};
	char id[EVENT_ID_TEXT_BYTES + 1], other[EVENT_ID_TEXT_BYTES + 1];
	event_id_format(&key, "run", "w", &at, id);
	assert_int_equal(strlen(id), EVENT_ID_TEXT_BYTES);
	assert_memory_equal(id, "be_", 3);
	event_id_format(&key, "run", "w", &at, other);
	assert_string_equal(id, other);
	static const struct cursor places[] = {{2, 2, 3}, {1, 3, 3}, {1, 2, 4}};
	for (size_t i = 0; i < ARRAY_SIZE(places); i++) {
		event_id_format(&key, "run", "w", &places[i], other);
		assert_string_not_equal(id, other);
	}
	event_id_format(&key, "ru", "nw", &at, other);
	assert_string_not_equal(id, other);
	event_id_format(&other_key, "run", "w", &at, other);
	assert_string_not_equal(id, other);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sealed_position_opens_as_it_was),
		cmocka_unit_test(same_event_has_the_same_cursor_at_every_relay),
		cmocka_unit_test(place_has_another_cursor_each_time),
		cmocka_unit_test(cursor_of_another_stream_is_unknown),
		cmocka_unit_test(every_changed_character_is_noticed),
		cmocka_unit_test(malformed_and_unknown_are_told_apart),
		cmocka_unit_test(older_key_still_opens_and_the_new_one_seals),
		cmocka_unit_test(number_of_keys_is_bounded),
		cmocka_unit_test(event_id_depends_on_everything_that_names_the_event),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
