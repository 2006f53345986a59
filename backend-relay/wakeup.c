#include "backend-relay/wakeup.h"

static void wakeups_on_idle(uv_idle_t *handle)
{
	struct wakeups *wakeups = handle->data;
	TAILQ_CONCAT(&wakeups->running, &wakeups->waiting, link);
	struct wakeup *wakeup;
	while ((wakeup = TAILQ_FIRST(&wakeups->running)) != NULL) {
		wakeup_cancel(wakeup);
		wakeup->run(wakeup);
	}
	if (TAILQ_EMPTY(&wakeups->waiting))
		uv_idle_stop(&wakeups->idle);
}

int wakeups_open(struct wakeups *wakeups, uv_loop_t *loop)
{
	TAILQ_INIT(&wakeups->waiting);
	TAILQ_INIT(&wakeups->running);
	wakeups->idle.data = wakeups;
	return uv_idle_init(loop, &wakeups->idle);
}

void wakeups_close(struct wakeups *wakeups)
{
	uv_close((uv_handle_t *)&wakeups->idle, NULL);
}

void wakeup_init(struct wakeup *wakeup, struct wakeups *queue, void (*run)(struct wakeup *wakeup),
	void *owner)
{
	*wakeup = (struct wakeup){.run = run, .owner = owner, .queue = queue};
}

void wakeup_schedule(struct wakeup *wakeup)
{
	if (wakeup->scheduled)
		return;
	wakeup->scheduled = true;
	TAILQ_INSERT_TAIL(&wakeup->queue->waiting, wakeup, link);
	uv_idle_start(&wakeup->queue->idle, wakeups_on_idle);
}

void wakeup_cancel(struct wakeup *wakeup)
{
	if (!wakeup->scheduled)
		return;
	wakeup->scheduled = false;
	/*
	 * TAILQ_REMOVE needs the list only to move its tail, and the tail of either list is right:
	 * the element knows which list it ends by whether anything follows.
	 */
	struct wakeup *last_running = TAILQ_LAST(&wakeup->queue->running, wakeup_list);
	struct wakeup_list *list = TAILQ_NEXT(wakeup, link) == NULL && last_running == wakeup
					   ? &wakeup->queue->running
					   : &wakeup->queue->waiting;
	TAILQ_REMOVE(list, wakeup, link);
}
