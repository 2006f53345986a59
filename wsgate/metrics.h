/*
 * /metrics: what the gate has counted, in Prometheus' text format.
 */
#pragma once

#include "proto/base/buf.h"
#include "wsgate/gate.h"

/* 0 or -errno of the buffer. */
_must_check_ int metrics_write(struct buf *out, const struct gate *gate);
