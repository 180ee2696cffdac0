"""Against a real UNICORE server, for those who have one; docs/unicore.md says how.

    UNICORE_TEST_URL=https://localhost:8080/DEMO-SITE/rest/core pytest .../test_demo_container.py
"""

import os

import pytest
from inferkit_unicore import commands
from unicore_helpers import local_digest, noisy, prior

import inferkit as ik

URL = os.environ.get("UNICORE_TEST_URL", "")
pytestmark = [pytest.mark.skipif(not URL, reason="UNICORE_TEST_URL is not set"),
              pytest.mark.timeout(600)]
N = 16


@pytest.fixture
def executor(monkeypatch):
    if "UNICORE_TEST_PASSWORD" in os.environ or "UNICORE_TOKEN" not in os.environ:
        monkeypatch.setenv("UNICORE_PASSWORD", os.environ.get("UNICORE_TEST_PASSWORD", "test123"))
    ca = os.environ.get("UNICORE_TEST_CA", "")
    return {
        "site": URL, "username": os.environ.get("UNICORE_TEST_USER", "demouser"),
        # The image has a certificate of its own making; give UNICORE_TEST_CA to verify it.
        "ca": ca, "verify": bool(ca), "python": os.environ.get("UNICORE_TEST_PYTHON", "python3"),
        "packages": os.environ.get("UNICORE_TEST_PACKAGES", "").split(),
        "workers": 1, "rows_per_job": 8, "runtime": "10min", "poll_seconds": 2.0,
        "collect_seconds": 5.0,
    }


def test_a_study_and_its_upkeep(executor, tmp_path):
    study = ik.Study(noisy, prior(), path=tmp_path / "run", seed=7, quiet=True,
                     executor=ik.executor("unicore", **executor))
    study.simulate(N)
    assert study.simulations.digest() == local_digest(tmp_path / "local", noisy, N)
    states = commands.status(tmp_path / "run", trust=True)
    assert len(states) == 2 and all(s.collected for s in states)
    assert commands.clean(tmp_path / "run", force=True) == 2
    assert commands.status(tmp_path / "run", trust=True) == []


def test_a_second_client_finds_the_jobs(executor, tmp_path):
    """Submitted by one folder, collected by another that knows nothing of the first."""
    first = ik.Study(noisy, prior(), path=tmp_path / "a", seed=7, quiet=True,
                     executor=ik.executor("unicore", **executor))
    first.simulate(N)
    second = ik.Study(noisy, prior(), path=tmp_path / "b", seed=7, quiet=True,
                      executor=ik.executor("unicore", **executor))
    second.simulate(N)
    assert len(commands.status(tmp_path / "b", trust=True)) == 2
    assert second.simulations.digest() == first.simulations.digest()
    commands.clean(tmp_path / "b", force=True)


def test_a_wrong_password(executor, tmp_path, monkeypatch):
    monkeypatch.delenv("UNICORE_TOKEN", raising=False)
    monkeypatch.setenv("UNICORE_PASSWORD", "certainly-wrong")
    study = ik.Study(noisy, prior(), path=tmp_path / "run", seed=7, quiet=True,
                     executor=ik.executor("unicore", **executor))
    with pytest.raises(ik.errors.ExecutorError, match="refuses"):
        study.simulate(N)
