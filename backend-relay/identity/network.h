/*
 * Addresses of peers, and networks of them: who is limited, and whom we believe.
 *
 * An IPv4 address is kept as its IPv4-mapped IPv6 one, so that a peer is the same whichever
 * listener it comes to.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { NETWORK_ADDRESS_BYTES = 16, NETWORK_TEXT_MAX = 63 };

struct network_address {
	uint8_t bytes[NETWORK_ADDRESS_BYTES];
};

struct network {
	struct network_address address;
	unsigned int bits; /* of the 128 */
};

/* "192.0.2.1" or "2001:db8::1", without brackets, zone or port. */
bool network_address_parse(const char *text, size_t len, struct network_address *out);
/* As it is read; `out` has room for NETWORK_TEXT_MAX and a NUL. */
void network_address_format(const struct network_address *address, char *out);

/* What is counted as one peer: an IPv4 address, or the /64 of an IPv6 one. */
struct network_address network_address_of_site(const struct network_address *address);

/* An address, or "192.0.2.0/24", "2001:db8::/32"; bits behind the prefix must be 0. */
bool network_parse(const char *text, struct network *out);
bool network_contains(const struct network *network, const struct network_address *address);
