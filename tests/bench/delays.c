#include "tests/bench/delays.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

int delays_init(struct delays *delays, size_t most)
{
	*delays = (struct delays){
		.ns = malloc((most + 1) * sizeof(*delays->ns)), .allocated = most};
	return delays->ns == NULL ? -ENOMEM : 0;
}

void delays_free(struct delays *delays)
{
	free(delays->ns);
	*delays = (struct delays){0};
}

void delays_add(struct delays *delays, uint64_t ns)
{
	if (delays->count < delays->allocated)
		delays->ns[delays->count++] = ns;
}

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return (x > y) - (x < y);
}

static double quantile_us(const struct delays *delays, double share)
{
	if (delays->count == 0)
		return 0;
	size_t at = (size_t)((double)(delays->count - 1) * share);
	return (double)delays->ns[at] / 1e3;
}

void delays_print_as(struct delays *delays, const char *prefix)
{
	static const struct {
		const char *name;
		double share;
	} quantiles[] = {{"p50_us", 0.5}, {"p99_us", 0.99}, {"p999_us", 0.999}, {"max_us", 1}};
	qsort(delays->ns, delays->count, sizeof(*delays->ns), compare);
	for (size_t i = 0; i < sizeof(quantiles) / sizeof(quantiles[0]); i++)
		printf("%s\"%s%s\":%.2f", i > 0 ? "," : "", prefix, quantiles[i].name,
			quantile_us(delays, quantiles[i].share));
}

void delays_print(struct delays *delays)
{
	delays_print_as(delays, "");
}
