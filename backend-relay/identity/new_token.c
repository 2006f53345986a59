#include "backend-relay/identity/new_token.h"

#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "backend-relay/identity/token_table.h"

int new_token_run(const char *subject, const char *role)
{
	if (!token_subject_is_valid(subject)) {
		fprintf(stderr,
			"backend-relay: SUBJECT must be 1 to %d visible characters without "
			"quotes, commas and brackets\n",
			TOKEN_SUBJECT_BYTES_MAX);
		return 2;
	}
	if (!id_is_valid(role, strlen(role))) {
		fprintf(stderr, "backend-relay: ROLE must be 1 to %d of A-Z a-z 0-9 _ . : -\n",
			ID_BYTES_MAX);
		return 2;
	}
	char token[TOKEN_TEXT_BYTES + 1], hex[2 * TOKEN_HASH_BYTES + 1];
	uint8_t hash[TOKEN_HASH_BYTES];
	token_generate(token, hash);
	sodium_bin2hex(hex, sizeof(hex), hash, sizeof(hash));
	printf("%s\n- {subject: \"%s\", role: \"%s\", hash: \"%s\"}\n", token, subject, role, hex);
	sodium_memzero(token, sizeof(token));
	return fflush(stdout) == 0 ? 0 : 1;
}
