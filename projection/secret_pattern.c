#include "projection/secret_pattern.h"

#include "proto/base/attributes.h"

const char *const secret_set_names[] = {
	[SECRETS_AWS] = "aws",
	[SECRETS_GITHUB] = "github",
	[SECRETS_GITLAB] = "gitlab",
	[SECRETS_SLACK] = "slack",
	[SECRETS_GOOGLE] = "google",
	[SECRETS_OPENAI] = "openai",
	[SECRETS_ANTHROPIC] = "anthropic",
	[SECRETS_PRIVATE_KEY] = "private_key",
	[SECRETS_JWT] = "jwt",
	[SECRETS_BEARER] = "bearer",
	[SECRETS_PASSWORD_ASSIGNMENT] = "password_assignment",
	[SECRETS_URL_CREDENTIALS] = "url_credentials",
	[SECRETS_SETS] = NULL,
};

/* Between a name and its value: quotes (also escaped ones), spaces, `=`, `:`, `:=`, `=>`. */
#define ASSIGN "[\"'`\\\\]{0,4}[ \t]{0,4}[:=]{1,3}>?[ \t]{0,4}[\"'`\\\\]{0,4}"
/* A value: no space, quote, bracket or separator; it does not begin like a variable or a mask. */
#define VALUE \
	"([^\\x00-\\x20\"'`\\\\,;<>(){}\\[\\]&|\\x7f:=$%*]" \
	"[^\\x00-\\x20\"'`\\\\,;<>(){}\\[\\]&|\\x7f]{7,})"
#define USER "[A-Za-z0-9._~%!$&'()*+,;=-]"
#define URL_PASSWORD "([^\\x00-\\x20\"'`<>\\\\/@?#\\[\\]{}|^\\x7f]{1,128})@"

const struct secret_pattern secret_patterns[] = {
	{SECRETS_AWS, false, 0, "A[KS]IA([A-Z0-9]{16,})", NULL},
	{SECRETS_AWS, false, 0, "ABIA([A-Z0-9]{16,})", NULL},
	{SECRETS_AWS, false, 0, "ACCA([A-Z0-9]{16,})", NULL},
	{SECRETS_AWS, true, 6, "secret_access_key" ASSIGN "([A-Z0-9/+]{40,})", NULL},
	{SECRETS_AWS, true, 6, "secretaccesskey" ASSIGN "([A-Z0-9/+]{40,})", NULL},
	{SECRETS_AWS, true, 6, "session_token" ASSIGN "([A-Z0-9/+]{40,}={0,})", NULL},
	{SECRETS_AWS, true, 6, "sessiontoken" ASSIGN "([A-Z0-9/+]{40,}={0,})", NULL},

	{SECRETS_GITHUB, false, 0, "gh[pousr]_([A-Za-z0-9]{36,})", NULL},
	{SECRETS_GITHUB, false, 3, "github_pat_([A-Za-z0-9_]{22,})", NULL},

	{SECRETS_GITLAB, false, 0, "gl[dfr]t-([A-Za-z0-9_-]{20,})", NULL},
	{SECRETS_GITLAB, false, 0, "glpat-([A-Za-z0-9_.-]{20,})", NULL},
	{SECRETS_GITLAB, false, 0, "glptt-([A-Za-z0-9_-]{20,})", NULL},
	{SECRETS_GITLAB, false, 0, "glcbt-([A-Za-z0-9_-]{20,})", NULL},
	{SECRETS_GITLAB, false, 0, "glsoat-([A-Za-z0-9_-]{20,})", NULL},

	{SECRETS_SLACK, false, 0, "xox[abceoprs]-([A-Za-z0-9-]{10,})", NULL},
	{SECRETS_SLACK, false, 0, "xox[abceoprs]\\.([A-Za-z0-9.-]{10,})", NULL},
	{SECRETS_SLACK, false, 0, "xapp-([A-Za-z0-9-]{10,})", NULL},
	{SECRETS_SLACK, false, 4, "hooks\\.slack\\.com/services/([A-Za-z0-9/+]{20,})", NULL},
	{SECRETS_SLACK, false, 4, "hooks\\.slack\\.com/workflows/([A-Za-z0-9/+]{20,})", NULL},

	{SECRETS_GOOGLE, false, 0, "AIza([A-Za-z0-9_-]{35,})", NULL},
	{SECRETS_GOOGLE, false, 1, "GOCSPX-([A-Za-z0-9_-]{28,})", NULL},
	{SECRETS_GOOGLE, false, 0, "ya29\\.([A-Za-z0-9_-]{20,})", NULL},

	{SECRETS_OPENAI, false, 0, "sk-proj-([A-Za-z0-9_-]{20,})", NULL},
	{SECRETS_OPENAI, false, 0, "sk-svcacct-([A-Za-z0-9_-]{20,})", NULL},
	{SECRETS_OPENAI, false, 0, "sk-admin-([A-Za-z0-9_-]{20,})", NULL},
	{SECRETS_OPENAI, false, 0, "sk-([A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20,})", NULL},

	{SECRETS_ANTHROPIC, false, 0, "sk-ant-([A-Za-z0-9_-]{20,})", NULL},

	{SECRETS_PRIVATE_KEY, false, 5, "-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY[A-Z ]{0,8}-----()",
		"-----END [A-Z0-9 ]{0,32}-----"},

	{SECRETS_JWT, false, 0,
		"eyJ([A-Za-z0-9_-]{10,}\\.eyJ[A-Za-z0-9_-]{1,}\\.?[A-Za-z0-9_-]{0,})", NULL},

	{SECRETS_BEARER, true, 0, "bearer[ \t]{1,8}([A-Z0-9._~+/-]{16,}={0,})", NULL},

	{SECRETS_PASSWORD_ASSIGNMENT, true, 2, "password" ASSIGN VALUE, NULL},
	{SECRETS_PASSWORD_ASSIGNMENT, true, 2, "passwd" ASSIGN VALUE, NULL},
	{SECRETS_PASSWORD_ASSIGNMENT, true, 3, "passphrase" ASSIGN VALUE, NULL},
	{SECRETS_PASSWORD_ASSIGNMENT, true, 0, "secret" ASSIGN VALUE, NULL},
	{SECRETS_PASSWORD_ASSIGNMENT, true, 5, "secret[_-]key" ASSIGN VALUE, NULL},
	{SECRETS_PASSWORD_ASSIGNMENT, true, 4, "secretkey" ASSIGN VALUE, NULL},
	{SECRETS_PASSWORD_ASSIGNMENT, true, 0, "token" ASSIGN VALUE, NULL},
	{SECRETS_PASSWORD_ASSIGNMENT, true, 1, "api[_-]key" ASSIGN VALUE, NULL},
	{SECRETS_PASSWORD_ASSIGNMENT, true, 1, "apikey" ASSIGN VALUE, NULL},
	{SECRETS_PASSWORD_ASSIGNMENT, true, 5, "access[_-]key" ASSIGN VALUE, NULL},
	{SECRETS_PASSWORD_ASSIGNMENT, true, 5, "accesskey" ASSIGN VALUE, NULL},

	{SECRETS_URL_CREDENTIALS, false, 0, "://" USER "{1,64}:" URL_PASSWORD, NULL},
	{SECRETS_URL_CREDENTIALS, false, 0, "://:" URL_PASSWORD, NULL},
};

const size_t secret_pattern_count = ARRAY_SIZE(secret_patterns);
