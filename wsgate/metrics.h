/*
 * What the gate has counted, for /metrics.
 */
#pragma once

#include "proto/base/buf.h"
#include "wsgate/gate.h"

/* The owner is the gate. 0 or -errno of the buffer. */
_must_check_ int metrics_write(struct buf *out, const void *owner);
