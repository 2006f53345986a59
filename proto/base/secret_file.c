#include "proto/base/secret_file.h"

#include <errno.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/buf.h"
#include "proto/base/fd.h"

int secret_file_path(const char *name, const char *config_path, char *out, size_t out_size)
{
	if (name[0] == '\0')
		return -EINVAL;
	const char *credentials = getenv("CREDENTIALS_DIRECTORY");
	const char *slash = config_path != NULL ? strrchr(config_path, '/') : NULL;
	int n;
	if (name[0] == '/')
		n = snprintf(out, out_size, "%s", name);
	else if (credentials != NULL)
		n = snprintf(out, out_size, "%s/%s", credentials, name);
	else if (slash != NULL)
		n = snprintf(
			out, out_size, "%.*s/%s", (int)(slash - config_path), config_path, name);
	else
		n = snprintf(out, out_size, "%s", name);
	return n < 0 || (size_t)n >= out_size ? -ENAMETOOLONG : 0;
}

int secret_file_read(const char *path, char **secret, size_t *len)
{
	struct buf content = {0};
	int r = fd_read_file(path, SECRET_FILE_MAX_BYTES, &content);
	if (r < 0)
		return r;
	if (content.len > 0 && content.data[content.len - 1] == '\n')
		content.len--;
	if (content.len == 0 || memchr(content.data, '\0', content.len) != NULL)
		r = -EINVAL;
	char *copy = r == 0 ? malloc(content.len + 1) : NULL;
	if (r == 0 && copy == NULL)
		r = -ENOMEM;
	if (r == 0) {
		memcpy(copy, content.data, content.len);
		copy[content.len] = '\0';
		*secret = copy;
		*len = content.len;
	}
	if (content.data != NULL)
		sodium_memzero(content.data, content.allocated);
	buf_free(&content);
	return r;
}

void secret_free(char *secret, size_t len)
{
	if (secret == NULL)
		return;
	sodium_memzero(secret, len);
	free(secret);
}
