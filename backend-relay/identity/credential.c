#include "backend-relay/identity/credential.h"

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

static void take(struct credential *out, const char *text, size_t len)
{
	out->len = len <= sizeof(out->text) ? len : 0;
	memcpy(out->text, text, out->len);
}

/* The one subprotocol that carries a token; *twice when there is another. */
static const char *find_bearer_subprotocol(const struct ws_request *request, bool *twice)
{
	const char *found = NULL, *name;
	*twice = false;
	for (size_t i = 0; (name = ws_request_subprotocol(request, i)) != NULL; i++) {
		if (strncmp(name, BEARER_SUBPROTOCOL, strlen(BEARER_SUBPROTOCOL)) != 0)
			continue;
		*twice |= found != NULL;
		found = name + strlen(BEARER_SUBPROTOCOL);
	}
	return found;
}

static void take_encoded(struct credential *out, const char *encoded)
{
	if (sodium_base642bin((uint8_t *)out->text, sizeof(out->text), encoded, strlen(encoded),
		    NULL, &out->len, NULL, sodium_base64_VARIANT_URLSAFE_NO_PADDING) != 0)
		out->len = 0;
}

enum credential_result credential_find(
	const struct config *config, const struct ws_request *request, struct credential *out)
{
	const char *origin = ws_request_header(request, "origin");
	bool twice;
	size_t len;
	out->len = 0;
	if (origin != NULL && !origin_is_configured(config, origin))
		return CREDENTIAL_ORIGIN_REFUSED;
	const char *bearer = ws_request_bearer(request);
	if (bearer != NULL) {
		take(out, bearer, strlen(bearer));
		return CREDENTIAL_PRESENT;
	}
	if (ws_request_has_other_authorization(request))
		return CREDENTIAL_PRESENT;
	const char *encoded = find_bearer_subprotocol(request, &twice);
	if (encoded != NULL) {
		if (!twice)
			take_encoded(out, encoded);
		return CREDENTIAL_PRESENT;
	}
	if (config->cookie == NULL || origin == NULL)
		return CREDENTIAL_ABSENT;
	const char *cookie = ws_request_cookie(request, config->cookie, &len);
	if (cookie == NULL)
		return CREDENTIAL_ABSENT;
	take(out, cookie, len);
	return CREDENTIAL_PRESENT;
}
