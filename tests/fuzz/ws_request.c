/* proto/ws/ws_request: a head means the same wherever it is cut, and all that it says is text. */
#include <stdlib.h>
#include <string.h>

#include "proto/ws/ws_request.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void expect(bool claim)
{
	if (!claim)
		abort();
}

/* Feeds in two pieces; answers the result and how much was taken. */
static enum ws_feed_result feed(
	struct ws_request *request, const uint8_t *bytes, size_t len, size_t cut, size_t *taken)
{
	size_t consumed;
	enum ws_feed_result result = ws_request_feed(request, bytes, cut, &consumed);
	*taken = consumed;
	if (result != WS_FEED_MORE)
		return result;
	expect(consumed == cut);
	result = ws_request_feed(request, bytes + cut, len - cut, &consumed);
	*taken += consumed;
	return result;
}

static void look(const struct ws_request *request)
{
	char value[64];
	size_t value_len;
	struct ws_segment segments[2];
	expect(*ws_request_path(request) == '/');
	expect(!ws_request_is_upgrade(request) || ws_request_method(request) == WS_METHOD_GET);
	(void)ws_request_bearer(request);
	for (size_t i = 0; ws_request_subprotocol(request, i) != NULL; i++)
		expect(*ws_request_subprotocol(request, i) != '\0');
	if (ws_request_cookie(request, "sid", &value_len) != NULL)
		expect(value_len <= WS_REQUEST_HEAD_BYTES_MAX);
	if (ws_request_parameter(request, "cursor", value, sizeof(value), &value_len) ==
		WS_PARAMETER_FOUND)
		expect(strlen(value) == value_len);
	if (ws_request_matches(request, "/v1/workers/{}/events/ws", segments, 2))
		expect(strlen(segments[0].text) == segments[0].len);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	if (len < 2)
		return 0;
	size_t cut = bytes[0] % len, taken, taken_whole;
	struct ws_request *request = ws_request_new(), *whole = ws_request_new();
	expect(request != NULL && whole != NULL);
	enum ws_feed_result result = feed(request, bytes + 1, len - 1, cut, &taken);
	enum ws_feed_result result_whole = ws_request_feed(whole, bytes + 1, len - 1, &taken_whole);
	expect(result == result_whole);
	if (result == WS_FEED_COMPLETE) {
		expect(taken == taken_whole);
		expect(strcmp(ws_request_path(request), ws_request_path(whole)) == 0);
		look(request);
	}
	ws_request_free(request);
	ws_request_free(whole);
	return 0;
}
