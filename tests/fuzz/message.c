/*
 * proto/message: a body as each of the six senders could have sent it.
 *
 * What passes msgpack_check is one whole value to the library too; a body is accepted for exactly
 * the senders of its row; what was accepted, written again, reads as the same.
 */
#include <stdlib.h>
#include <string.h>

#include "proto/limits.h"
#include "proto/message.h"
#include "proto/msgpack_check.h"

enum { LENGTH_WORD_BYTES = 4, SENDERS = FROM_PROJECTION * 2 };

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void expect(bool claim)
{
	if (!claim)
		abort();
}

static volatile uint8_t sink;

static void touch(const void *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		sink = sink ^ ((const uint8_t *)bytes)[i];
}

static void read_as_everything(const msgpack_object *field)
{
	uint64_t u = 0;
	int64_t i = 0;
	bool b;
	const char *text;
	const uint8_t *raw;
	const msgpack_object *items;
	size_t len;
	uint32_t count;
	bool is_u64 = field_u64(field, &u), is_i64 = field_i64(field, &i);
	expect(!is_u64 || !is_i64 || (i >= 0 && (uint64_t)i == u));
	bool is_text = field_text(field, &text, &len, NAME_BYTES_MAX);
	expect(!is_text || (len <= NAME_BYTES_MAX && memchr(text, 0, len) == NULL));
	bool is_bytes = field_bytes(field, &raw, &len);
	expect(!is_text || is_bytes);
	if (is_bytes)
		touch(raw, len);
	bool is_array = field_array(field, &items, &count);
	for (uint32_t n = 0; is_array && n < count; n++)
		read_as_everything(&items[n]);
	(void)field_map_get(field, "limits");
	expect(field_is_nil(field) + field_bool(field, &b) + (is_u64 || is_i64) + is_bytes +
			is_array <=
		1);
}

static void write_again(const struct message *message, struct buf *out)
{
	struct message_writer writer;
	message_begin(&writer, out, message->type);
	for (uint32_t i = 0; i < message->arity; i++)
		msgpack_pack_object(&writer.packer, message->field[i]);
	expect(message_end(&writer) == 0);
}

static void check_written_again_is_the_same(const struct message *message, unsigned int sender)
{
	_cleanup_buf_ struct buf once = {0}, twice = {0};
	struct message_decoder decoder;
	struct message again;
	const char *why;
	expect(message_decoder_init(&decoder) == 0);
	write_again(message, &once);
	expect(message_decode(&decoder, sender, once.data + LENGTH_WORD_BYTES,
		       once.len - LENGTH_WORD_BYTES, &again, &why) == MESSAGE_OK);
	expect(again.type == message->type && again.arity == message->arity);
	write_again(&again, &twice);
	expect(once.len == twice.len && memcmp(once.data, twice.data, once.len) == 0);
	message_decoder_free(&decoder);
}

static void check_library_agrees(const uint8_t *bytes, size_t len)
{
	const char *why;
	if (msgpack_check(bytes, len, MSGPACK_DEPTH_MAX, MSGPACK_ELEMENTS_MAX, &why) !=
		MSGPACK_CHECK_OK)
		return;
	msgpack_unpacked unpacked;
	msgpack_unpacked_init(&unpacked);
	size_t offset = 0;
	expect(msgpack_unpack_next(&unpacked, (const char *)bytes, len, &offset) ==
		MSGPACK_UNPACK_SUCCESS);
	expect(offset == len);
	msgpack_unpacked_destroy(&unpacked);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct message_decoder decoder;
	struct message message;
	unsigned int accepted_for = 0;
	check_library_agrees(bytes, len);
	expect(message_decoder_init(&decoder) == 0);
	for (unsigned int sender = FROM_WORKER; sender < SENDERS; sender <<= 1) {
		const char *why = NULL;
		int r = message_decode(&decoder, sender, bytes, len, &message, &why);
		expect(r == MESSAGE_OK || (r == MESSAGE_MALFORMED && why != NULL));
		if (r != MESSAGE_OK)
			continue;
		accepted_for |= sender;
		expect(strcmp(message_name(message.type), "?") != 0);
		for (uint32_t i = 0; i < message.arity; i++)
			read_as_everything(&message.field[i]);
		check_written_again_is_the_same(&message, sender);
	}
	/* Each type goes in one direction on one socket, but for the three of all sockets. */
	expect((accepted_for & (accepted_for - 1)) == 0 || message.type == MESSAGE_HELLO ||
		message.type == MESSAGE_WELCOME || message.type == MESSAGE_ERROR);
	message_decoder_free(&decoder);
	return 0;
}
