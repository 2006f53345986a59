"""A pytest plugin: a file whose tests were all skipped ends with 77, which ctest calls "Skipped"."""

EXIT_ALL_SKIPPED = 77


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    ran = any(reporter.stats.get(key) for key in ("passed", "failed", "error", "xfailed"))
    if exitstatus == 0 and not ran and reporter.stats.get("skipped"):
        session.exitstatus = EXIT_ALL_SKIPPED
