/*
 * hop_limit: what one process in between costs when it only reads and writes again.
 *
 *	hop_limit EVENTS RATE
 *
 * A sender writes EVENTS timestamps at an even RATE into a Unix socket, a second process hands them
 * on through another, a third takes them: the delay runs from the send to the receipt, as in
 * publish_load and tail_load. One JSON line with the quantiles.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "tests/bench/delays.h"

enum { EVENT_BYTES = 128, BUFFER_BYTES = 64 * 1024 };

static void send_all(int to, uint64_t events, uint64_t rate)
{
	uint64_t event[EVENT_BYTES / sizeof(uint64_t)] = {0}, start_ns = clock_monotonic_ns();
	for (uint64_t i = 0; i < events; i++) {
		uint64_t at = start_ns + i * NS_PER_S / rate;
		struct timespec due = {(time_t)(at / NS_PER_S), (long)(at % NS_PER_S)};
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL);
		event[0] = clock_monotonic_ns();
		if (write(to, event, sizeof(event)) != (ssize_t)sizeof(event))
			_exit(1);
	}
	_exit(0);
}

static void hand_on(int from, int to)
{
	static uint8_t buffer[BUFFER_BYTES];
	ssize_t n;
	while ((n = read(from, buffer, sizeof(buffer))) > 0) {
		if (write(to, buffer, (size_t)n) != n)
			_exit(1);
	}
	_exit(0);
}

static int take_all(int from, uint64_t events, struct delays *delays)
{
	uint64_t event[EVENT_BYTES / sizeof(uint64_t)];
	for (uint64_t i = 0; i < events; i++) {
		ssize_t n = recv(from, event, sizeof(event), MSG_WAITALL);
		if (n != (ssize_t)sizeof(event))
			return n < 0 ? -errno : -EPIPE;
		delays_add(delays, clock_monotonic_ns() - event[0]);
	}
	return 0;
}

static int run(uint64_t events, uint64_t rate, struct delays *delays)
{
	int first[2], second[2];
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, first) < 0 ||
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, second) < 0)
		return -errno;
	pid_t middle = fork();
	if (middle == 0) {
		fd_close(first[1]);
		fd_close(second[0]);
		hand_on(first[0], second[1]);
	}
	pid_t sender = middle < 0 ? -1 : fork();
	if (sender == 0)
		send_all(first[1], events, rate);
	fd_close(first[0]);
	fd_close(first[1]);
	fd_close(second[1]);
	int r = sender < 0 ? -EAGAIN : take_all(second[0], events, delays);
	fd_close(second[0]);
	if (middle > 0)
		waitpid(middle, NULL, 0);
	if (sender > 0)
		waitpid(sender, NULL, 0);
	return r;
}

int main(int argc, char **argv)
{
	if (argc != 3 || atoll(argv[1]) <= 0 || atoll(argv[2]) <= 0) {
		fprintf(stderr, "usage: hop_limit EVENTS RATE\n");
		return 2;
	}
	struct delays delays;
	uint64_t events = strtoull(argv[1], NULL, 10);
	int r = delays_init(&delays, events);
	if (r == 0)
		r = run(events, strtoull(argv[2], NULL, 10), &delays);
	if (r == 0) {
		printf("{\"events\":%" PRIu64 ",", events);
		delays_print(&delays);
		puts("}");
	} else {
		fprintf(stderr, "hop_limit: %s\n", strerror(-r));
	}
	delays_free(&delays);
	return r == 0 ? 0 : 1;
}
