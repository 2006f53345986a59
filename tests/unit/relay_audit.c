/* backend-relay/audit_tally: a subject's bucket, and sums of what goes beyond it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "backend-relay/audit_tally.h"

static struct audit_tally tally;
static struct audit_sum taken[TALLY_SUMS_MAX + 1];
static size_t taken_count;

static void take(const struct audit_sum *sum)
{
	taken[taken_count++] = *sum;
}

static int begin(void **state)
{
	(void)state;
	taken_count = 0;
	audit_tally_init(&tally);
	return 0;
}

static unsigned int fill(const char *name, unsigned int count, uint64_t now_ns)
{
	unsigned int written = 0;
	for (unsigned int i = 0; i < count; i++)
		written += audit_tally_has_room(&tally, name, now_ns);
	return written;
}

static void a_bucket_empties_fills_again_and_is_nobody_elses(void **state)
{
	(void)state;
	uint64_t now_ns = NS_PER_S;
	assert_int_equal(fill("alice", 3 * TALLY_BURST, now_ns), TALLY_BURST);
	assert_int_equal(fill("bob", 10, now_ns), 10);
	assert_int_equal(fill("alice", 10, now_ns + TALLY_REFILL_NS - 1), 0);
	assert_int_equal(fill("alice", 10, now_ns + 3 * TALLY_REFILL_NS), 3);
	assert_int_equal(
		fill("alice", 3 * TALLY_BURST, now_ns + 5000 * TALLY_REFILL_NS), TALLY_BURST);
}

static void who_owes_most_is_not_pushed_out(void **state)
{
	(void)state;
	assert_int_equal(fill("alice", TALLY_BURST + 1, NS_PER_S), TALLY_BURST);
	for (unsigned int i = 0; i < 20000; i++) {
		char name[32];
		snprintf(name, sizeof(name), "other-%u", i);
		fill(name, 2, NS_PER_S);
	}
	assert_int_equal(fill("alice", 10, NS_PER_S), 0);
}

static void sums_are_kept_apart_by_subject_and_stream_and_begin_anew(void **state)
{
	(void)state;
	audit_tally_sum(&tally, "alice", "viewer", "r", "w-1")->begun += 2;
	audit_tally_sum(&tally, "alice", "viewer", "r", "w-2")->begun++;
	audit_tally_sum(&tally, "alice", "viewer", "r", "w-1")->counts.delivered += 7;
	audit_tally_sum(&tally, NULL, "anonymous", NULL, NULL)->ended++;
	audit_tally_flush(&tally, take);
	assert_int_equal(taken_count, 3);
	assert_int_equal(taken[0].begun, 2);
	assert_int_equal(taken[0].counts.delivered, 7);
	assert_string_equal(taken[1].worker_id.text, "w-2");
	assert_string_equal(taken[2].subject, "");
	audit_tally_flush(&tally, take);
	assert_int_equal(taken_count, 3);
}

static void what_finds_no_room_is_in_one_sum(void **state)
{
	(void)state;
	uint64_t begun = 0;
	for (unsigned int i = 0; i < 1000; i++) {
		char worker_id[32];
		snprintf(worker_id, sizeof(worker_id), "w-%u", i);
		audit_tally_sum(&tally, "alice", "viewer", "r", worker_id)->begun++;
	}
	audit_tally_flush(&tally, take);
	assert_int_equal(taken_count, TALLY_SUMS_MAX + 1);
	for (size_t i = 0; i < taken_count; i++)
		begun += taken[i].begun;
	assert_int_equal(begun, 1000);
	assert_string_equal(taken[TALLY_SUMS_MAX].subject, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(a_bucket_empties_fills_again_and_is_nobody_elses, begin),
		cmocka_unit_test_setup(who_owes_most_is_not_pushed_out, begin),
		cmocka_unit_test_setup(
			sums_are_kept_apart_by_subject_and_stream_and_begin_anew, begin),
		cmocka_unit_test_setup(what_finds_no_room_is_in_one_sum, begin),
	};
	if (sodium_init() < 0)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
