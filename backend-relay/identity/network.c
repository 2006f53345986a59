#include "backend-relay/identity/network.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

enum { MAPPED_BITS = 96, SITE_BYTES = 8 };

static const uint8_t mapped[MAPPED_BITS / 8] = {[10] = 0xff, [11] = 0xff};

static bool is_ipv4(const struct network_address *address)
{
	return memcmp(address->bytes, mapped, sizeof(mapped)) == 0;
}

bool network_address_parse(const char *text, size_t len, struct network_address *out)
{
	char copy[NETWORK_TEXT_MAX + 1];
	struct network_address address;
	if (len == 0 || len > NETWORK_TEXT_MAX || memchr(text, '\0', len) != NULL)
		return false;
	memcpy(copy, text, len);
	copy[len] = '\0';
	memcpy(address.bytes, mapped, sizeof(mapped));
	if (inet_pton(AF_INET, copy, address.bytes + sizeof(mapped)) != 1 &&
		inet_pton(AF_INET6, copy, address.bytes) != 1)
		return false;
	*out = address;
	return true;
}

void network_address_format(const struct network_address *address, char *out)
{
	const char *text = is_ipv4(address)
				   ? inet_ntop(AF_INET, address->bytes + sizeof(mapped), out,
					     NETWORK_TEXT_MAX)
				   : inet_ntop(AF_INET6, address->bytes, out, NETWORK_TEXT_MAX);
	if (text == NULL)
		out[0] = '\0';
}

struct network_address network_address_of_site(const struct network_address *address)
{
	struct network_address site = *address;
	if (!is_ipv4(address))
		memset(site.bytes + SITE_BYTES, 0, NETWORK_ADDRESS_BYTES - SITE_BYTES);
	return site;
}

static bool bit_is_set(const struct network_address *address, unsigned int bit)
{
	return (address->bytes[bit / 8] >> (7 - bit % 8) & 1) != 0;
}

/* 1 to 3 digits behind a slash. */
static bool parse_bits(const char *text, unsigned int max, unsigned int *out)
{
	unsigned int value = 0;
	size_t len = strlen(text);
	if (len == 0 || len > 3 || strspn(text, "0123456789") != len)
		return false;
	for (size_t i = 0; i < len; i++)
		value = value * 10 + (unsigned int)(text[i] - '0');
	*out = value;
	return value <= max;
}

bool network_parse(const char *text, struct network *out)
{
	const char *slash = strchr(text, '/');
	struct network network = {.bits = 8 * NETWORK_ADDRESS_BYTES};
	size_t len = slash != NULL ? (size_t)(slash - text) : strlen(text);
	if (!network_address_parse(text, len, &network.address))
		return false;
	bool short_form = memchr(text, ':', len) == NULL;
	if (slash != NULL) {
		if (!parse_bits(slash + 1, short_form ? 32 : 128, &network.bits))
			return false;
		network.bits += short_form ? MAPPED_BITS : 0;
	}
	for (unsigned int bit = network.bits; bit < 8 * NETWORK_ADDRESS_BYTES; bit++) {
		if (bit_is_set(&network.address, bit))
			return false;
	}
	*out = network;
	return true;
}

bool network_contains(const struct network *network, const struct network_address *address)
{
	for (unsigned int bit = 0; bit < network->bits; bit++) {
		if (bit_is_set(&network->address, bit) != bit_is_set(address, bit))
			return false;
	}
	return true;
}
