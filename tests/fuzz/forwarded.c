/* backend-relay/forwarded: whatever the field holds, it names the peer, a proxy, or one behind it.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backend-relay/identity/forwarded.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct network trusted;
	struct network_address peer;
	char *header = malloc(size + 1), text[NETWORK_TEXT_MAX + 1];
	if (header == NULL || !network_parse("10.0.0.0/8", &trusted) ||
		!network_address_parse("10.0.0.1", 8, &peer))
		abort();
	memcpy(header, data, size);
	header[size] = '\0';
	const struct network_address client = forwarded_client(header, &trusted, 1, &peer);
	network_address_format(&client, text);
	struct network_address again;
	assert(network_address_parse(text, strlen(text), &again));
	assert(memcmp(&again, &client, sizeof(again)) == 0);
	struct network network;
	if (network_parse(header, &network))
		assert(network_contains(&network, &network.address));
	free(header);
	return 0;
}
