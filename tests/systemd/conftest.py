"""The build under test."""

import os
import pathlib

import pytest


@pytest.fixture(scope="session")
def build_dir():
    value = os.environ.get("SIGHTLINE_BUILD_DIR")
    if not value:
        pytest.exit("SIGHTLINE_BUILD_DIR is not set: run this through ctest", returncode=2)
    return pathlib.Path(value)
