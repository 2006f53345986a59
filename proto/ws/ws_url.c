#include "proto/ws/ws_url.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/un.h>

enum { PORT_PLAIN = 80, PORT_TLS = 443 };

static bool take_prefix(const char **at, const char *prefix)
{
	size_t len = strlen(prefix);
	if (strncmp(*at, prefix, len) != 0)
		return false;
	*at += len;
	return true;
}

static bool copy_text(char *out, size_t size, const char *text, size_t len)
{
	if (len >= size)
		return false;
	memcpy(out, text, len);
	out[len] = '\0';
	return true;
}

/* A name, an IPv4 address, or an IPv6 address in brackets. */
static bool take_host(const char **at, struct ws_url *url)
{
	const char *start = *at;
	if (*start == '[') {
		const char *end = strchr(start, ']');
		struct in6_addr address;
		if (end == NULL || !copy_text(url->host, sizeof(url->host), start + 1,
					   (size_t)(end - start - 1)))
			return false;
		*at = end + 1;
		return inet_pton(AF_INET6, url->host, &address) == 1;
	}
	size_t len = 0;
	while (isalnum((unsigned char)start[len]) != 0 || start[len] == '-' || start[len] == '.' ||
		start[len] == '_')
		len++;
	*at = start + len;
	return len > 0 && copy_text(url->host, sizeof(url->host), start, len);
}

static bool take_port(const char **at, struct ws_url *url)
{
	unsigned int port = 0;
	if (**at != ':')
		return true;
	const char *start = ++*at;
	for (; isdigit((unsigned char)**at) != 0; ++*at) {
		port = port * 10 + (unsigned int)(**at - '0');
		if (port > UINT16_MAX)
			return false;
	}
	url->port = (uint16_t)port;
	return *at != start && port != 0;
}

static bool take_path(const char *at, struct ws_url *url)
{
	size_t len = strlen(at);
	if (len > 0 && *at != '/')
		return false;
	for (size_t i = 0; i < len; i++) {
		if (isgraph((unsigned char)at[i]) == 0 || strchr("?#\"<>\\^`{|}", at[i]) != NULL)
			return false;
	}
	while (len > 0 && at[len - 1] == '/')
		len--;
	return copy_text(url->path, sizeof(url->path), at, len);
}

static int parse_unix(const char *path, struct ws_url *url)
{
	size_t len = strlen(path);
	if (*path != '/' || len >= sizeof(((struct sockaddr_un *)0)->sun_path) ||
		!copy_text(url->path, sizeof(url->path), path, len))
		return -EINVAL;
	url->scheme = WS_URL_UNIX;
	return 0;
}

int ws_url_parse(const char *text, struct ws_url *out)
{
	struct ws_url url = {0};
	if (take_prefix(&text, "unix:")) {
		int r = parse_unix(text, &url);
		if (r == 0)
			*out = url;
		return r;
	}
	if (take_prefix(&text, "ws://")) {
		url.scheme = WS_URL_PLAIN;
		url.port = PORT_PLAIN;
	} else if (take_prefix(&text, "wss://")) {
		url.scheme = WS_URL_TLS;
		url.port = PORT_TLS;
	} else {
		return -EINVAL;
	}
	if (!take_host(&text, &url) || !take_port(&text, &url) || !take_path(text, &url))
		return -EINVAL;
	*out = url;
	return 0;
}

/* Only addresses count, not names: what a name means is for others to say. "localhost" is the
 * exception that RFC 6761 reserves. */
static bool is_loopback(const char *host)
{
	struct in_addr v4;
	struct in6_addr v6;
	if (strcasecmp(host, "localhost") == 0)
		return true;
	if (inet_pton(AF_INET, host, &v4) == 1)
		return (ntohl(v4.s_addr) >> 24) == 127;
	return inet_pton(AF_INET6, host, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

bool ws_url_is_private(const struct ws_url *url)
{
	return url->scheme != WS_URL_PLAIN || is_loopback(url->host);
}
