#include "eventlogd/welcome.h"

#include "eventlogd/log/durability.h"
#include "proto/ids.h"
#include "proto/limits.h"
#include "proto/message.h"

int welcome_write(struct buf *out, const struct config *config, const struct log_view *view)
{
	const struct {
		const char *name;
		uint64_t value;
	} limits[] = {
		{"max_event_bytes", config->max_event_bytes},
		{"max_frame_bytes", FRAME_BYTES(config->max_event_bytes)},
		{"max_batch_events", BATCH_EVENTS_MAX},
		{"max_json_depth", JSON_DEPTH_MAX},
		{"max_id_bytes", ID_BYTES_MAX},
	};
	struct log_ends ends;
	log_view_ends(view, &ends);
	char log_id[LOG_ID_TEXT_BYTES + 1];
	log_id_format(ends.log_id, log_id);

	struct message_writer w;
	message_begin(&w, out, MESSAGE_WELCOME);
	write_u64(&w, PROTOCOL_VERSION);
	write_map(&w, 4);
	write_text(&w, "log_id");
	write_text(&w, log_id);
	write_text(&w, "epoch");
	write_u64(&w, ends.epoch);
	write_text(&w, "durability");
	write_text(&w, durability_name((enum durability)config->durability));
	write_text(&w, "limits");
	write_map(&w, ARRAY_SIZE(limits));
	for (size_t i = 0; i < ARRAY_SIZE(limits); i++) {
		write_text(&w, limits[i].name);
		write_u64(&w, limits[i].value);
	}
	return message_end(&w);
}
