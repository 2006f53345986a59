/* What a power loss leaves of a disk model. */
#include <assert.h>
#include <string.h>

#include "proto/base/bytes.h"
#include "tests/lib/disk_model_private.h"
#include "tests/lib/random.h"

enum { SECTOR_BYTES = 512, PAGE_BYTES = 4096 };

enum left_over {
	LEFT_NOTHING,
	LEFT_ALL,
	LEFT_UP_TO_A_CALL,
	LEFT_PAGES,   /* each page as of any call */
	LEFT_SECTORS, /* each sector as of any call */
	LEFT_SOME_PAGES,
	LEFT_TORN, /* sectors cut off within, where nothing durable stood */
	LEFT_KINDS,
};

struct file_crash {
	struct disk_model *disk;
	size_t number, calls, durable_calls;
	enum left_over left_over;
	uint64_t *random;
	uint8_t *bytes;
	size_t len;
	size_t *kept_calls; /* a sector holds what came before this call */
};

static void apply_bytes(
	struct file_crash *crash, const struct disk_call *call, size_t from, size_t to)
{
	if (call->kind == CALL_WRITE)
		memcpy(crash->bytes + from, call->bytes + (from - call->offset), to - from);
	else
		memset(crash->bytes + from, 0, to - from);
}

static size_t choose_kept(struct file_crash *crash, size_t up_to)
{
	switch (crash->left_over) {
	case LEFT_NOTHING:
		return crash->durable_calls;
	case LEFT_ALL:
		return crash->calls;
	case LEFT_SOME_PAGES:
	case LEFT_TORN:
		return random_below(crash->random, 2) == 0 ? crash->durable_calls : crash->calls;
	case LEFT_UP_TO_A_CALL:
		return up_to;
	default:
		return crash->durable_calls +
		       random_below(crash->random, crash->calls - crash->durable_calls + 1);
	}
}

static void choose_sectors(struct file_crash *crash)
{
	size_t sectors = crash->len / SECTOR_BYTES + 1, kept = 0;
	size_t up_to = crash->durable_calls +
		       random_below(crash->random, crash->calls - crash->durable_calls + 1);
	bool by_sector = crash->left_over == LEFT_SECTORS || crash->left_over == LEFT_TORN;
	crash->kept_calls = must(calloc(sectors, sizeof(size_t)));
	for (size_t i = 0; i < sectors; i++) {
		if (by_sector || i % (PAGE_BYTES / SECTOR_BYTES) == 0)
			kept = choose_kept(crash, up_to);
		crash->kept_calls[i] = kept;
	}
}

static bool is_zero(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (bytes[i] != 0)
			return false;
	return true;
}

/* A sector that held nothing may be found written to its half. */
static void apply_torn(
	struct file_crash *crash, const struct disk_call *call, size_t from, size_t to)
{
	size_t sector = from / SECTOR_BYTES * SECTOR_BYTES;
	bool was_empty = is_zero(crash->bytes + sector, SECTOR_BYTES);
	apply_bytes(crash, call, from, to);
	if (!was_empty || random_below(crash->random, 4) != 0)
		return;
	size_t cut = sector + random_below(crash->random, SECTOR_BYTES);
	bool keeps_end = random_below(crash->random, 2) == 0;
	memset(crash->bytes + (keeps_end ? sector : cut), 0,
		keeps_end ? cut - sector : sector + SECTOR_BYTES - cut);
}

static void apply_call(struct file_crash *crash, size_t number)
{
	const struct disk_call *call = &crash->disk->calls[number];
	if (call->offset + call->len > crash->len)
		return; /* the size itself was lost */
	if (number < crash->durable_calls) {
		apply_bytes(crash, call, call->offset, call->offset + call->len);
		return;
	}
	size_t end = call->offset + call->len;
	for (size_t from = call->offset; from < end;) {
		size_t to = (from / SECTOR_BYTES + 1) * SECTOR_BYTES;
		if (to > end)
			to = end;
		if (number < crash->kept_calls[from / SECTOR_BYTES]) {
			if (crash->left_over == LEFT_TORN)
				apply_torn(crash, call, from, to);
			else
				apply_bytes(crash, call, from, to);
		}
		from = to;
	}
}

