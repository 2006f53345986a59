#include "proto/base/daemon.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/journal.h"
#include "proto/base/sandbox.h"

enum { STOP_DEADLINE_MS = 10000, READY_AGAIN_MS = 100 };

static void daemon_on_stop_signal(uv_signal_t *handle, int signum)
{
	(void)signum;
	daemon_stop(handle->data);
}

static void daemon_on_reload_signal(uv_signal_t *handle, int signum)
{
	(void)signum;
	struct daemon *daemon = handle->data;
	if (daemon->on_reload != NULL && !daemon->stopping)
		daemon->on_reload(daemon);
}

static void daemon_on_watchdog_timer(uv_timer_t *handle)
{
	struct daemon *daemon = handle->data;
	(void)notify_send(&daemon->notify, "WATCHDOG=1"); /* the next one comes soon enough */
}

static void daemon_on_deadline(uv_timer_t *handle)
{
	journal(LOG_WARNING, "not drained within the stop deadline, ending now");
	daemon_quit(handle->data);
}

static int start_signals(struct daemon *daemon)
{
	struct {
		uv_signal_t *handle;
		uv_signal_cb callback;
		int signum;
	} const signals[] = {
		{&daemon->sigterm, daemon_on_stop_signal, SIGTERM},
		{&daemon->sigint, daemon_on_stop_signal, SIGINT},
		{&daemon->sighup, daemon_on_reload_signal, SIGHUP},
	};
	signal(SIGPIPE, SIG_IGN);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++) {
		int r = uv_signal_init(&daemon->loop, signals[i].handle);
		if (r < 0)
			return r;
		signals[i].handle->data = daemon;
		r = uv_signal_start(signals[i].handle, signals[i].callback, signals[i].signum);
		if (r < 0)
			return r;
		uv_unref((uv_handle_t *)signals[i].handle);
	}
	return 0;
}

int daemon_init(struct daemon *daemon, const char *program)
{
	*daemon = (struct daemon){.stop_deadline_ms = STOP_DEADLINE_MS};
	daemon->notify.fd = -1;
	int r = fd_fill_standard();
	if (r < 0)
		return r;
	journal_open(program);
	/* The journal's socket is made by the first line; in a sandbox none could be made. */
	journal(LOG_INFO, "starting, version %s", SIGHTLINE_VERSION);
	r = inherited_fds_take(&daemon->inherited);
	if (r < 0)
		return r;
	r = notify_open(&daemon->notify);
	if (r < 0)
		return r;
	r = sandbox_refuse_io_uring();
	if (r < 0)
		journal(LOG_WARNING, "no seccomp filter on this kernel: %s", strerror(-r));
	r = uv_loop_init(&daemon->loop);
	if (r < 0)
		return r;
	uv_timer_init(&daemon->loop, &daemon->ready_again);
	uv_timer_init(&daemon->loop, &daemon->watchdog);
	uv_timer_init(&daemon->loop, &daemon->deadline);
	daemon->ready_again.data = daemon;
	daemon->watchdog.data = daemon;
	daemon->deadline.data = daemon;
	return start_signals(daemon);
}

static void daemon_on_ready_again(uv_timer_t *handle);

static void say_ready(struct daemon *daemon)
{
	if (daemon->stopping || notify_send(&daemon->notify, "READY=1"))
		return;
	uv_timer_start(&daemon->ready_again, daemon_on_ready_again, READY_AGAIN_MS, 0);
	uv_unref((uv_handle_t *)&daemon->ready_again);
}

static void daemon_on_ready_again(uv_timer_t *handle)
{
	say_ready(handle->data);
}

void daemon_ready(struct daemon *daemon)
{
	say_ready(daemon);
	if (daemon->notify.watchdog_ns == 0)
		return;
	uint64_t period_ms = daemon->notify.watchdog_ns / NS_PER_MS / 2;
	if (period_ms == 0)
		period_ms = 1;
	uv_timer_start(&daemon->watchdog, daemon_on_watchdog_timer, 0, period_ms);
	uv_unref((uv_handle_t *)&daemon->watchdog);
}

int daemon_run(struct daemon *daemon)
{
	assert(daemon->on_stop != NULL);
	/* uv_run() answers 0 when no handle is active any more, non-zero after uv_stop(). */
	uv_run(&daemon->loop, UV_RUN_DEFAULT);
	bool timed_out = daemon->stopping && !uv_is_active((uv_handle_t *)&daemon->deadline);
	uv_timer_stop(&daemon->deadline);
	return timed_out ? -ETIMEDOUT : 0;
}

void daemon_stop(struct daemon *daemon)
{
	if (daemon->stopping)
		return;
	daemon->stopping = true;
	(void)notify_send(&daemon->notify, "STOPPING=1"); /* the manager's deadline runs anyway */
	uv_timer_start(&daemon->deadline, daemon_on_deadline, daemon->stop_deadline_ms, 0);
	uv_unref((uv_handle_t *)&daemon->deadline);
	daemon->on_stop(daemon);
}

void daemon_quit(struct daemon *daemon)
{
	uv_stop(&daemon->loop);
}

/* Without a handler a signal that comes again would now end the process with another code. */
static void hold_signals_back(void)
{
	sigset_t signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, NULL);
}

void daemon_close(struct daemon *daemon)
{
	hold_signals_back();
	uv_handle_t *const handles[] = {
		(uv_handle_t *)&daemon->sigterm,
		(uv_handle_t *)&daemon->sigint,
		(uv_handle_t *)&daemon->sighup,
		(uv_handle_t *)&daemon->ready_again,
		(uv_handle_t *)&daemon->watchdog,
		(uv_handle_t *)&daemon->deadline,
	};
	for (size_t i = 0; i < ARRAY_SIZE(handles); i++) {
		if (handles[i]->type != UV_UNKNOWN_HANDLE && !uv_is_closing(handles[i]))
			uv_close(handles[i], NULL);
	}
	uv_run(&daemon->loop, UV_RUN_DEFAULT);
	int r = uv_loop_close(&daemon->loop);
	assert(r == 0);
	(void)r;
	inherited_fds_close_rest(&daemon->inherited);
	notify_close(&daemon->notify);
}
