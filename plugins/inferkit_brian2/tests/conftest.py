"""Programs are compiled once for a whole run of the tests."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory):
    """A cache of the run's own, so that what is tested is built by what is tested."""
    before = os.environ.get("INFERKIT_CACHE")
    os.environ["INFERKIT_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["INFERKIT_CACHE"]
    else:
        os.environ["INFERKIT_CACHE"] = before
