/*
 * Hash tables: uthash with a keyed hash.
 *
 * Keys such as worker ids are chosen by peers, so the hash is SipHash-2-4 under a key drawn at
 * start (libsodium's crypto_shorthash): nobody outside can aim at one bucket. Include this and
 * never <uthash.h> itself. An allocation that fails leaves the element out, with its handle's
 * `tbl` NULL (HASH_NONFATAL_OOM): check with map_has_handle() after adding.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* SipHash-2-4 under this process's key, folded to 32 bits. */
uint32_t map_hash(const void *key, size_t len);

#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = map_hash((keyptr), (size_t)(keylen)))
#define HASH_NONFATAL_OOM 1
#define uthash_nonfatal_oom(element) ((void)(element))
#include <uthash.h>

#define map_for_each(head, element, next) HASH_ITER(hh, head, element, next)
#define map_has_handle(element) ((element)->hh.tbl != NULL)
