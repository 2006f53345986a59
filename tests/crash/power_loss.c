/*
 * power_loss [--count N] [--seed S] [--replay SEED] [--reserve 0|1]
 *
 * The log's promises after a power loss. Each chain of lives, chosen by a seed, writes to a disk in
 * memory (tests/lib/disk_model.h), with a schedule of the two threads chosen too. From each life
 * many images are built: a moment in it, and one of the states in which the disk may be found then.
 * Every image is recovered and held against what had been promised at that moment; the power goes
 * once more inside the recovery of many of them; the next life goes on from one.
 *
 * In every second chain retention compacts segments into the keyframe reserve; --reserve has it in
 * all or none.
 *
 * Prints the seed of each chain that fails; --replay runs that chain alone, again and again (at a
 * start the order of the sync thread's first calls is the system's). The last line says how
 * many images were judged and how many failed.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "proto/base/clock.h"
#include "tests/crash/chain.h"
#include "tests/crash/chain_image.h"
#include "tests/crash/chain_live.h"
#include "tests/lib/random.h"

enum {
	LIVES = 3,
	IMAGES_PER_LIFE = 40,
	DEFAULT_COUNT = 20000,
	REPLAY_COUNT = 2000,
	FAILURES_MAX = 20,
};

/* Moments are chosen anywhere; more of them near the ends of rolls would not find more. */
static void check_images(struct chain *chain, uint64_t count)
{
	size_t calls = disk_model_calls(chain->disk);
	for (uint64_t i = 0; i < count && chain->failed == 0; i++) {
		size_t at = random_below(&chain->random, calls + 1);
		uint64_t state = random_next(&chain->random);
		struct disk_model *image = disk_model_crash(chain->disk, at, &state);
		chain_check_image(chain, image, at);
		disk_model_free(image);
	}
}

static void run_chain(struct chain *chain)
{
	chain->random = chain->seed;
	chain_init(chain);
	chain->disk = disk_model_new();
	chain->wall_ns = UINT64_C(1700000000) * NS_PER_S;
	chain->monotonic_ns = clock_monotonic_ns();
	for (int life = 0; life < LIVES && chain->failed == 0; life++) {
		chain_live(chain);
		if (chain->failed == 0)
			check_images(chain, IMAGES_PER_LIFE);
		if (life + 1 < LIVES)
			chain_go_on_from(chain,
				random_below(&chain->random, disk_model_calls(chain->disk) + 1));
	}
	if (chain->log == NULL)
		disk_model_free(chain->disk);
	chain_free(chain);
}

struct options {
	uint64_t count, seed;
	bool is_replay;
	enum { RESERVE_IN_HALF, RESERVE_NEVER, RESERVE_ALWAYS } reserve;
};

static bool parse_options(int argc, char **argv, struct options *out)
{
	for (int i = 1; i < argc; i += 2) {
		if (i + 1 == argc)
			return false;
		char *end;
		uint64_t value = strtoull(argv[i + 1], &end, 10);
		if (*end != '\0')
			return false;
		if (strcmp(argv[i], "--count") == 0) {
			out->count = value;
		} else if (strcmp(argv[i], "--seed") == 0) {
			out->seed = value;
		} else if (strcmp(argv[i], "--reserve") == 0) {
			out->reserve = value == 0 ? RESERVE_NEVER : RESERVE_ALWAYS;
		} else if (strcmp(argv[i], "--replay") == 0) {
			out->seed = value;
			out->is_replay = true;
			out->count = REPLAY_COUNT;
		} else {
			return false;
		}
	}
	return true;
}

int main(int argc, char **argv)
{
	struct options options = {.count = DEFAULT_COUNT, .seed = (uint64_t)time(NULL) << 16};
	if (!parse_options(argc, argv, &options)) {
		fprintf(stderr, "usage: power_loss [--count N] [--seed S] [--replay SEED] "
				"[--reserve 0|1]\n");
		return 2;
	}
	printf("seed %llu\n", (unsigned long long)options.seed);
	uint64_t images = 0, failed = 0, chains = 0, compacted = 0;
	for (uint64_t seed = options.seed; images < options.count && failed < FAILURES_MAX;
		seed += options.is_replay ? 0 : 1) {
		struct chain chain = {.seed = seed,
			.has_reserve = options.reserve == RESERVE_IN_HALF
					       ? seed % 2 == 1
					       : options.reserve == RESERVE_ALWAYS};
		run_chain(&chain);
		chains++;
		images += chain.images;
		failed += chain.failed;
		compacted += chain.compacted;
		if (chain.failed != 0)
			printf("repeat with: power_loss --replay %llu --reserve %d\n",
				(unsigned long long)seed, chain.has_reserve);
	}
	printf("%llu moments with a keyframe reserve\n", (unsigned long long)compacted);
	printf("power_loss: %llu images of %llu chains, %llu failed\n", (unsigned long long)images,
		(unsigned long long)chains, (unsigned long long)failed);
	return failed == 0 ? 0 : 1;
}
