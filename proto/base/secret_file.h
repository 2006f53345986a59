/*
 * Secrets come from files: tokens, keys. Never from the command line, the environment or the
 * configuration itself.
 *
 * A relative name is looked up in $CREDENTIALS_DIRECTORY where the service manager gave one
 * (LoadCredential=), else beside the configuration file that names it.
 */
#pragma once

#include <stddef.h>

#include "proto/base/attributes.h"

enum { SECRET_FILE_MAX_BYTES = 4096 };

/*
 * Where a name leads: absolute as it is, else as said above. `config_path` may be NULL (then the
 * working directory). 0, -ENAMETOOLONG, or -EINVAL for an empty name.
 */
_must_check_ int secret_file_path(
	const char *name, const char *config_path, char *out, size_t out_size);

/*
 * Reads a secret of at most SECRET_FILE_MAX_BYTES and drops one newline at its end. The caller
 * frees it with secret_free(). 0; -EINVAL when it is empty or holds a NUL; or the -errno of
 * reading.
 */
_must_check_ int secret_file_read(const char *path, char **secret, size_t *len);

/* Wipes before freeing. NULL is fine. */
void secret_free(char *secret, size_t len);
