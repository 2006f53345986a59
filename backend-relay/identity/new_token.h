/*
 * `backend-relay --new-token SUBJECT ROLE`: makes a token and prints it, once.
 *
 * The first line on stdout is the token, the second its entry for the tokens file, which holds the
 * token's hash and not the token.
 */
#pragma once

/* The exit code: 0, 1 (can't print), 2 (SUBJECT or ROLE is not valid). */
int new_token_run(const char *subject, const char *role);
