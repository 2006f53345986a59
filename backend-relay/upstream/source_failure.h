/*
 * What a client is told when a connection to a runtime did not work out: from the adapter's result,
 * the HTTP status and the runtime's code to a diagnostic of ours, and whether trying again makes
 * sense. None of it names the endpoint.
 *
 * Pure.
 */
#pragma once

#include <stdbool.h>

#include "proto/diagnostic.h"
#include "proto/runtime_batch.h"
#include "proto/ws/ws_client.h"

struct source_failure {
	enum diagnostic diagnostic;
	bool refused; /* the runtime has spoken: asking again would give the same answer */
};

/* Why a connection ended, or was not made. */
struct source_failure source_failure_of_end(const struct ws_client_end *end);

enum source_failure_word {
	SOURCE_WORD_IGNORED = 0, /* not in the table of codes, or nothing that concerns a reader */
	SOURCE_WORD_GAP,         /* a range is missing; the stream goes on */
	SOURCE_WORD_FAILURE,
};

/* What a diagnostic within the stream means. The outputs are set for GAP and FAILURE. */
enum source_failure_word source_failure_of_word(
	const struct runtime_diagnostic *word, struct source_failure *out);
