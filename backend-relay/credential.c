#include "backend-relay/credential.h"

#include <sodium.h>
#include <string.h>

#define BEARER_SUBPROTOCOL "bearer."

static bool origin_is_configured(const struct config *config, const char *origin)
{
	for (size_t i = 0; i < config->origin_count; i++) {
		if (strcmp(config->origins[i], origin) == 0)
			return true;
	}
	return false;
}

static enum credential_result look_up(const struct token_table *tokens, const char *token,
	size_t len, const struct token_entry **out)
{
	const struct token_entry *entry = token_table_find(tokens, token, len);
	if (entry == NULL)
		return CREDENTIAL_WRONG;
	*out = entry;
	return CREDENTIAL_ACCEPTED;
}

/* The one subprotocol that carries a token; *twice when there is another. */
static const char *find_bearer_subprotocol(const struct ws_request *request, bool *twice)
{
	const char *found = NULL, *name;
	*twice = false;
	for (size_t i = 0; (name = ws_request_subprotocol(request, i)) != NULL; i++) {
		if (strncmp(name, BEARER_SUBPROTOCOL, strlen(BEARER_SUBPROTOCOL)) != 0)
			continue;
		*twice = found != NULL;
		found = name + strlen(BEARER_SUBPROTOCOL);
	}
	return found;
}

static enum credential_result check_subprotocol(
	const struct token_table *tokens, const char *encoded, const struct token_entry **out)
{
	char token[TOKEN_TEXT_MAX];
	size_t len = 0;
	if (sodium_base642bin((uint8_t *)token, sizeof(token), encoded, strlen(encoded), NULL, &len,
		    NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
		return CREDENTIAL_WRONG;
	enum credential_result result = look_up(tokens, token, len, out);
	sodium_memzero(token, sizeof(token));
	return result;
}

enum credential_result credential_check(const struct config *config,
	const struct token_table *tokens, const struct ws_request *request,
	const struct token_entry **out)
{
	const char *origin = ws_request_header(request, "origin");
	if (origin != NULL && !origin_is_configured(config, origin))
		return CREDENTIAL_ORIGIN_REFUSED;
	const char *bearer = ws_request_bearer(request);
	if (bearer != NULL)
		return look_up(tokens, bearer, strlen(bearer), out);
	if (ws_request_has_other_authorization(request))
		return CREDENTIAL_WRONG;
	bool twice;
	const char *encoded = find_bearer_subprotocol(request, &twice);
	if (encoded != NULL)
		return twice ? CREDENTIAL_WRONG : check_subprotocol(tokens, encoded, out);
	size_t len;
	const char *cookie = config->cookie != NULL && origin != NULL
				     ? ws_request_cookie(request, config->cookie, &len)
				     : NULL;
	return cookie != NULL ? look_up(tokens, cookie, len, out) : CREDENTIAL_ANONYMOUS;
}
