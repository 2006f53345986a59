#include "tests/bench/corpus.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static int read_whole(FILE *file, uint8_t **bytes, size_t *len)
{
	struct stat status;
	if (fstat(fileno(file), &status) < 0)
		return -errno;
	*len = (size_t)status.st_size;
	*bytes = malloc(*len + 1);
	if (*bytes == NULL)
		return -ENOMEM;
	return fread(*bytes, 1, *len, file) == *len ? 0 : -EIO;
}

static int split(struct corpus *corpus, size_t len)
{
	size_t lines = 1;
	for (size_t i = 0; i < len; i++)
		lines += corpus->bytes[i] == '\n';
	corpus->events = calloc(lines, sizeof(*corpus->events));
	if (corpus->events == NULL)
		return -ENOMEM;
	for (const uint8_t *p = corpus->bytes, *end = p + len; p < end;) {
		const uint8_t *newline = memchr(p, '\n', (size_t)(end - p));
		const uint8_t *stop = newline == NULL ? end : newline;
		if (stop > p)
			corpus->events[corpus->count++] = (struct corpus_event){
				p, (uint32_t)(stop - p)};
		p = stop + 1;
	}
	return corpus->count > 0 ? 0 : -ENODATA;
}

int corpus_load(struct corpus *corpus, const char *path)
{
	*corpus = (struct corpus){0};
	FILE *file = fopen(path, "rbe");
	if (file == NULL)
		return -errno;
	size_t len = 0;
	int r = read_whole(file, &corpus->bytes, &len);
	fclose(file);
	if (r == 0)
		r = split(corpus, len);
	if (r < 0)
		corpus_free(corpus);
	return r;
}

void corpus_free(struct corpus *corpus)
{
	free(corpus->bytes);
	free(corpus->events);
	*corpus = (struct corpus){0};
}
