/*
 * WELCOME: what eventlogd tells whoever connects, on both sockets.
 */
#pragma once

#include "eventlogd/config.h"
#include "eventlogd/log/view.h"
#include "proto/base/attributes.h"
#include "proto/base/buf.h"

/* Appends the frame. 0 or -ENOMEM. */
_must_check_ int welcome_write(
	struct buf *out, const struct config *config, const struct log_view *view);
