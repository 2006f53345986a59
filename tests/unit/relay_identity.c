/* backend-relay: peers, whom a proxy speaks for, failed attempts, and what happens later. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend-relay/deferral.h"
#include "backend-relay/identity/attempts.h"
#include "backend-relay/identity/forwarded.h"
#include "proto/base/clock.h"

static struct network_address address(const char *text)
{
	struct network_address out;
	assert_true(network_address_parse(text, strlen(text), &out));
	return out;
}

static void assert_address(const struct network_address *actual, const char *expected)
{
	char text[NETWORK_TEXT_MAX + 1];
	network_address_format(actual, text);
	assert_string_equal(text, expected);
}

static void networks_hold_what_is_in_them(void **state)
{
	static const struct {
		const char *network, *address;
		bool inside;
	} rows[] = {
		{"10.0.0.0/8", "10.255.0.1", true},
		{"10.0.0.0/8", "11.0.0.1", false},
		{"10.0.0.0/8", "::ffff:10.1.2.3", true},
		{"192.0.2.7", "192.0.2.7", true},
		{"192.0.2.7", "192.0.2.6", false},
		{"0.0.0.0/0", "255.255.255.255", true},
		{"0.0.0.0/0", "2001:db8::1", false},
		{"::/0", "192.0.2.7", true},
		{"2001:db8::/33", "2001:db8:7fff::1", true},
		{"2001:db8::/33", "2001:db8:8000::1", false},
		{"::1", "::1", true},
	};
	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct network network;
		assert_true(network_parse(rows[i].network, &network));
		const struct network_address peer = address(rows[i].address);
		assert_int_equal(network_contains(&network, &peer), rows[i].inside);
	}
}

static void networks_with_mistakes_are_refused(void **state)
{
	static const char *const texts[] = {"", "/", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.1/8",
		"10.0.0.0/8/8", "10.0.0.0/+8", "10.0.0.0/ 8", "10.0.0.0/0008", "::/129",
		"2001:db8::1/64", "localhost", "10.0.0", "[::1]", "fe80::1%eth0",
		"1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc:dddd:eeee"};
	struct network network;
	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_false(network_parse(texts[i], &network));
}

static void forwarded_is_believed_from_its_end_on(void **state)
{
	static const struct {
		const char *header, *client;
	} rows[] = {
		{"for=192.0.2.1", "192.0.2.1"},
		{"For=\"192.0.2.1:80\"", "192.0.2.1"},
		{"for=\"[2001:db8::1]\"", "2001:db8::1"},
		{"for=\"[2001:db8::1]:80\"", "2001:db8::1"},
		{"proto=https;by=10.0.0.9; for=192.0.2.1 ;host=\"a,b;c\"", "192.0.2.1"},
		{"for=198.51.100.1, for=192.0.2.1", "192.0.2.1"},
		{"for=198.51.100.1,for=192.0.2.1 , for=10.0.0.2", "192.0.2.1"},
		{"for=10.0.0.3,for=10.0.0.2", "10.0.0.3"},
		{"for=192.0.2.1, for=unknown", "10.0.0.1"},
		{"for=192.0.2.1, for=_hidden, for=10.0.0.2", "10.0.0.2"},
		{"for=192.0.2.1, proto=http", "10.0.0.1"},
		/* What can't be read says nothing, not even in part. */
		{"", "10.0.0.1"},
		{"for=192.0.2.1,", "10.0.0.1"},
		{",for=192.0.2.1", "10.0.0.1"},
		{"x,for=192.0.2.1", "10.0.0.1"},
		{"for=\"192.0.2.1", "10.0.0.1"},
		{"for=\"192\\.0.2.1\"", "10.0.0.1"},
		{"for=192.0.2.1;for=192.0.2.2", "10.0.0.1"},
		{"for=192.0.2.1 x", "10.0.0.1"},
		{"for=", "10.0.0.1"},
		{"for=\"[192.0.2.1]\"", "10.0.0.1"},
		{"for=\"[2001:db8::1]x\"", "10.0.0.1"},
		{"for=\"[2001:db8::1\"", "10.0.0.1"},
		{"for=\"[\"", "10.0.0.1"},
	};
	struct network trusted;
	(void)state;
	assert_true(network_parse("10.0.0.0/8", &trusted));
	const struct network_address peer = address("10.0.0.1");
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct network_address client = forwarded_client(
			rows[i].header, &trusted, 1, &peer);
		assert_address(&client, rows[i].client);
	}
}

