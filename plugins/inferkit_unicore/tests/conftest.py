import importlib.util
import sys
from pathlib import Path

import pytest

# pytest's importlib mode puts no test folder on sys.path; worker processes get functions by value.
_spec = importlib.util.spec_from_file_location("unicore_helpers", Path(__file__).parent / "helpers.py")
helpers = importlib.util.module_from_spec(_spec)
sys.modules["unicore_helpers"] = helpers
_spec.loader.exec_module(helpers)

from inferkit_unicore import site as client_site  # noqa: E402
from inferkit_unicore.testserver import Site  # noqa: E402


@pytest.fixture(scope="session")
def _site(tmp_path_factory):
    with Site(tmp_path_factory.mktemp("site")) as made:
        yield made


@pytest.fixture
def site(_site, monkeypatch):
    """A fresh site; the password is where the executor looks for it."""
    _site.reset()
    monkeypatch.setenv("UNICORE_PASSWORD", "test123")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setattr(client_site, "PAUSE", 0.05)
    yield _site
    _site.reset()


@pytest.fixture(scope="session")
def digest(tmp_path_factory):
    """What every run of `noisy` must give, whatever happened to it."""
    return helpers.local_digest(tmp_path_factory.mktemp("local") / "run")


@pytest.fixture
def finish(site, digest, tmp_path):
    """Run the usual study to its end and compare it, byte by byte."""

    def run(path=None, n=helpers.N, **changes):
        study = helpers.remote_study(site, path or tmp_path / "run", **changes)
        study.simulate(n)
        assert study.simulations.digest() == digest
        return study

    return run
