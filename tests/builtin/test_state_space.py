"""The linear-Gaussian state space: everything against one dense Gaussian, then as a study."""

import numpy as np
import pytest

import inferkit as ik
from inferkit.builtin.state_space import KalmanConfig, LinearGaussian, LinearGaussianConfig
from inferkit.builtin.state_space.estimator import Posterior
from inferkit.builtin.state_space.kalman import forward, paths, smooth
from inferkit.commands import study_file, sweep
from inferkit.commands.cli import main
from inferkit.data import Dataset
from inferkit.errors import ConfigError, DataError, EstimatorError, SimulatorError
from inferkit.testing import ObservationsSuite, SimulatorSuite

MODEL = KalmanConfig(A=[[0.9, -0.3], [0.2, 0.8]], C=[[1.0, 0.5], [0.0, 1.0], [0.4, -1.0]],
                     Q=[[0.1, 0.03], [0.03, 0.2]], R=0.3, m0=[1.0, -1.0], P0=0.5).matrices


def dense(model, steps):
    """Mean and covariance of (x, y) stacked, by the definition and nothing else."""
    d, n = len(model.m0), len(model.C)
    mean_x, cov_x = np.zeros(steps * d), np.zeros((steps * d, steps * d))
    mean, spread = model.m0, model.P0
    for t in range(steps):
        if t:
            mean, spread = model.A @ mean, model.A @ spread @ model.A.T + model.Q
        mean_x[t * d : (t + 1) * d] = mean
        block = spread
        for s in range(t, steps):
            cov_x[s * d : (s + 1) * d, t * d : (t + 1) * d] = block
            cov_x[t * d : (t + 1) * d, s * d : (s + 1) * d] = block.T
            block = model.A @ block
    C = np.kron(np.eye(steps), model.C)
    cross = cov_x @ C.T
    cov_y = C @ cross + np.kron(np.eye(steps), model.R)
    assert cov_y.shape == (steps * n, steps * n)
    return mean_x, cov_x, C @ mean_x, cross, cov_y


@pytest.mark.parametrize("steps", [1, 2, 9])
def test_the_smoother_is_the_dense_gaussian(steps):
    rng = np.random.default_rng(steps)
    y = rng.normal(size=(steps, 3)) + 1
    seen = rng.random(y.shape) < 0.7
    seen[0, 0] = True
    if steps > 3:
        seen[3] = False  # a whole step unseen
    mean_x, cov_x, mean_y, cross, cov_y = dense(MODEL, steps)
    at = np.flatnonzero(seen.ravel())
    part = cov_y[np.ix_(at, at)]
    gain = np.linalg.solve(part, cross[:, at].T).T
    exact = mean_x + gain @ (y.ravel()[at] - mean_y[at])
    exact_cov = cov_x - gain @ cross[:, at].T
    off = y.ravel()[at] - mean_y[at]
    log_p = -0.5 * (off @ np.linalg.solve(part, off) + np.linalg.slogdet(2 * np.pi * part)[1])

    found = forward(MODEL, y, seen)
    mean, cov = smooth(MODEL, found)
    assert np.allclose(mean.ravel(), exact, atol=1e-10)
    for t in range(steps):
        assert np.allclose(cov[t], exact_cov[2 * t : 2 * t + 2, 2 * t : 2 * t + 2], atol=1e-10)
    assert np.isclose(found.log_likelihood, log_p, atol=1e-9)

    draws = paths(MODEL, found, 40_000, rng).reshape(40_000, -1)
    sd = np.sqrt(np.diag(exact_cov))
    assert np.abs((draws.mean(0) - exact) / sd).max() < 5 / np.sqrt(len(draws))
    assert np.abs((np.cov(draws.T) - exact_cov) / np.outer(sd, sd)).max() < 0.03


def test_a_state_that_is_certain_stays_so():
    """Singular covariances: nothing divides by zero, and the path is the known one."""
    model = KalmanConfig(A=1.0, C=[[1.0]], Q=0.0, R=0.1, m0=[2.0], P0=0.0).matrices
    y = np.full((5, 1), 2.3)
    found = forward(model, y, np.ones_like(y, dtype=bool))
    assert np.allclose(smooth(model, found)[0], 2.0)
    assert np.allclose(paths(model, found, 3, np.random.default_rng(0)), 2.0)


class TestLinearGaussian(SimulatorSuite):
    @pytest.fixture
    def component(self):
        return ik.simulator("state_space", steps=20)


class TestKalman(ObservationsSuite):
    @pytest.fixture
    def component(self):
        return ik.estimator("kalman", A=0.8, C=1.0, Q=0.2, R=0.4, m0=0.0, P0=1.0)

    @pytest.fixture
    def observed(self):
        rng = np.random.default_rng(1)
        return {"y": [rng.normal(size=(30, 1)), rng.normal(size=(12, 1))]}


