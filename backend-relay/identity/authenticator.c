#include "backend-relay/identity/authenticator.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>

#include "backend-relay/identity/credential.h"
#include "backend-relay/identity/forwarded.h"
#include "proto/base/buf.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/secret_file.h"

enum { PATH_BYTES = 4096 };

/* ---- files ---- */

static int fail(struct yaml_error *error, const char *name, int r)
{
	snprintf(error->text, sizeof(error->text), "%.300s: %s", name, strerror(-r));
	return r;
}

static int load_tokens(const struct config *config, const char *config_file,
	struct token_table *tokens, struct yaml_error *error)
{
	char path[PATH_BYTES];
	*tokens = (struct token_table){0};
	if (config->tokens == NULL)
		return 0;
	int r = config_path(config->tokens, config_file, path, sizeof(path));
	return r < 0 ? fail(error, config->tokens, r) : token_table_load(tokens, path, error);
}

static int load_keys(const struct config *config, const char *config_file, struct jwt_keys *keys,
	struct yaml_error *error)
{
	const struct config_jwt *jwt = &config->jwt;
	const char *name = jwt->key_file != NULL ? jwt->key_file : jwt->jwks_file;
	char path[PATH_BYTES];
	struct buf content = {0};
	*keys = (struct jwt_keys){0};
	if (name == NULL)
		return 0;
	int r = secret_file_path(name, config_file, path, sizeof(path));
	if (r < 0)
		return fail(error, name, r);
	r = fd_read_file(path, JWT_KEYS_FILE_BYTES_MAX, &content);
	if (r < 0)
		fail(error, path, r);
	else
		r = (jwt->key_file != NULL ? jwt_keys_read_pem : jwt_keys_read_jwks)(keys,
			(enum jwt_algorithm)jwt->algorithm, path, content.data, content.len, error);
	if (content.data != NULL)
		sodium_memzero(content.data, content.len);
	buf_free(&content);
	return r;
}

static int load(const struct authenticator *authenticator, struct token_table *tokens,
	struct jwt_keys *keys, struct yaml_error *error)
{
	int r = load_tokens(authenticator->config, authenticator->config_file, tokens, error);
	if (r < 0)
		return r;
	r = load_keys(authenticator->config, authenticator->config_file, keys, error);
	if (r < 0)
		token_table_free(tokens);
	return r;
}

int authenticator_load(struct authenticator *authenticator, const struct config *config,
	const char *config_file, struct yaml_error *error)
{
	authenticator->config = config;
	authenticator->config_file = config_file;
	authenticator->jwt = (struct jwt_verifier){
		.issuer = config->jwt.issuer,
		.audience = config->jwt.audience,
		.subject_claim = config->jwt.subject_claim,
		.role_claim = config->jwt.role_claim,
		.leeway_s = (int64_t)(config->jwt.leeway_ms / 1000),
	};
	attempts_init(&authenticator->attempts, config->failed_attempts,
		config->failed_attempt_interval_ms * NS_PER_MS);
	return load(authenticator, &authenticator->tokens, &authenticator->jwt.keys, error);
}

int authenticator_reload(struct authenticator *authenticator, struct yaml_error *error)
{
	struct token_table tokens;
	struct jwt_keys keys;
	int r = load(authenticator, &tokens, &keys, error);
	if (r < 0)
		return r;
	authenticator_free(authenticator);
	authenticator->tokens = tokens;
	authenticator->jwt.keys = keys;
	return 0;
}

void authenticator_free(struct authenticator *authenticator)
{
	token_table_free(&authenticator->tokens);
	jwt_keys_free(&authenticator->jwt.keys);
}

int authenticator_files(const struct config *config, const char *config_file,
	char paths[AUTHENTICATOR_FILES_MAX][4096])
{
	const char *keys = config->jwt.key_file != NULL ? config->jwt.key_file
							: config->jwt.jwks_file;
	int count = 0, r = 0;
	if (config->tokens != NULL)
		r = config_path(config->tokens, config_file, paths[count++], PATH_BYTES);
	if (r == 0 && keys != NULL)
		r = secret_file_path(keys, config_file, paths[count++], PATH_BYTES);
	return r < 0 ? r : count;
}

/* ---- requests ---- */

/* A Unix peer: by its user, in a range of IPv6 that no packet comes from (RFC 6666). */
static struct network_address address_of_user(uid_t uid)
{
	struct network_address address = {{0x01}};
	memcpy(address.bytes + 4, &uid, sizeof(uid) < 4 ? sizeof(uid) : 4);
	return address;
}

