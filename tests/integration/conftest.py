"""What every integration test has: the directory of the programs under test, and a private one.

A file whose tests were all skipped ends with 77, so that ctest says "Skipped" and not "Passed".
"""

import os
import pathlib

import pytest

EXIT_ALL_SKIPPED = 77


@pytest.fixture(scope="session")
def bin_dir():
    """Where eventlogd, wsgate, backend-relay, projection and eventlogctl were built."""
    value = os.environ.get("SIGHTLINE_BIN_DIR")
    if not value:
        pytest.exit("SIGHTLINE_BIN_DIR is not set: run this through ctest", returncode=2)
    return pathlib.Path(value)


def pytest_sessionfinish(session, exitstatus):
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    ran = any(reporter.stats.get(key) for key in ("passed", "failed", "error", "xfailed"))
    if exitstatus == 0 and not ran and reporter.stats.get("skipped"):
        session.exitstatus = EXIT_ALL_SKIPPED
