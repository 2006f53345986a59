#include "proto/ws/ws_private.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "proto/base/clock.h"
#include "proto/ws/ws_frames.h"

enum {
	/* Descriptors beside connections: the loop's, listeners, journal, spare. */
	OTHER_FDS = 64,
	PING_AFTER_S = 20,
	HANG_UP_AFTER_S = 40,
	SERVICE_BUFFER_BYTES = 16 * 1024,
	HANDSHAKE_S = 10,
};

static const char system_ca_file[] = "/etc/ssl/certs/ca-certificates.crt";

const char ws_client_protocol_name[] = "client";
const char ws_raw_protocol_name[] = "raw";

/* Liveness is checked here, see ws_liveness.h. */
const lws_retry_bo_t ws_no_idle_policy;

/* ---- messages of the library ---- */

static void on_library_message(int level, const char *line)
{
	int len = (int)strcspn(line, "\n");
	journal(level == LLL_ERR ? LOG_WARNING : LOG_DEBUG, "libwebsockets: %.*s", len, line);
}

void ws_log_setup_messages(bool on)
{
	/* Once connections run, its messages are noise that peers can cause. */
	lws_set_log_level(on ? LLL_ERR | LLL_WARN : 0, on_library_message);
}

/* ---- events ---- */

void ws_link_attach(struct ws_context *context, struct ws_link *link, struct lws *wsi)
{
	link->wsi = wsi;
	lws_set_opaque_user_data(wsi, link);
	context->links++;
}

static int attach_adopted(struct ws_context *context, struct lws *wsi)
{
	struct ws_link *link = context->adopting;
	context->adopting = NULL;
	if (link == NULL)
		return -1;
	ws_link_attach(context, link, wsi);
	return 0;
}

static int context_on_event(
	struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
	(void)user;
	struct ws_context *context = lws_context_user(lws_get_context(wsi));
	struct ws_link *link = lws_get_opaque_user_data(wsi);
	switch (reason) {
	case LWS_CALLBACK_SERVER_NEW_CLIENT_INSTANTIATED:
		return attach_adopted(context, wsi);
	case LWS_CALLBACK_WSI_DESTROY:
		if (link != NULL) {
			assert(context->links > 0);
			context->links--;
			link->wsi = wsi;
			link->on_destroyed(link);
		}
		return 0;
	/*
	 * Debian 13's library tells what it does with its own descriptors. An answer other than 0
	 * would leave one that it closes in its tables, and the next to get its number asserts.
	 */
	case LWS_CALLBACK_LOCK_POLL:
	case LWS_CALLBACK_UNLOCK_POLL:
	case LWS_CALLBACK_ADD_POLL_FD:
	case LWS_CALLBACK_DEL_POLL_FD:
	case LWS_CALLBACK_CHANGE_MODE_POLL_FD:
		return 0;
	/* Heads are ours, with nothing to serve behind them but an upgrade. */
	case LWS_CALLBACK_HTTP:
		return -1;
	case LWS_CALLBACK_HTTP_CONFIRM_UPGRADE:
		return 0;
	default:
		if (link == NULL)
			return 0;
		link->wsi = wsi; /* the first event may come before the adopting call returns */
		return link->on_event(link, reason, in, len);
	}
}

static const struct lws_protocols protocols[] = {
	/* The first serves peers of servers. */
	{"peer", context_on_event, 0, 0, 0, NULL, WS_WRITE_BYTES},
	{ws_client_protocol_name, context_on_event, 0, 0, 0, NULL, WS_WRITE_BYTES},
	{ws_raw_protocol_name, context_on_event, 0, 0, 0, NULL, WS_WRITE_BYTES},
	{NULL, NULL, 0, 0, 0, NULL, 0},
};

int ws_link_write_ping(struct ws_link *link)
{
	uint8_t bytes[LWS_PRE + 1] = {0};
	bytes[LWS_PRE] = 'p'; /* an empty pong would not be reported */
	return lws_write(link->wsi, bytes + LWS_PRE, 1, LWS_WRITE_PING) < 1 ? -1 : 0;
}

void ws_link_abort(struct ws_link *link)
{
	if (link->wsi == NULL)
		return;
	shutdown(lws_get_socket_fd(link->wsi), SHUT_RDWR);
	lws_callback_on_writable(link->wsi);
}

/* ---- opening ---- */

unsigned int ws_context_fds_needed(unsigned int max_connections)
{
	return max_connections + OTHER_FDS;
}

/*
 * The library sizes two tables by the soft limit and finds connections in them by descriptor; with
 * a smaller limit of its own it would search them one by one.
 */
static int set_descriptor_limit(unsigned int needed)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return -errno;
	if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < needed)
		return -EMFILE;
	limit.rlim_cur = needed;
	return setrlimit(RLIMIT_NOFILE, &limit) < 0 ? -errno : 0;
}

struct handle_list {
	uv_handle_t *handles[64];
	unsigned int count;
};

static void collect_handle(uv_handle_t *handle, void *list_pointer)
{
	struct handle_list *list = list_pointer;
	if (list->count < ARRAY_SIZE(list->handles))
		list->handles[list->count++] = handle;
}

