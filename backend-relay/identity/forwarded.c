#include "backend-relay/identity/forwarded.h"

#include <string.h>
#include <strings.h>

/* One `for=`: an address, or nobody. */
struct entry {
	bool has_address;
	struct network_address address;
};

bool forwarded_is_trusted(
	const struct network *trusted, size_t count, const struct network_address *address)
{
	for (size_t i = 0; i < count; i++) {
		if (network_contains(&trusted[i], address))
			return true;
	}
	return false;
}

static const char *skip_space(const char *at)
{
	return at + strspn(at, " \t");
}

/* A token or a quoted string; escapes are not needed for any address and refused. */
static const char *read_value(const char *at, const char **value, size_t *len)
{
	bool quoted = *at == '"';
	*value = at + quoted;
	*len = strcspn(*value, quoted ? "\"\\" : ";, \t\"\\");
	const char *end = *value + *len;
	if (!quoted)
		return *len > 0 ? end : NULL;
	return *end == '"' ? end + 1 : NULL;
}

/* "192.0.2.1", "192.0.2.1:80", "[2001:db8::1]", "[2001:db8::1]:80". */
static bool read_node(const char *value, size_t len, struct network_address *out)
{
	if (len > 0 && value[0] == '[') {
		const char *end = memchr(value, ']', len);
		size_t inside = end != NULL ? (size_t)(end - value) - 1 : 0;
		bool ends_well = end != NULL && (inside + 2 == len || end[1] == ':');
		return ends_well && memchr(value + 1, ':', inside) != NULL &&
		       network_address_parse(value + 1, inside, out);
	}
	const char *colon = memchr(value, ':', len);
	return network_address_parse(value, colon != NULL ? (size_t)(colon - value) : len, out);
}

/* One entry: name=value pairs separated by ";". NULL when it can't be read. */
static const char *read_entry(const char *at, struct entry *entry)
{
	bool has_for = false;
	*entry = (struct entry){0};
	for (;;) {
		at = skip_space(at);
		size_t name_len = strcspn(at, "=;, \t\"");
		const char *name = at, *value;
		size_t len;
		if (name_len == 0 || at[name_len] != '=')
			return NULL;
		at = read_value(at + name_len + 1, &value, &len);
		if (at == NULL)
			return NULL;
		if (name_len == 3 && strncasecmp(name, "for", 3) == 0) {
			if (has_for)
				return NULL;
			has_for = true;
			entry->has_address = read_node(value, len, &entry->address);
		}
		at = skip_space(at);
		if (*at != ';')
			return *at == ',' || *at == '\0' ? at : NULL;
		at++;
	}
}

/* How many entries there are; 0 when the field can't be read. */
static size_t read_entries(const char *at, struct entry entries[FORWARDED_ENTRIES_MAX])
{
	size_t count = 0;
	for (;;) {
		if (count == FORWARDED_ENTRIES_MAX)
			return 0;
		at = read_entry(at, &entries[count++]);
		if (at == NULL)
			return 0;
		if (*at == '\0')
			return count;
		at++;
	}
}

struct network_address forwarded_client(const char *header, const struct network *trusted,
	size_t count, const struct network_address *peer)
{
	struct entry entries[FORWARDED_ENTRIES_MAX];
	struct network_address client = *peer;
	for (size_t i = read_entries(header, entries); i > 0; i--) {
		if (!entries[i - 1].has_address)
			break;
		client = entries[i - 1].address;
		if (!forwarded_is_trusted(trusted, count, &client))
			break;
	}
	return client;
}
