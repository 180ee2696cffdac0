"""bayesflow in a process changes nothing for others in it; on torch too."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from inferkit_bayesflow import backend

from inferkit.errors import EstimatorError

HERE = str(Path(__file__).parent)
START = f"""
import logging, os, random, sys
sys.path.insert(0, {HERE!r})
from pathlib import Path
import numpy as np
import inferkit as ik
from waves import estimator, wave_study
"""
slow = pytest.mark.slow(reason="a process that imports and compiles all anew")
has_torch = pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs torch")
has_sbi = pytest.mark.skipif(importlib.util.find_spec("inferkit_sbi") is None, reason="needs sbi")


def run(code, *arguments, **environment):
    import os

    done = subprocess.run([sys.executable, "-c", START + code, *map(str, arguments)],
                          capture_output=True, text=True, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr
    return done.stdout


NPE = 'ik.estimator("npe", density="maf", epochs=2, hidden=8, transforms=3)'


@has_sbi
@pytest.mark.parametrize("chosen, first", [
    ("torch", "bayesflow"), *(pytest.param(*pair, marks=slow) for pair in (
        ("jax", "bayesflow"), ("jax", "npe"), ("torch", "npe")))])
def test_sbi_trains_before_and_after(tmp_path, chosen, first):
    fits = [f'estimator(epochs=2, backend="{chosen}")', NPE]
    if first == "npe":
        fits.reverse()
    print(run(f"""
made = wave_study(Path(sys.argv[1]), 200)
for chosen in ({fits[0]}, {fits[1]}, {fits[0].replace("epochs=2", "epochs=1")}):
    assert len(made.fit(chosen).info["loss"]) >= 1
import torch
assert torch.is_grad_enabled()
""", tmp_path))


def test_logging_seeds_and_environment_stay_as_they_were(tmp_path):
    run("""
random.seed(1); np.random.seed(1)
expected = random.Random(1).random(), np.random.RandomState(1).random()
handlers, level = list(logging.getLogger().handlers), logging.getLogger().level
made = wave_study(Path(sys.argv[1]), 100)
posterior = made.fit(estimator(epochs=1))
assert posterior.info["backend"] == "jax"
assert os.environ["KERAS_BACKEND"] == ""
assert logging.getLogger().handlers == handlers and logging.getLogger().level == level
assert (random.random(), np.random.random()) == expected, expected
""", tmp_path, KERAS_BACKEND="")


@has_torch
def test_torch_learns_resumes_and_loads_elsewhere(tmp_path):
    """The same fit on torch; the environment's choice is followed, and a file remembers it."""
    out = run("""
from inferkit_bayesflow import train
folder = Path(sys.argv[1])
made = wave_study(folder, 400, observed={"x": np.zeros(40)})
chosen = estimator(epochs=6, rate=1e-2, dropout=0.1)
whole = made.fit(chosen)
assert whole.info["backend"] == "torch"
assert min(whole.info["validation_loss"]) < whole.info["validation_loss"][0] - 0.1
write = train.checkpoint
def stopping(file, machine, history, best):
    write(file, machine, history, best)
    if history.epoch == 2:
        raise KeyError("stop")
train.CHECKPOINT_SECONDS, train.checkpoint = -1.0, stopping
try:
    made.fit(chosen, refit=True)
except KeyError:
    pass
else:
    raise AssertionError
train.checkpoint = write
again = made.fit(chosen, refit=True)
assert again.info["validation_loss"] == whole.info["validation_loss"]
a, b = (p.engine.machine.state()["weights"] for p in (whole, again))
assert all(np.array_equal(x, y) for x, y in zip(a, b))
whole.save(folder / "saved")
print(whole.sample(3, seed=1).values.tolist())
""", tmp_path, KERAS_BACKEND="torch")
    loaded = run('print(ik.load(sys.argv[1]).sample(3, seed=1).values.tolist())', tmp_path / "saved")
    assert loaded == out


def test_a_backend_that_cannot_be_is_said(monkeypatch):
    monkeypatch.setattr(backend, "_in_use", lambda: "torch")
    with pytest.raises(EstimatorError, match="imported on 'torch'.*\n.*\n?.*backend = \"torch\""):
        backend.load("jax")
    monkeypatch.setattr(backend, "_in_use", lambda: "tensorflow")
    with pytest.raises(EstimatorError, match="imported on 'tensorflow'.*\n.*\n?.*process of its own"):
        backend.load()
    monkeypatch.setattr(backend, "_in_use", lambda: None)
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    with pytest.raises(EstimatorError, match="'jax' is not installed"):
        backend.load("jax")
