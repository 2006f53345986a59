/*
 * Routes: what a client's request asks for, whether it may, and who answers it.
 *
 * What is wrong with the credential or the path is found here, and told by whoever answers, so that
 * it is told like everything else that can be wrong there.
 */
#pragma once

#include "proto/ws/ws_server.h"

/* For the listener for clients; its owner is the relay. */
extern const struct ws_server_handler route_handler;
