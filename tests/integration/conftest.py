"""What every integration test has: the directory of the programs under test."""

import os
import pathlib

import pytest


@pytest.fixture(scope="session")
def bin_dir():
    """Where eventlogd, wsgate, backend-relay, projection and eventlogctl were built."""
    value = os.environ.get("SIGHTLINE_BIN_DIR")
    if not value:
        pytest.exit("SIGHTLINE_BIN_DIR is not set: run this through ctest", returncode=2)
    return pathlib.Path(value)


def pytest_configure(config):
    config.addinivalue_line("markers", "measures_memory: means nothing under a sanitizer")


def pytest_runtest_setup(item):
    sanitizers = os.environ.get("SIGHTLINE_SANITIZE")
    if sanitizers and item.get_closest_marker("measures_memory"):
        pytest.skip(f"measures memory, which is the {sanitizers} sanitizer's here")
