/*
 * Refusals before an upgrade, and of plain requests: a diagnostic as an HTTP answer.
 */
#pragma once

#include "proto/diagnostic.h"
#include "proto/ws/ws_server.h"

/* 0 for what is told within the stream only (cursors, a changed policy). */
unsigned int refusal_http_status(enum diagnostic diagnostic);

/* Answers with that status (400 where there is none), the code and the message. */
void refusal_answer(struct ws_exchange *exchange, enum diagnostic diagnostic);
