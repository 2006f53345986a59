/*
 * A msgpack value from eventlogd, as JSON or as lines for people.
 */
#pragma once

#include <msgpack.h>

#include "proto/base/attributes.h"
#include "proto/base/buf.h"

/* Appends the value as JSON on one line. 0; -EINVAL for what JSON has no word for; -ENOMEM. */
_must_check_ int map_view_json(struct buf *out, const msgpack_object *value);

/*
 * Appends a map as "key: value" lines; a map inside it becomes lines below its key. Texts are
 * escaped for a terminal. 0, -EINVAL or -ENOMEM.
 */
_must_check_ int map_view_lines(struct buf *out, const msgpack_object *map);
