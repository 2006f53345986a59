#include "eventlogd/log/view.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "eventlogd/log/catalog.h"
#include "eventlogd/log/recovery.h"

/* Each time a segment went away between being listed and being read. */
enum { READ_TRIES = 16 };

static int read_directory(struct log_view *view, const struct finding_sink *findings)
{
	int r = -ENOENT;
	bool is_empty = false;
	for (int i = 0; r == -ENOENT && !is_empty && i < READ_TRIES; i++) {
		struct recovery recovery;
		if (i > 0) {
			catalog_clear(view);
			catalog_init(view, view->ops, view->directory_fd, UINT32_MAX);
		}
		r = recovery_read(view, findings, &recovery);
		is_empty = r == 0 && recovery.is_empty;
		recovery_free(&recovery);
	}
	return is_empty ? -ENOENT : r;
}

int log_view_open(struct log_view **out, const char *directory, const struct file_ops *ops,
	const struct finding_sink *findings)
{
	if (ops == NULL)
		ops = &file_ops_system;
	struct log_view *view = calloc(1, sizeof(*view));
	if (view == NULL)
		return -ENOMEM;
	int fd = ops->open_at(ops->owner, AT_FDCWD, directory, O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0) {
		free(view);
		return fd;
	}
	catalog_init(view, ops, fd, UINT32_MAX);
	int r = read_directory(view, findings);
	if (r != 0) {
		log_view_close(view);
		return r;
	}
	*out = view;
	return 0;
}

int log_view_refresh(struct log_view *view)
{
	if (view->is_live)
		return -EINVAL;
	struct log_view fresh;
	catalog_init(&fresh, view->ops, view->directory_fd, UINT32_MAX);
	int r = read_directory(&fresh, NULL);
	if (r != 0) {
		catalog_clear(&fresh);
		return r;
	}
	catalog_clear(view);
	*view = fresh;
	return 0;
}

void log_view_close(struct log_view *view)
{
	if (view == NULL)
		return;
	catalog_clear(view);
	view->ops->close(view->ops->owner, view->directory_fd);
	free(view);
}
