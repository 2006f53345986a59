/*
 * Limits that more than one process must know. Those that a peer needs are also in WELCOME's map.
 */
#pragma once

#define PROTOCOL_VERSION 1

/* An event's payload. Configurable in eventlogd between MIN and MAX. */
#define EVENT_BYTES_DEFAULT (8u * 1024 * 1024)
#define EVENT_BYTES_MIN (64u * 1024)
#define EVENT_BYTES_MAX (16u * 1024 * 1024)

/* Body of a frame on a Unix socket, for a given limit of an event. */
#define FRAME_BYTES(event_bytes) (2u * (event_bytes) + 64u * 1024)
#define FRAME_BYTES_MAX FRAME_BYTES(EVENT_BYTES_MAX)

#define BATCH_EVENTS_MAX 4096
#define JSON_DEPTH_MAX 128  /* arrays and objects open at once; the same in every process */
#define MSGPACK_DEPTH_MAX 8 /* no message of ours nests deeper; msgpack-c itself stops at 32 */
#define MSGPACK_ELEMENTS_MAX 65536 /* in one message: 5 batches, or 2,000 rows of workers */
#define ID_BYTES_MAX 128           /* worker and runtime ids: ids.h */
#define KIND_BYTES_MAX 255         /* a longer kind counts as none */
#define NAME_BYTES_MAX 255         /* producer ids, names in HELLO, role names */
#define ERROR_TEXT_BYTES_MAX 512