static void a_list_that_is_too_long_says_nothing(void **state)
{
	char header[FORWARDED_ENTRIES_MAX * 16 + 32] = "for=192.0.2.1";
	struct network trusted;
	(void)state;
	assert_true(network_parse("10.0.0.0/8", &trusted));
	const struct network_address peer = address("10.0.0.1");
	for (int i = 1; i < FORWARDED_ENTRIES_MAX; i++)
		strcat(header, ",for=10.0.0.2");
	struct network_address client = forwarded_client(header, &trusted, 1, &peer);
	assert_address(&client, "192.0.2.1");
	strcat(header, ",for=10.0.0.2");
	client = forwarded_client(header, &trusted, 1, &peer);
	assert_address(&client, "10.0.0.1");
}

static struct attempts attempts;

static void a_bucket_empties_and_fills(void **state)
{
	const struct network_address peer = address("192.0.2.1"), other = address("192.0.2.2");
	uint64_t now = 1000;
	(void)state;
	attempts_init(&attempts, 3, 100);
	for (int i = 0; i < 3; i++) {
		assert_true(attempts_may_try(&attempts, &peer, now));
		attempts_note_failure(&attempts, &peer, now);
	}
	assert_false(attempts_may_try(&attempts, &peer, now));
	assert_false(attempts_may_try(&attempts, &peer, now + 99));
	assert_true(attempts_may_try(&attempts, &peer, now + 100));
	assert_true(attempts_may_try(&attempts, &other, now));
	attempts_note_failure(&attempts, &peer, now + 100);
	assert_false(attempts_may_try(&attempts, &peer, now + 100));
	now += 1000; /* full again, and not fuller */
	for (int i = 0; i < 3; i++)
		attempts_note_failure(&attempts, &peer, now);
	assert_false(attempts_may_try(&attempts, &peer, now));
}

static void a_site_of_ipv6_is_one_peer(void **state)
{
	const struct network_address a = address("2001:db8:1:2:3::4"),
				     b = address("2001:db8:1:2:ffff::"),
				     c = address("2001:db8:1:3::");
	(void)state;
	attempts_init(&attempts, 1, 100);
	attempts_note_failure(&attempts, &a, 1);
	assert_false(attempts_may_try(&attempts, &b, 1));
	assert_true(attempts_may_try(&attempts, &c, 1));
}

/* Far more peers than there is room for: the one that owes most stays known. */
static void who_owes_most_is_not_pushed_out(void **state)
{
	const struct network_address guesser = address("192.0.2.1");
	(void)state;
	attempts_init(&attempts, 5, 1000000);
	for (int i = 0; i < 6; i++)
		attempts_note_failure(&attempts, &guesser, 1);
	for (unsigned int i = 0; i < 100000; i++) {
		char text[32];
		snprintf(text, sizeof(text), "10.%u.%u.%u", i >> 16, i >> 8 & 255, i & 255);
		const struct network_address peer = address(text);
		attempts_note_failure(&attempts, &peer, 2);
	}
	assert_false(attempts_may_try(&attempts, &guesser, 3));
}

struct happening {
	struct deferral deferral;
	int order;
};

static int happened;

static void on_due(struct deferral *deferral)
{
	((struct happening *)deferral)->order = ++happened;
}

static void deferrals_happen_in_order_and_never_early(void **state)
{
	uv_loop_t loop;
	struct deferrals deferrals = {0};
	struct happening late = {0}, early = {0}, never = {0};
	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	deferrals_open(&deferrals, &loop);
	uint64_t begin = clock_monotonic_ns(), ms = NS_PER_MS;
	deferral_start(&deferrals, &late.deferral, begin + 30 * ms, on_due);
	deferral_start(&deferrals, &never.deferral, begin + 20 * ms, on_due);
	deferral_start(&deferrals, &early.deferral, begin + 10 * ms, on_due);
	deferral_cancel(&deferrals, &never.deferral);
	deferral_cancel(&deferrals, &never.deferral);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_true(clock_monotonic_ns() >= begin + 30 * ms);
	assert_int_equal(early.order, 1);
	assert_int_equal(late.order, 2);
	assert_int_equal(never.order, 0);
	deferrals_close(&deferrals);
	uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(networks_hold_what_is_in_them),
		cmocka_unit_test(networks_with_mistakes_are_refused),
		cmocka_unit_test(forwarded_is_believed_from_its_end_on),
		cmocka_unit_test(a_list_that_is_too_long_says_nothing),
		cmocka_unit_test(a_bucket_empties_and_fills),
		cmocka_unit_test(a_site_of_ipv6_is_one_peer),
		cmocka_unit_test(who_owes_most_is_not_pushed_out),
		cmocka_unit_test(deferrals_happen_in_order_and_never_early),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