def test_simulated_and_smoothed_agree():
    """States of the simulator lie in the smoother's bands as often as they should."""
    config = LinearGaussianConfig(steps=40)
    x = LinearGaussian(config).simulate({}, np.arange(200, dtype=np.uint64))
    engine = Posterior(config.matrices)
    each = engine.smoothed(Dataset.of({"y": x["y"]}))
    z = np.concatenate([((true - mean) / np.sqrt(np.diagonal(cov, axis1=1, axis2=2))).ravel()
                        for true, (mean, cov) in zip(x["x"], each)])
    assert abs(z.mean()) < 0.03 and abs(z.std() - 1) < 0.03


STUDY = """
path = "run"
seed = 2
observed = {simulator = {name = "state_space", steps = 60}, trials = 3, seed = 5}
estimator = "kalman"
"""


def test_a_study_without_simulator_and_prior(tmp_path, monkeypatch, capsys):
    """TOML: run, resume, report, compare, status; the same posterior from Python and from its file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text(STUDY)
    assert main(["run", "study.toml"]) == 0
    out = capsys.readouterr().out
    assert "innovations" in out and "trial 3, time 60, state 2" in out
    assert not {"sbc", "contraction", "failures", "recovery"} & set(out.replace(":", "").split())
    page = (tmp_path / "run/report.html").read_text()
    assert "Posterior arrays" in page and "Failed simulations" not in page
    assert "could not be made" not in page and ">Parameters<" not in page
    fits = list((tmp_path / "run/fits").iterdir())
    assert main(["resume", "run"]) == 0 and list((tmp_path / "run/fits").iterdir()) == fits
    assert main(["report", "run"]) == 0 and main(["status", "run"]) == 0
    assert main(["compare", "run", "kalman"]) == 0
    assert "kalman" in capsys.readouterr().out

    study, _ = study_file.reopen("run")
    posterior = study.fit()
    again = ik.load(fits[0])
    a, b = posterior.sample(20, seed=1), again.sample(20, seed=1)
    assert np.array_equal(a["x"], b["x"]) and again.observed == posterior.observed
    assert a.to_arviz().posterior["x"].dims == ("chain", "draw", "trial", "time", "state")
    assert study_file.to_toml(study).count("[simulator]") == 0


def test_a_sweep_of_such_studies(tmp_path):
    (tmp_path / "study.toml").write_text(STUDY)
    table = sweep.run(tmp_path / "study.toml", {"estimator.Q": [0.01, 0.5]}, path=tmp_path / "s",
                      executor=ik.executor("local", workers=0), quiet=True)
    true, wrong = table.rows
    assert true["fit.log_likelihood"] > wrong["fit.log_likelihood"]
    assert (true["check.innovations"], wrong["check.innovations"]) == ("PASS", "FAIL")


@pytest.mark.parametrize("settings, status", [
    ({}, "PASS"), ({"R": 0.2}, "FAIL"), ({"A": 0.3}, "FAIL"), ({"Q": 0.0004}, "FAIL")])
def test_innovations_tell_a_wrong_model(settings, status, tmp_path):
    x = LinearGaussian(LinearGaussianConfig(steps=200)).simulate({}, np.arange(5, dtype=np.uint64))
    study = ik.Study(estimator=ik.estimator("kalman", **settings), observed={"y": x["y"]},
                     path=tmp_path / "run", quiet=True)
    study.fit()
    assert study.check()["innovations"].status == status


def test_what_cannot_work_is_told(tmp_path):
    data = {"y": np.zeros((5, 3))}
    with pytest.raises(EstimatorError, match="needs a simulator and a prior"):
        ik.Study(estimator="abc-rejection", observed=data, path=tmp_path / "a").fit()
    study = ik.Study(estimator="kalman", observed=data, path=tmp_path / "b", quiet=True)
    with pytest.raises(ConfigError, match="no parameters and no simulator to simulate with"):
        study.simulate(10)
    with pytest.raises(EstimatorError, match="needs observations"):
        ik.Study(estimator="kalman", path=tmp_path / "c").fit()
    with pytest.raises(DataError, match="explains 'y', and the data hold z"):
        ik.Study(estimator="kalman", observed={"z": np.zeros((5, 3))}, path=tmp_path / "d").fit()
    with pytest.raises(DataError, match=r"trial 0 of y has shape \(5, 2\)"):
        ik.Study(estimator="kalman", observed={"y": np.zeros((5, 2))}, path=tmp_path / "e").fit()
    with pytest.raises(DataError, match="nothing of trial 0"):
        ik.Study(estimator="kalman", observed={"y": np.full((5, 3), np.nan)},
                 path=tmp_path / "f").fit()
    with pytest.raises(SimulatorError, match="no simulator"):
        study.built.simulate({}, np.zeros(1, np.uint64))


@pytest.mark.parametrize("settings, match", [
    ({"A": [[1.0, 0.0]]}, r"A has shape \(1, 2\)"),
    ({"Q": [[1.0, 2.0], [0.0, 1.0]]}, "Q is not symmetric"),
    ({"R": -1.0}, "R has negative eigenvalues"),
    ({"A": float("nan")}, "A holds NaN"),
    ({"B": 1.0}, "unknown key of estimator 'kalman' 'B'"),
])
def test_bad_settings(settings, match):
    with pytest.raises(ConfigError, match=match):
        ik.estimator("kalman", **settings)
