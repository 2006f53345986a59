/* proto/base: checksums, buffers, hash table keys, files. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "proto/base/buf.h"
#include "proto/base/crc32c.h"
#include "proto/base/fd.h"
#include "proto/base/journal.h"
#include "proto/base/secret_file.h"
#include "proto/base/utf8.h"

static void crc32c_gives_the_published_check_values(void **state)
{
	(void)state;
	uint8_t zeros[32] = {0}, ones[32];
	memset(ones, 0xff, sizeof(ones));
	/* RFC 3720 B.4 */
	assert_int_equal(crc32c("123456789", 9), 0xE3069283);
	assert_int_equal(crc32c(zeros, sizeof(zeros)), 0x8A9136AA);
	assert_int_equal(crc32c(ones, sizeof(ones)), 0x62A8AB43);
	assert_int_equal(crc32c("", 0), 0);
}

static void crc32c_is_the_same_by_instruction_by_table_and_in_pieces(void **state)
{
	(void)state;
	uint8_t bytes[1024];
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 167 + (i >> 3));
	for (size_t start = 0; start < 9; start++) {
		for (size_t len = 0; len < sizeof(bytes) - start; len += 13) {
			uint32_t whole = crc32c(bytes + start, len);
			assert_int_equal(whole, crc32c_extend_portable(0, bytes + start, len));
			uint32_t pieces = crc32c(bytes + start, len / 3);
			pieces = crc32c_extend(pieces, bytes + start + len / 3, len - len / 3);
			assert_int_equal(whole, pieces);
		}
	}
}

static void buf_of_a_known_size_takes_no_more_and_may_grow_still(void **state)
{
	(void)state;
	uint8_t bytes[300] = {0};
	struct buf buf;
	buf_init(&buf, 1000);
	assert_int_equal(buf_reserve_exactly(&buf, 1001), -EMSGSIZE);
	assert_int_equal(buf_reserve_exactly(&buf, sizeof(bytes)), 0);
	assert_int_equal(buf_append(&buf, bytes, sizeof(bytes)), 0);
	assert_int_equal(buf.allocated, sizeof(bytes));
	assert_int_equal(buf_append(&buf, bytes, sizeof(bytes)), 0);
	assert_int_equal(buf.len, 2 * sizeof(bytes));
	buf_free(&buf);
}

static void buf_keeps_its_content_when_the_cap_is_reached(void **state)
{
	(void)state;
	struct buf buf;
	buf_init(&buf, 300);
	uint8_t bytes[200];
	memset(bytes, 'x', sizeof(bytes));
	assert_int_equal(buf_append(&buf, bytes, sizeof(bytes)), 0);
	assert_int_equal(buf_append(&buf, bytes, sizeof(bytes)), -EMSGSIZE);
	assert_int_equal(buf.len, 200);
	assert_int_equal(buf_append(&buf, bytes, 100), 0);
	buf_consume(&buf, 299);
	assert_int_equal(buf.len, 1);
	assert_int_equal(buf_reserve(&buf, SIZE_MAX - 1), -ENOMEM);
	buf_free(&buf);
}

static void file_is_replaced_whole_and_read_back(void **state)
{
	(void)state;
	char directory[] = "/tmp/sightline-test-XXXXXX", path[64];
	assert_non_null(mkdtemp(directory));
	snprintf(path, sizeof(path), "%s/cursor", directory);
	assert_int_equal(fd_write_file_atomically(path, "one", 3, 0600), 0);
	assert_int_equal(fd_write_file_atomically(path, "three", 5, 0600), 0);
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	struct buf content = {0};
	assert_int_equal(fd_read_file(path, 5, &content), 0);
	assert_int_equal(content.len, 5);
	assert_memory_equal(content.data, "three", 5);
	assert_int_equal(fd_read_file(path, 4, &content), -EFBIG);
	assert_int_equal(content.len, 5);
	buf_free(&content);
	unlink(path);
	assert_int_equal(fd_read_file(path, 4, &content), -ENOENT);
	assert_int_equal(rmdir(directory), 0); /* no temporary file is left behind */
}

