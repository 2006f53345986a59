/*
 * CRC-32C (Castagnoli), reflected polynomial 0x82F63B78, as in RFC 3720 appendix B.4.
 *
 * Uses the instruction of the machine (SSE4.2, ARMv8 CRC) where the processor says that it has
 * one, else a table; all give the same result.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Of `len` bytes. Check value: crc32c("123456789", 9) == 0xE3069283. */
uint32_t crc32c(const void *bytes, size_t len);

/* Goes on from the result for the bytes before: crc32c(ab) == crc32c_extend(crc32c(a), b). */
uint32_t crc32c_extend(uint32_t crc, const void *bytes, size_t len);

/* The portable implementation, for tests that hold the others against it. */
uint32_t crc32c_extend_portable(uint32_t crc, const void *bytes, size_t len);
