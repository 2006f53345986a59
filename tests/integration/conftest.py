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