static void find_size(struct file_crash *crash)
{
	const struct disk_model *disk = crash->disk;
	const struct disk_inode *inode = &disk->inodes[crash->number];
	crash->len = inode->first_bytes;
	for (size_t i = 0; i < crash->calls; i++) {
		const struct disk_call *call = &disk->calls[i];
		if (call->inode != crash->number)
			continue;
		if (call->kind == CALL_SYNC && !call->is_directory &&
			call->covers > crash->durable_calls)
			crash->durable_calls = call->covers;
	}
	for (size_t i = 0; i < crash->calls; i++) {
		const struct disk_call *call = &disk->calls[i];
		bool may_grow = call->kind == CALL_GROW || call->kind == CALL_WRITE;
		if (call->inode == crash->number && may_grow &&
			call->offset + call->len > crash->len &&
			(i < crash->durable_calls || random_below(crash->random, 2) == 0))
			crash->len = call->offset + call->len;
	}
}

static void crash_file(struct file_crash *crash, struct disk_inode *out)
{
	const struct disk_inode *inode = &crash->disk->inodes[crash->number];
	find_size(crash);
	out->bytes = out->first_bytes = crash->len;
	if (crash->len == 0)
		return;
	crash->bytes = out->now = must(calloc(1, align_up(crash->len, SECTOR_BYTES)));
	if (inode->first_bytes != 0)
		memcpy(out->now, inode->first != NULL ? inode->first : inode->now,
			inode->first_bytes);
	choose_sectors(crash);
	for (size_t i = 0; i < crash->calls; i++) {
		const struct disk_call *call = &crash->disk->calls[i];
		if (call->inode == crash->number &&
			(call->kind == CALL_WRITE || call->kind == CALL_ZERO))
			apply_call(crash, i);
	}
	free(crash->kept_calls);
}

static bool is_about_names(const struct disk_call *call)
{
	return call->kind == CALL_LINK || call->kind == CALL_UNLINK || call->kind == CALL_RENAME;
}

static void crash_names(
	const struct disk_model *disk, size_t calls, uint64_t *random, struct disk_names *out)
{
	size_t durable = 0;
	for (size_t i = 0; i < calls; i++)
		if (disk->calls[i].kind == CALL_SYNC && disk->calls[i].is_directory &&
			disk->calls[i].covers > durable)
			durable = disk->calls[i].covers;
	bool in_order = random_below(random, 2) == 0;
	size_t kept = durable + random_below(random, calls - durable + 1);
	*out = disk->first;
	for (size_t i = 0; i < calls; i++) {
		bool is_kept = i < durable || (in_order ? i < kept : random_below(random, 2) == 0);
		if (is_about_names(&disk->calls[i]) && is_kept)
			disk_names_apply(out, &disk->calls[i]);
	}
}

struct disk_model *disk_model_crash(struct disk_model *disk, size_t calls, uint64_t *random)
{
	struct disk_model *image = disk_model_new();
	pthread_mutex_lock(&disk->mutex);
	assert(calls <= disk->call_count);
	crash_names(disk, calls, random, &image->now);
	bool is_mixed = random_below(random, 3) == 0;
	enum left_over left_over = (enum left_over)random_below(random, LEFT_KINDS);
	for (size_t i = 0; i < image->now.count; i++) {
		struct disk_entry *entry = &image->now.entries[i];
		struct file_crash crash = {.disk = disk,
			.number = entry->inode,
			.calls = calls,
			.left_over = is_mixed ? (enum left_over)random_below(random, LEFT_KINDS)
					      : left_over,
			.random = random};
		size_t number = disk_model_add_inode(image);
		crash_file(&crash, &image->inodes[number]);
		entry->inode = number;
	}
	image->first = image->now;
	pthread_mutex_unlock(&disk->mutex);
	return image;
}
