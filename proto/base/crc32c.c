#include "proto/base/crc32c.h"

#include <string.h>

#include "proto/base/bytes.h"

#if defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#endif

enum { TABLE_SIZE = 256, SLICES = 8 };

static uint32_t table[SLICES][TABLE_SIZE];

typedef uint32_t crc32c_function(uint32_t crc, const uint8_t *p, size_t len);
static crc32c_function *implementation;

/* "Slicing-by-8", Kounavis and Berry, Intel 2005: eight table look-ups for eight bytes. */
static uint32_t extend_table(uint32_t crc, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8) {
		uint32_t low = crc ^ get_le32(p);
		uint32_t high = get_le32(p + 4);
		crc = table[7][low & 0xff] ^ table[6][low >> 8 & 0xff] ^
		      table[5][low >> 16 & 0xff] ^ table[4][low >> 24] ^ table[3][high & 0xff] ^
		      table[2][high >> 8 & 0xff] ^ table[1][high >> 16 & 0xff] ^
		      table[0][high >> 24];
	}
	for (; len > 0; p++, len--)
		crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xff];
	return crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t extend_sse42(
	uint32_t crc, const uint8_t *p, size_t len)
{
	uint64_t wide = crc, words[4];
	/* Fewer instructions a word, so that the processor reaches on into what comes after. */
	for (; len >= sizeof(words); p += sizeof(words), len -= sizeof(words)) {
		memcpy(words, p, sizeof(words));
		wide = __builtin_ia32_crc32di(wide, words[0]);
		wide = __builtin_ia32_crc32di(wide, words[1]);
		wide = __builtin_ia32_crc32di(wide, words[2]);
		wide = __builtin_ia32_crc32di(wide, words[3]);
	}
	for (; len >= 8; p += 8, len -= 8) {
		memcpy(words, p, 8);
		wide = __builtin_ia32_crc32di(wide, words[0]);
	}
	crc = (uint32_t)wide;
	if (len >= 4) {
		crc = __builtin_ia32_crc32si(crc, get_le32(p));
		p += 4;
		len -= 4;
	}
	for (; len > 0; p++, len--)
		crc = __builtin_ia32_crc32qi(crc, *p);
	return crc;
}
#elif defined(__aarch64__)
__attribute__((target("+crc"))) static uint32_t extend_armv8(
	uint32_t crc, const uint8_t *p, size_t len)
{
	for (; len >= 8; p += 8, len -= 8)
		crc = __crc32cd(crc, get_le64(p));
	for (; len > 0; p++, len--)
		crc = __crc32cb(crc, *p);
	return crc;
}
#endif

__attribute__((constructor)) static void choose_implementation(void)
{
	for (uint32_t i = 0; i < TABLE_SIZE; i++) {
		uint32_t crc = i;
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78 : 0);
		table[0][i] = crc;
	}
	for (uint32_t i = 0; i < TABLE_SIZE; i++) {
		for (int slice = 1; slice < SLICES; slice++)
			table[slice][i] = table[slice - 1][i] >> 8 ^
					  table[0][table[slice - 1][i] & 0xff];
	}
	implementation = extend_table;
#if defined(__x86_64__)
	if (__builtin_cpu_supports("sse4.2"))
		implementation = extend_sse42;
#elif defined(__aarch64__)
	if (getauxval(AT_HWCAP) & HWCAP_CRC32)
		implementation = extend_armv8;
#endif
}

uint32_t crc32c_extend(uint32_t crc, const void *bytes, size_t len)
{
	return ~implementation(~crc, bytes, len);
}

uint32_t crc32c(const void *bytes, size_t len)
{
	return crc32c_extend(0, bytes, len);
}

uint32_t crc32c_extend_portable(uint32_t crc, const void *bytes, size_t len)
{
	return ~extend_table(~crc, bytes, len);
}
