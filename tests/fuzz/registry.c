/* backend-relay/registry: a file with anything in it gives runtimes or a mistake with its place. */
#include <assert.h>
#include <stdint.h>
#include <string.h>

#include "backend-relay/upstream/registry.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct registry registry;
	struct yaml_error error = {""};
	if (registry_parse(&registry, "/nonexistent/registry.yaml", data, size, &error) < 0) {
		assert(error.text[0] != '\0');
		return 0;
	}
	for (size_t i = 0; i < registry.count; i++) {
		const char *id = registry.runtimes[i].id.text;
		assert(id_is_valid(id, strlen(id)));
		assert(registry_find(&registry, id) == &registry.runtimes[i]);
	}
	registry_free(&registry);
	return 0;
}
