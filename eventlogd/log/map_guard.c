#include "eventlogd/log/map_guard.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>

struct guard {
	const uint8_t *map;
	size_t len;
	sigjmp_buf back;
};

static _Thread_local struct guard *volatile active;

static void on_sigbus(int signal_number, siginfo_t *info, _unused_ void *context)
{
	struct guard *guard = active;
	uintptr_t address = (uintptr_t)info->si_addr;
	if (guard != NULL && address - (uintptr_t)guard->map < guard->len)
		siglongjmp(guard->back, 1);
	/* Not ours: the fault repeats under the default action and ends the process. */
	struct sigaction action = {.sa_handler = SIG_DFL};
	sigaction(signal_number, &action, NULL);
}

void map_guard_install(void)
{
	/* SA_NODEFER: the jump leaves the handler without the return that would unblock it. */
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER};
	int r = sigaction(SIGBUS, &action, NULL);
	assert(r == 0);
	(void)r;
}

int map_guard_run(const uint8_t *map, size_t len, int (*function)(void *argument), void *argument)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	pthread_once(&once, map_guard_install);
	assert(active == NULL);

	struct guard guard = {.map = map, .len = len};
	if (sigsetjmp(guard.back, 0) != 0) {
		active = NULL;
		return -EIO;
	}
	active = &guard;
	int r = function(argument);
	active = NULL;
	return r;
}
