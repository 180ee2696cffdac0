"""What was mistyped is answered with what was meant: attributes, arguments, rows, folders."""

import subprocess
import sys

import numpy as np
import pytest

import inferkit as ik
from inferkit.commands import replay
from inferkit.errors import ConfigError, StoreError

PRIOR = {"a": ik.Uniform(0.0, 1.0)}


def test_an_attribute():
    with pytest.raises(AttributeError, match="no attribute 'Unifrom'; did you mean 'Uniform'"):
        _ = ik.Unifrom
    with pytest.raises(AttributeError, match="'nothing_like_it'$"):
        _ = ik.nothing_like_it


@pytest.mark.parametrize(("call", "message"), [
    (lambda: ik.Study(estimater="npe"), "argument of Study 'estimater'.*'estimator'"),
    (lambda: ik.Prior(PRIOR, constraints="a < 1"), "argument of Prior 'constraints'.*'constraint'"),
    (lambda: ik.simulator(print, vectorized=True), "argument of simulator 'vectorized'.*'vectorised'"),
    (lambda: ik.Uniform(low=0, hihg=1), "argument of Uniform 'hihg'.*'high'"),
    (lambda: ik.explore(print, {}, feature=[]), "argument of explore 'feature'.*'features'"),
])
def test_an_argument(call, message):
    with pytest.raises(ConfigError, match=f"(?s){message}"):
        call()


@pytest.fixture
def run(tmp_path):
    made = ik.Study(lambda theta, rng: theta["a"] + rng.normal(), ik.Prior(PRIOR), quiet=True,
                    path=tmp_path / "run", executor=ik.executor("local", workers=0))
    made.simulate(60)
    return made


def inferkit(*words, cwd):
    return subprocess.run([sys.executable, "-m", "inferkit", *words], cwd=cwd, capture_output=True,
                          text=True)


def test_a_row_that_is_not_there(run):
    with pytest.raises(StoreError, match="no row 99 in round 0\n.*0 to 59\n.*:59"):
        replay.run(run, 0, 99)
    with pytest.raises(StoreError, match="no row 0 in round 7\n.*rounds: 0"):
        replay.run(run, 7, 0)


def test_run_a_folder_and_more_rows_than_were_asked_for(run):
    text = (run.path / "study.toml").read_text()
    (run.path / "study.toml").write_text(text.replace("simulations = 60", "simulations = 30"))
    status = inferkit("status", "run", cwd=run.path.parent)
    assert "round 0: 60 rows, 60 ok" in status.stdout
    folder = inferkit("run", "run", cwd=run.path.parent)
    assert folder.returncode == 2 and "inferkit resume run" in folder.stderr


def test_lengths_that_vary_are_told_as_such(tmp_path):
    def drifts(theta, rng):
        return {"y": np.zeros(5 + int(10 * theta["a"]))}

    made = ik.Study(drifts, ik.Prior(PRIOR), quiet=True, path=tmp_path / "run",
                    executor=ik.executor("local", workers=0))
    told = made.try_out()["failures"]
    assert "has length" in told.evidence and "if its length varies" in told.evidence


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0, 8.0], [0.0, 0.3, 0.9], np.linspace(0, 1, 30)])
def test_an_axis_is_marked_at_values_that_were_simulated(values):
    from matplotlib import pyplot as plt

    from inferkit.commands.grid import TICKS, _mark

    values = np.asarray(values)
    _, ax = plt.subplots()
    ax.plot(values, values)
    _mark(ax, "x", values)
    marked = ax.get_xticks()
    assert 2 <= len(marked) <= TICKS and np.isin(marked, values).all()
    assert not len(ax.get_xticks(minor=True))
    plt.close()
