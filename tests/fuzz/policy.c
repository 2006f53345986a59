/* projection/policy: any file is a policy that can be compiled and used, or a mistake with a place.
 */
#include <stdlib.h>
#include <string.h>

#include "projection/engine.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len);

static void use(const struct policy *policy)
{
	static const char event[] =
		"{\"event\":\"a\",\"data\":{\"kind\":\"t\",\"a\":[\"/a/b\",{\"b\":1}],\"b\":null}}";
	struct projection_key key = {{1}};
	for (size_t i = 0; i < policy->role_count; i++) {
		struct rules *rules;
		struct engine engine;
		const uint8_t *out;
		size_t out_len;
		if (rules_compile(&rules, &policy->role[i], &key) < 0 || engine_init(&engine) < 0)
			abort();
		int verdict = engine_project(
			&engine, rules, (const uint8_t *)event, strlen(event), &out, &out_len);
		struct json_event_info info;
		if (verdict < 0 || (verdict == VERDICT_REWRITE &&
					   json_check_event(out, out_len, &info) != JSON_OK))
			abort();
		policy_may_command(&policy->role[i], "r", "w", "stop", 4);
		engine_free(&engine);
		rules_free(rules);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
	struct policy policy;
	struct yaml_error error;
	int r = policy_parse(&policy, "p", bytes, len, &error);
	if (r == 0)
		use(&policy);
	else if (policy.role_count != 0 || strncmp(error.text, "p:", 2) != 0)
		abort();
	policy_free(&policy);
	return 0;
}