static void utf8_refuses_what_rfc_3629_refuses(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		bool valid;
	} cases[] = {
		{"", true},
		{"plain", true},
		{"\xc2\x80\xdf\xbf", true},
		{"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80", true},
		{"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", true},
		{"\xc0\x80", false},         /* overlong NUL */
		{"\xc1\xbf", false},         /* overlong */
		{"\xe0\x9f\xbf", false},     /* overlong */
		{"\xf0\x8f\xbf\xbf", false}, /* overlong */
		{"\xed\xa0\x80", false},     /* surrogate */
		{"\xf4\x90\x80\x80", false}, /* above U+10FFFF */
		{"\xf5\x80\x80\x80", false},
		{"\x80", false},
		{"\xe2\x82", false},
		{"\xf0\x90\x80", false},
		{"\xff", false},
	};
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		assert_int_equal(
			utf8_is_valid((const uint8_t *)cases[i].bytes, strlen(cases[i].bytes)),
			cases[i].valid);
}

static void journal_limit_counts_what_it_holds_back(void **state)
{
	(void)state;
	struct journal_limit limit = {.interval_ns = 1000, .burst = 2};
	unsigned int suppressed = 99;
	assert_true(journal_limit_pass(&limit, 5000, &suppressed));
	assert_int_equal(suppressed, 0);
	assert_true(journal_limit_pass(&limit, 5001, &suppressed));
	assert_false(journal_limit_pass(&limit, 5002, &suppressed));
	assert_false(journal_limit_pass(&limit, 5999, &suppressed));
	assert_true(journal_limit_pass(&limit, 6000, &suppressed));
	assert_int_equal(suppressed, 2);
}

static void secret_is_looked_up_among_credentials_then_beside_the_configuration(void **state)
{
	(void)state;
	char path[64];
	unsetenv("CREDENTIALS_DIRECTORY");
	assert_int_equal(secret_file_path("/a/token", "/etc/x.yaml", path, sizeof(path)), 0);
	assert_string_equal(path, "/a/token");
	assert_int_equal(secret_file_path("token", "/etc/s/x.yaml", path, sizeof(path)), 0);
	assert_string_equal(path, "/etc/s/token");
	assert_int_equal(secret_file_path("token", NULL, path, sizeof(path)), 0);
	assert_string_equal(path, "token");
	setenv("CREDENTIALS_DIRECTORY", "/run/c", 1);
	assert_int_equal(secret_file_path("token", "/etc/s/x.yaml", path, sizeof(path)), 0);
	assert_string_equal(path, "/run/c/token");
	unsetenv("CREDENTIALS_DIRECTORY");
	assert_int_equal(secret_file_path("", NULL, path, sizeof(path)), -EINVAL);
	assert_int_equal(secret_file_path("token", "/etc/s/x.yaml", path, 5), -ENAMETOOLONG);
}

static void secret_loses_one_newline_and_must_not_be_empty(void **state)
{
	(void)state;
	static const struct {
		const char *bytes;
		size_t len;
		int result;
		const char *secret;
	} cases[] = {
		{"abc\n", 4, 0, "abc"},
		{"abc", 3, 0, "abc"},
		{"abc\n\n", 5, 0, "abc\n"},
		{"\n", 1, -EINVAL, NULL},
		{"", 0, -EINVAL, NULL},
		{"a\0b", 3, -EINVAL, NULL},
	};
	char path[] = "/tmp/sightline-test-XXXXXX";
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	close(fd);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		char *secret = NULL;
		size_t len = 0;
		assert_int_equal(
			fd_write_file_atomically(path, cases[i].bytes, cases[i].len, 0600), 0);
		assert_int_equal(secret_file_read(path, &secret, &len), cases[i].result);
		if (cases[i].secret != NULL)
			assert_string_equal(secret, cases[i].secret);
		secret_free(secret, len);
	}
	unlink(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(crc32c_gives_the_published_check_values),
		cmocka_unit_test(crc32c_is_the_same_by_instruction_by_table_and_in_pieces),
		cmocka_unit_test(buf_of_a_known_size_takes_no_more_and_may_grow_still),
		cmocka_unit_test(buf_keeps_its_content_when_the_cap_is_reached),
		cmocka_unit_test(file_is_replaced_whole_and_read_back),
		cmocka_unit_test(utf8_refuses_what_rfc_3629_refuses),
		cmocka_unit_test(journal_limit_counts_what_it_holds_back),
		cmocka_unit_test(
			secret_is_looked_up_among_credentials_then_beside_the_configuration),
		cmocka_unit_test(secret_loses_one_newline_and_must_not_be_empty),
	};
	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
