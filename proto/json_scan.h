/*
 * Finding the next byte of a JSON string that needs a look: the inner loop of proto/json.c.
 *
 * Sixteen bytes at a time with SSE2 (part of every amd64) or NEON (part of every arm64), else eight
 * at a time in a 64-bit word. All three answer the same.
 */
#pragma once

#include <stdint.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON) && defined(__aarch64__)
#include <arm_neon.h>
#endif

/* A quote, a backslash, a control character, or the beginning of a character beyond ASCII. */
static inline int json_needs_a_look(uint8_t byte)
{
	return byte == '"' || byte == '\\' || byte < 0x20 || byte >= 0x80;
}

static inline const uint8_t *json_skip_plain_words(const uint8_t *p, const uint8_t *end)
{
	const uint64_t ones = UINT64_C(0x0101010101010101), highs = ones << 7;
	while (end - p >= 8) {
		uint64_t word;
		memcpy(&word, p, sizeof(word));
		uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
		/* (x - n) & ~x has a byte's high bit set where x < n; a borrow from the byte below
		 * can only set one wrongly above a right one, and the bytes are then looked at. */
		uint64_t hit = ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) |
			       ((word - ones * 0x20) & ~word) | word;
		if (hit & highs)
			break;
		p += 8;
	}
	while (p < end && !json_needs_a_look(*p))
		p++;
	return p;
}

/* The first byte in [p, end) that json_needs_a_look(), or `end`. */
static inline const uint8_t *json_skip_plain(const uint8_t *p, const uint8_t *end)
{
#if defined(__SSE2__)
	const __m128i quote = _mm_set1_epi8('"'), backslash = _mm_set1_epi8('\\');
	const __m128i space = _mm_set1_epi8(0x20);
	while (end - p >= 16) {
		__m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)p);
		/* Compared as signed, bytes beyond ASCII are below the space as well. */
		__m128i hit = _mm_or_si128(
			_mm_cmplt_epi8(bytes, space), _mm_or_si128(_mm_cmpeq_epi8(bytes, quote),
							      _mm_cmpeq_epi8(bytes, backslash)));
		int mask = _mm_movemask_epi8(hit);
		if (mask != 0)
			return p + __builtin_ctz((unsigned int)mask);
		p += 16;
	}
#elif defined(__ARM_NEON) && defined(__aarch64__)
	const uint8x16_t quote = vdupq_n_u8('"'), backslash = vdupq_n_u8('\\');
	const int8x16_t space = vdupq_n_s8(0x20);
	while (end - p >= 16) {
		uint8x16_t bytes = vld1q_u8(p);
		uint8x16_t hit = vorrq_u8(vcltq_s8(vreinterpretq_s8_u8(bytes), space),
			vorrq_u8(vceqq_u8(bytes, quote), vceqq_u8(bytes, backslash)));
		/* Four bits for each byte. */
		uint64_t mask = vget_lane_u64(
			vreinterpret_u64_u8(vshrn_n_u16(vreinterpretq_u16_u8(hit), 4)), 0);
		if (mask != 0)
			return p + (__builtin_ctzll(mask) >> 2);
		p += 16;
	}
#endif
	return json_skip_plain_words(p, end);
}
