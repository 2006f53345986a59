"""The build under test; and 77 when a file's tests were all skipped, as in tests/integration."""

import os
import pathlib

import pytest

EXIT_ALL_SKIPPED = 77


@pytest.fixture(scope="session")
def build_dir():
    value = os.environ.get("SIGHTLINE_BUILD_DIR")
    if not value:
        pytest.exit("SIGHTLINE_BUILD_DIR is not set: run this through ctest", returncode=2)
    return pathlib.Path(value)


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    ran = any(reporter.stats.get(key) for key in ("passed", "failed", "error", "xfailed"))
    if exitstatus == 0 and not ran and reporter.stats.get("skipped"):
        session.exitstatus = EXIT_ALL_SKIPPED
