"""Fresh rows that nothing stores: the same again, failures left out."""

import numpy as np
import pytest

import inferkit as ik
from inferkit.errors import EstimatorError
from inferkit.estimate import Problem


def fails(theta, rng):
    if theta["a"] > 1.5:
        raise ValueError("too large")
    return theta["a"] + theta["b"] + rng.standard_normal(4)


def study(folder, function=fails, **given):
    made = ik.Study(function, ik.Prior({"a": ik.Uniform(0.0, 2.0), "b": ik.Normal(0.0, 1.0)}), seed=3,
                    path=folder / "run", executor=ik.executor("local", workers=0), quiet=True, **given)
    made.simulate(20)
    return made


class Draws:
    def __init__(self, prior):
        self.prior = prior

    def sample(self, n, rng):
        return self.prior.pack(self.prior.sample(n, rng))


def test_a_step_gives_the_same_rows_again_and_stores_none(tmp_path):
    made = study(tmp_path)
    problem = made._problem(made.estimator, None)
    one, again, other = (problem.stream(Draws(made.prior), 100, step=s) for s in (1, 1, 2))
    assert 50 < len(one) < 95 and one.theta[:, 0].max() <= 1.5 and one.ok.all()
    assert np.array_equal(one.theta, again.theta)
    assert np.array_equal(one.inputs["x"], again.inputs["x"])
    assert not np.array_equal(one.theta[:5], other.theta[:5])
    noise = one.inputs["x"] - one.theta.sum(1, keepdims=True)
    assert abs(noise.mean()) < 0.2 and len(np.unique(noise)) == noise.size
    assert made.store.rounds() == [0] and len(made.simulations) == 20


def test_features_and_trials_are_seen_as_in_stored_rows(tmp_path):
    made = study(tmp_path, lambda theta, rng: theta["a"] + rng.standard_normal(4), trials=5,
                 features=[lambda x: {"mean": x["x"].mean(-1)}])
    problem = Problem(made.prior, made.view(), 3, tmp_path, "t", made.training, _job=made.running.job)
    rows = problem.stream(Draws(made.prior), 10, step=0)
    stored = problem.training()
    assert {k: v.shape[1:] for k, v in rows.inputs.items()} == {
        k: v.shape[1:] for k, v in stored.inputs.items()}


def test_when_all_fail_it_says_why(tmp_path):
    def never(theta, rng):
        raise ValueError("no such neuron")

    made = study(tmp_path)
    made.simulator = ik.simulator(never)
    problem = made._problem(made.estimator, None)
    with pytest.raises(EstimatorError, match="all 30 simulations failed: .*no such neuron"):
        problem.stream(Draws(made.prior), 30, step=0)
