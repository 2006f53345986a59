#include "proto/base/daemon_confine.h"

#include <string.h>

#include "proto/base/journal.h"

int daemon_confine(const struct sandbox *sandbox)
{
	struct sandbox_report report;
	int r = sandbox_enter(sandbox, &report);
	if (r < 0) {
		journal(LOG_ERR, "can't enter the sandbox: %s", strerror(-r));
		return r;
	}
	if (r == SANDBOX_INCOMPLETE) {
		char missing[256];
		sandbox_missing_layers(&report, missing, sizeof(missing));
		journal(LOG_WARNING, "this kernel lacks layers of the sandbox: %s", missing);
	}
	return 0;
}
