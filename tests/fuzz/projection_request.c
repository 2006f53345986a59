/* projection/relay: any bytes on a connection; it ends, and the next one is served as ever. */
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "projection/relay.h"
#include "proto/base/bytes.h"
#include "proto/base/fd.h"
#include "proto/message.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { TURNS_MAX = 10000 };

struct target {
	uv_loop_t loop;
	struct policy policy;
	struct relay_server server;
	struct sockaddr_un address;
	socklen_t address_len;
};

static const char policy_text[] =
	"version: 1\nroles:\n  v:\n    observe: [{runtime: '*', worker: '*'}]\n"
	"    events: {allow: ['*'], deny: [s]}\n    commands: {allow: [a]}\n"
	"    redact: [{in: ['*'], path: '**.m', action: mask}]\n";

static void expect(bool claim)
{
	if (!claim)
		abort();
}

/* Listening at an address of the kernel's choice, without a file. */
static void open_target(struct target *target)
{
	struct projection_key key = {{1}};
	struct yaml_error error;
	journal_set_max_level(LOG_CRIT);
	expect(uv_loop_init(&target->loop) == 0);
	expect(policy_parse(&target->policy, "p", policy_text, strlen(policy_text), &error) == 0);
	expect(relay_server_init(&target->server, &target->policy, &key) == 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	target->address.sun_family = AF_UNIX;
	target->address_len = sizeof(target->address);
	expect(bind(fd, (struct sockaddr *)&target->address, sizeof(sa_family_t)) == 0);
	expect(getsockname(fd, (struct sockaddr *)&target->address, &target->address_len) == 0);
	expect(listen(fd, 8) == 0);
	expect(relay_server_start(&target->server, &target->loop, fd) == 0);
}

static int connect_to(const struct target *target)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	expect(connect(fd, (const struct sockaddr *)&target->address, target->address_len) == 0);
	return fd;
}

/* Sends all, reads what comes, and lets the loop turn until the other side has closed. */
static void exchange(struct target *target, int fd, const uint8_t *bytes, size_t len)
{
	static uint8_t sink[65536];
	uint64_t served = target->server.counters.relays;
	for (int turn = 0; turn < TURNS_MAX; turn++) {
		ssize_t n = len > 0 ? send(fd, bytes, len, MSG_NOSIGNAL) : 0;
		if (n > 0) {
			bytes += n;
			len -= (size_t)n;
		}
		if (len == 0)
			shutdown(fd, SHUT_WR);
		while (recv(fd, sink, sizeof(sink), 0) > 0) {
		}
		uv_run(&target->loop, UV_RUN_NOWAIT);
		if (target->server.counters.relays > served && target->server.first == NULL)
			break;
	}
	expect(target->server.first == NULL);
	close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	static struct target target;
	static struct buf hello;
	if (target.policy.role == NULL) {
		open_target(&target);
		struct message_writer writer;
		message_begin(&writer, &hello, MESSAGE_HELLO);
		write_u64(&writer, 1);
		write_text(&writer, "fuzz");
		expect(message_end(&writer) == 0);
	}
	/* An odd first byte: behind a HELLO. */
	int fd = connect_to(&target);
	if (len > 0 && (bytes[0] & 1) != 0)
		expect(send(fd, hello.data, hello.len, MSG_NOSIGNAL) == (ssize_t)hello.len);
	exchange(&target, fd, len > 0 ? bytes + 1 : bytes, len > 0 ? len - 1 : 0);
	return 0;
}