/* Which handles came onto the loop with the library: nobody else closes them in time. */
static void remember_own_handles(struct ws_context *context, const struct handle_list *before)
{
	struct handle_list after = {.count = 0};
	uv_walk(context->loop, collect_handle, &after);
	for (unsigned int i = 0; i < after.count; i++) {
		bool is_new = true;
		for (unsigned int k = 0; k < before->count; k++)
			is_new = is_new && before->handles[k] != after.handles[i];
		if (is_new && context->own_handle_count < WS_OWN_HANDLES_MAX)
			context->own_handles[context->own_handle_count++] = after.handles[i];
	}
}

/*
 * Without LWS_SERVER_OPTION_VALIDATE_UTF8: as packaged, a client connection that finds no UTF-8 in
 * a text message waits to send its close frame and goes on reading into a receive buffer that is
 * full already, beyond its end. No text is taken from a peer here, so nothing needs the check.
 */
static int create_library_context(
	struct ws_context *context, const struct ws_context_config *config)
{
	void *loops[] = {context->loop};
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN,
		.options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_EXPLICIT_VHOSTS |
			   LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
		.foreign_loops = loops,
		.user = context,
		.protocols = protocols,
		.pt_serv_buf_size = SERVICE_BUFFER_BYTES,
		.timeout_secs = context->handshake_s,
		.retry_and_idle_policy = &ws_no_idle_policy,
		.vhost_name = "plain",
		.client_ssl_ca_filepath = config->ca_file != NULL ? config->ca_file
								  : system_ca_file,
	};
	context->lws = lws_create_context(&info);
	if (context->lws == NULL)
		return -ENOTSUP;
	if (config->server_only)
		info.options &= ~(uint64_t)LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT;
	else
		info.client_ssl_ca_filepath = config->ca_file != NULL ? config->ca_file
								      : system_ca_file;
	context->vhost = lws_create_vhost(context->lws, &info);
	return context->vhost != NULL ? 0 : -ENOTSUP;
}

static uint64_t seconds(uint16_t configured, uint16_t otherwise)
{
	return NS_PER_S * (configured != 0 ? configured : otherwise);
}

int ws_context_open(
	struct ws_context **out, uv_loop_t *loop, const struct ws_context_config *config)
{
	int r = set_descriptor_limit(ws_context_fds_needed(config->max_connections));
	if (r < 0)
		return r;
	struct ws_context *context = calloc(1, sizeof(*context));
	uint8_t *write_buffer = malloc(LWS_PRE + WS_WRITE_BYTES);
	if (context == NULL || write_buffer == NULL) {
		free(context);
		free(write_buffer);
		return -ENOMEM;
	}
	context->loop = loop;
	context->liveness_policy = (struct ws_liveness_policy){
		.ping_after_ns = seconds(config->ping_after_s, PING_AFTER_S),
		.hang_up_after_ns = seconds(config->hang_up_after_s, HANG_UP_AFTER_S),
	};
	assert(context->liveness_policy.hang_up_after_ns > context->liveness_policy.ping_after_ns);
	context->handshake_s = config->handshake_s != 0 ? config->handshake_s : HANDSHAKE_S;
	context->write_buffer = write_buffer;
	struct handle_list before = {.count = 0};
	uv_walk(loop, collect_handle, &before);
	unsetenv("http_proxy"); /* the library would go through it */
	unsetenv("socks_proxy");
	ws_log_setup_messages(true);
	r = create_library_context(context, config);
	ws_log_setup_messages(false);
	remember_own_handles(context, &before);
	uv_idle_init(loop, &context->finish);
	context->finish.data = context;
	if (r < 0) {
		ws_context_close(context);
		return r; /* start-up fails: the process ends */
	}
	*out = context;
	return 0;
}

struct lws_vhost *ws_context_add_tls_vhost(
	struct ws_context *context, const char *certificate_file, const char *key_file)
{
	struct lws_context_creation_info info = {
		.port = CONTEXT_PORT_NO_LISTEN_SERVER,
		.options = LWS_SERVER_OPTION_DO_SSL_GLOBAL_INIT,
		.protocols = protocols,
		.timeout_secs = context->handshake_s,
		.vhost_name = "tls",
		.alpn = "http/1.1",
		.ssl_cert_filepath = certificate_file,
		.ssl_private_key_filepath = key_file,
	};
	ws_log_setup_messages(true);
	struct lws_vhost *vhost = lws_create_vhost(context->lws, &info);
	ws_log_setup_messages(false);
	return vhost;
}

/* ---- closing ---- */

/*
 * The library frees its handles' memory before the loop has let go of them (seen in 4.1.6), so they
 * are closed here and the rest of what it holds is left to the end of the process.
 */
static void context_on_finish(uv_idle_t *idle)
{
	struct ws_context *context = idle->data;
	if (context->links > 0)
		return;
	for (unsigned int i = 0; i < context->own_handle_count; i++) {
		if (!uv_is_closing(context->own_handles[i]))
			uv_close(context->own_handles[i], NULL);
	}
	uv_close((uv_handle_t *)idle, NULL);
}

void ws_context_close(struct ws_context *context)
{
	if (context->closing)
		return;
	context->closing = true;
	uv_idle_start(&context->finish, context_on_finish);
}

void ws_context_free(struct ws_context *context)
{
	static struct ws_context *left_behind; /* reachable, so that leak checkers know */
	if (context == NULL)
		return;
	free(context->write_buffer);
	context->write_buffer = NULL;
	context->left_behind = left_behind;
	left_behind = context;
}
