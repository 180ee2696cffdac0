"""What a prior and a posterior predict: seeds, failures, trials, and nothing that is learned from."""

import warnings

import numpy as np
import pytest

import inferkit as ik
from inferkit.errors import ConfigError, EstimatorError


def model(theta, rng):
    if theta["a"] > 0.9:
        raise ValueError("too large")
    return {"x": theta["a"] + 0.05 * rng.standard_normal(30)}


def study(path, function=model, **more):
    return ik.Study(function, ik.Prior({"a": ik.Uniform(0, 1)}), path=path, quiet=True,
                    executor=ik.executor("local", workers=0),
                    **{"observed": np.full(30, 0.5), "seed": 4, **more})


@pytest.fixture
def fitted(tmp_path):
    made = study(tmp_path / "run")
    made.simulate(600)
    made.fit()
    return made


def test_the_prior_predicts_before_anything_is_simulated(tmp_path):
    made = study(tmp_path / "run")
    with pytest.warns(UserWarning, match="of 60 simulations failed, most often: .*too large"):
        found = made.prior_predictive(60)
    assert found["x"].shape == (60, 30) and len(made.simulations) == 0
    failed = found.theta["a"] > 0.9
    assert failed.any() and np.array_equal(~failed, found.ok) and np.isnan(found["x"][failed]).all()
    assert "too large" in repr(found)
    assert np.allclose(found["x"][found.ok].mean(axis=1), found.theta["a"][found.ok], atol=0.06)
    rows = len(made.store.shards())
    with pytest.warns(UserWarning):
        again = made.prior_predictive(60)
    assert np.array_equal(again["x"], found["x"], equal_nan=True) and len(made.store.shards()) == rows


@pytest.mark.filterwarnings("ignore:.*simulations failed")
def test_stored_rows_of_the_prior_are_used(fitted):
    rounds = fitted.store.rounds()
    found = fitted.prior_predictive(50)
    assert np.array_equal(found.theta["a"], fitted.simulations.theta["a"][:50])
    assert fitted.store.rounds() == rounds and len(fitted.simulations) == 600


def test_the_posterior_predicts_its_own_draws(fitted):
    found = fitted.posterior.predict(80)
    drawn = fitted.posterior.sample(80)
    assert np.array_equal(found.theta["a"], drawn["a"])
    assert abs(found["x"].mean() - 0.5) < 0.05 and found.ok.all()
    assert len(fitted.simulations) == 600 and len(fitted.training) == 540
    assert np.array_equal(fitted.posterior.predict(80)["x"], found["x"])
    other = fitted.posterior.predict(80, np.full(30, 0.2), seed=9)
    assert abs(other["x"].mean() - 0.2) < 0.05


def test_another_process_predicts_the_same(fitted):
    found = fitted.posterior.predict(40)
    again = study(fitted.path)
    assert np.array_equal(again.fit().predict(40)["x"], found["x"])


def test_failures_are_told(fitted):
    class High:
        def sample(self, n, x, rng):
            return rng.uniform(0.8, 1.0, (n, 1))

    fitted.posterior.engine = High()
    with pytest.warns(UserWarning, match="of 60 simulations failed, most often: .*too large"):
        found = fitted.posterior.predict(60)
    assert 0 < found.ok.sum() < 60 and len(found.messages) == 60
    assert np.isfinite(found["x"][found.ok]).all() and "failed" in repr(found)


def test_what_cannot_be_predicted_says_why(fitted):
    with pytest.raises(EstimatorError, match="one observation at a time"):
        fitted.posterior.predict(10, np.full((2, 30), 0.5))
    alone = ik.load(fitted.path / "fits" / fitted.posterior.info["fit"])
    with pytest.raises(EstimatorError, match="study.fit"):
        alone.predict(10)
    with pytest.raises(ConfigError, match="prior_predictive"):
        fitted.prior_predictive(0)
    with pytest.raises(ConfigError, match="unknown output 'y'"):
        fitted.posterior.predict(10)["y"]


def test_each_draw_has_the_observations_trials(tmp_path):
    made = study(tmp_path / "run", lambda theta, rng: {"x": theta["a"] + rng.normal(0, 0.1, 2)},
                 trials=6, observed=np.full((6, 2), 0.5), features=["trial_stats"])
    made.simulate(400)
    found = made.fit().predict(20)
    assert found["x"].shape == (20, 6, 2) and found.trials == 6
    assert made.prior_predictive(10)["x"].shape == (10, 6, 2)
    assert found.pooled()["x"].shape == (20, 2)


def test_a_study_file_opened_in_python_predicts(tmp_path, monkeypatch):
    from inferkit.commands import study_file

    monkeypatch.chdir(tmp_path)
    (tmp_path / "study.toml").write_text("""
path = "runs/g"
observed = {theta = {theta = [0.1, 0.2]}, seed = 1}
[simulator]
name = "gaussian_linear"
dim = 2
[prior]
theta = {family = "normal", loc = 0.0, scale = 1.0, shape = [2]}
[executor]
name = "local"
workers = 0
""")
    made, _ = study_file.read("study.toml")
    made.reporter.quiet = True
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert made.prior_predictive(15)["x"].shape == (15, 2)
        made.simulate(300)
        assert made.fit().predict(12)["x"].shape == (12, 2)
