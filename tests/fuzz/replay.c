/*
 * Runs a fuzz target over every file of the directories (or files) named, without libFuzzer, and
 * over each file's beginnings too, so that a truncated input is always among what is tried.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/base/buf.h"
#include "proto/base/fd.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

enum { MAX_BYTES = 64 * 1024 * 1024, BEGINNINGS = 64 };

/* In a block of exactly its size, so that a sanitizer sees a read beyond it. */
static int run_one(const uint8_t *bytes, size_t len)
{
	uint8_t *copy = malloc(len != 0 ? len : 1);
	if (copy == NULL)
		return -ENOMEM;
	if (len != 0)
		memcpy(copy, bytes, len);
	LLVMFuzzerTestOneInput(copy, len);
	free(copy);
	return 0;
}

static int run_file(const char *path, unsigned int *count)
{
	_cleanup_buf_ struct buf content = {0};
	int r = fd_read_file(path, MAX_BYTES, &content);
	if (r == 0)
		r = run_one(content.data, content.len);
	for (size_t i = 0; i < BEGINNINGS && r == 0; i++)
		r = run_one(content.data, content.len * i / BEGINNINGS);
	if (r < 0)
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
	(*count)++;
	return r;
}

static int run_directory(const char *path, unsigned int *count)
{
	struct dirent **entry;
	int n = scandir(path, &entry, NULL, alphasort);
	if (n < 0) {
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		return -1;
	}
	int r = 0;
	for (int i = 0; i < n; i++) {
		char file[4096];
		snprintf(file, sizeof(file), "%s/%s", path, entry[i]->d_name);
		if (r == 0 && entry[i]->d_name[0] != '.')
			r = run_file(file, count);
		free(entry[i]);
	}
	free(entry);
	return r;
}

int main(int argc, char **argv)
{
	unsigned int count = 0;
	for (int i = 1; i < argc; i++) {
		struct stat st;
		bool is_directory = stat(argv[i], &st) == 0 && S_ISDIR(st.st_mode);
		if ((is_directory ? run_directory : run_file)(argv[i], &count) < 0)
			return EXIT_FAILURE;
	}
	printf("%u inputs\n", count);
	return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