static struct network_address find_peer(const struct config *config,
	const struct ws_exchange *exchange, char text[IDENTITY_PEER_BYTES])
{
	const char *peer = ws_exchange_peer_text(exchange);
	struct network_address address;
	bool is_unix = !network_address_parse(peer, strlen(peer), &address);
	if (is_unix)
		address = address_of_user(ws_exchange_credentials(exchange)->uid);
	snprintf(text, IDENTITY_PEER_BYTES, "%s", peer);
	const char *header = ws_request_header(ws_exchange_request(exchange), "forwarded");
	bool trusted = is_unix ? config->trusts_unix_peers
			       : forwarded_is_trusted(config->trusted_proxies,
					 config->trusted_proxy_count, &address);
	if (header == NULL || !trusted)
		return address;
	struct network_address client = forwarded_client(
		header, config->trusted_proxies, config->trusted_proxy_count, &address);
	if (memcmp(&client, &address, sizeof(client)) != 0)
		network_address_format(&client, text);
	return client;
}

static bool is_right(const struct authenticator *authenticator, const struct credential *credential,
	int64_t now_s, struct identity *out)
{
	if (jwt_has_form(credential->text, credential->len))
		return jwt_verifier_check(
			&authenticator->jwt, credential->text, credential->len, now_s, out);
	const struct token_entry *entry = token_table_find(
		&authenticator->tokens, credential->text, credential->len);
	if (entry == NULL)
		return false;
	*out = (struct identity){.kind = IDENTITY_TOKEN, .role = entry->role};
	strcpy(out->subject, entry->subject);
	memcpy(out->hash, entry->hash, sizeof(out->hash));
	return true;
}

/* Of a credential that is present. */
static enum authenticator_result judge(struct authenticator *authenticator,
	const struct credential *credential, const struct network_address *peer,
	struct identity *out)
{
	uint64_t now_ns = clock_monotonic_ns();
	if (!attempts_may_try(&authenticator->attempts, peer, now_ns))
		return AUTHENTICATOR_TOO_OFTEN;
	if (is_right(authenticator, credential, (int64_t)(clock_wall_ns() / NS_PER_S), out))
		return AUTHENTICATOR_ACCEPTED;
	attempts_note_failure(&authenticator->attempts, peer, now_ns);
	return AUTHENTICATOR_WRONG;
}

static void set_who(struct identity *identity, const struct network_address *peer)
{
	const struct network_address site = network_address_of_site(peer);
	if (identity->subject[0] != '\0')
		crypto_generichash(identity->who, sizeof(identity->who),
			(const uint8_t *)identity->subject, strlen(identity->subject) + 1, NULL, 0);
	else
		crypto_generichash(identity->who, sizeof(identity->who), site.bytes,
			sizeof(site.bytes), NULL, 0);
}

enum authenticator_result authenticator_check(struct authenticator *authenticator,
	const struct ws_exchange *exchange, struct identity *out)
{
	char text[IDENTITY_PEER_BYTES];
	struct credential credential;
	struct network_address peer = find_peer(authenticator->config, exchange, text);
	enum authenticator_result result = AUTHENTICATOR_ACCEPTED;
	*out = identity_anonymous();
	switch (credential_find(
		authenticator->config, ws_exchange_request(exchange), &credential)) {
	case CREDENTIAL_ABSENT:
		break;
	case CREDENTIAL_PRESENT:
		result = judge(authenticator, &credential, &peer, out);
		break;
	case CREDENTIAL_ORIGIN_REFUSED:
		result = AUTHENTICATOR_ORIGIN_REFUSED;
		break;
	}
	sodium_memzero(&credential, sizeof(credential));
	strcpy(out->peer, text);
	set_who(out, &peer);
	return result;
}

enum diagnostic authenticator_refusal(enum authenticator_result result)
{
	return result == AUTHENTICATOR_TOO_OFTEN ? DIAGNOSTIC_BACKEND_TOO_MANY_CONNECTIONS
						 : DIAGNOSTIC_BACKEND_UNAUTHORIZED;
}

bool authenticator_still_accepts(
	const struct authenticator *authenticator, const struct identity *identity)
{
	const struct token_entry *entry;
	switch (identity->kind) {
	case IDENTITY_ANONYMOUS:
		return true;
	case IDENTITY_JWT:
		return jwt_verifier_has_key(&authenticator->jwt, identity->hash);
	case IDENTITY_TOKEN:
		entry = token_table_find_hash(&authenticator->tokens, identity->hash);
		return entry != NULL && strcmp(entry->role.text, identity->role.text) == 0 &&
		       strcmp(entry->subject, identity->subject) == 0;
	}
	return false;
}
