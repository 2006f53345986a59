/* eventlogd/log: the scrub, and what verify says of a digest. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "eventlogd/log/event_log_private.h"
#include "proto/base/bytes.h"
#include "proto/base/clock.h"
#include "proto/base/crc32c.h"
#include "tests/lib/reserve_fixture.h"

/* Ticks until the scrub has had its turn with every sealed segment. */
static void let_scrub_work(struct log_fixture *f)
{
	struct event_log_status status;
	do {
		log_fixture_tick(f, NS_PER_S / 4);
		if (f->log->scrub_asked)
			log_fixture_wait(f);
		(void)event_log_commit(f->log, f->wall_ns);
		event_log_status(f->log, &status);
	} while (f->log->scrub_asked || f->log->scrub.segment_id != 0);
}

static void the_scrub_finds_what_is_not_what_was_sealed(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	f->config.retention.bytes = 0;
	log_fixture_open(f);
	reserve_make_noise(f, 4);
	assert_int_equal(log_fixture_close(f), 0);
	log_fixture_open(f);
	struct event_log_status status;
	unsigned int sealed = 0;
	for (size_t i = 0; i < event_log_view(f->log)->segment_count; i++)
		sealed += event_log_view(f->log)->segments[i]->is_sealed;
	assert_true(sealed >= 4);
	for (unsigned int i = 0; i < sealed; i++)
		let_scrub_work(f);
	event_log_status(f->log, &status);
	assert_int_equal(status.scrubbed_segments, sealed);
	assert_int_equal(status.scrub_mismatches, 0);
	/* Not again before a day has passed. */
	let_scrub_work(f);
	event_log_status(f->log, &status);
	assert_int_equal(status.scrubbed_segments, sealed);
	log_fixture_patch_segment(f, 1, SEGMENT_HEADER_BYTES + 300, "x", 1);
	log_fixture_tick(f, SCRUB_PERIOD_NS);
	for (unsigned int i = 0; i < sealed; i++)
		let_scrub_work(f);
	event_log_status(f->log, &status);
	assert_int_equal(status.scrubbed_segments, 2 * sealed);
	assert_int_equal(status.scrub_mismatches, 1);
	assert_int_equal(f->findings[FINDING_DIGEST_WRONG], 1);
	assert_int_equal(f->findings[FINDING_READ_ERROR], 0);
}

static void verify_tells_a_wrong_digest(void **state)
{
	struct log_fixture *f = &((struct reserve_fixture *)*state)->log;
	log_fixture_open(f);
	reserve_make_noise(f, 2);
	assert_int_equal(log_fixture_close(f), 0);
	size_t len;
	uint8_t *bytes = log_fixture_load_segment(f, 0, &len);
	/* A trailer that is whole and tells of other data. */
	uint8_t *trailer = bytes + len - SEGMENT_TRAILER_BYTES;
	put_le32(trailer + 96, get_le32(trailer + 96) ^ 1);
	put_le32(trailer + 8, crc32c(trailer + 12, SEGMENT_TRAILER_BYTES - 12));
	log_fixture_patch_segment(
		f, 0, len - SEGMENT_TRAILER_BYTES, trailer, SEGMENT_TRAILER_BYTES);
	free(bytes);
	assert_int_equal(reserve_damage_found(f), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(the_scrub_finds_what_is_not_what_was_sealed,
			reserve_setup, reserve_teardown),
		cmocka_unit_test_setup_teardown(
			verify_tells_a_wrong_digest, reserve_setup, reserve_teardown),
	};
	return cmocka_run_group_tests_name("event_log_scrub", tests, NULL, NULL);
}
