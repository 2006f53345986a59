/*
 * What wsgate gives up once its sockets are open: files, outgoing network, other system calls.
 */
#pragma once

#include "proto/base/attributes.h"

/* 0, also where the kernel lacks a layer (a warning then); or -errno, told to the journal. */
_must_check_ int confine(void);
