/*
 * Tries what the sandbox must refuse, from inside it. For the tests: `projection --policy FILE
 * --socket PATH --sandbox-selftest NAME` starts as always and then does this in place of serving.
 */
#pragma once

enum selftest_result {
	SELFTEST_REFUSED = 0, /* with an error; most attempts end in a kill by SIGSYS instead */
	SELFTEST_UNKNOWN = 2, /* no attempt of this name */
	SELFTEST_ALLOWED = 3, /* it went through */
};

/* With a name that it does not know it prints those that it does. */
int selftest_run(const char *name);
