"""Importance correction against the closed form."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import inferkit as ik
from inferkit.errors import EstimatorError
from inferkit.posterior import Posterior, corrected
from inferkit.posterior.importance import smoothed

X = np.array([0.8])  # x ~ N(a, 0.5), a ~ N(0, 1)
MEAN, SD = X[0] / 1.25, np.sqrt(0.2)


class Wrong:
    """A posterior that is off by a part of its width, and too wide or too narrow."""

    def __init__(self, width):
        self.q = stats.norm(MEAN + 0.3, width * SD)

    def sample(self, n, x, rng):
        return self.q.rvs((n, 1), random_state=rng)

    def log_prob(self, theta, x):
        return self.q.logpdf(theta[:, 0])


def posterior(width):
    spec = SimpleNamespace(name="wrong", amortised=True, gives=("samples", "log_prob"))
    view = SimpleNamespace()
    made = Posterior(Wrong(width), SimpleNamespace(spec=spec, name="wrong"),
                     ik.Prior({"a": ik.Normal(0.0, 1.0)}), view, observed={"x": X[None]})
    made._inputs = lambda observed: ({"x": X[None]}, False)
    return made


def log_likelihood(theta, x):
    return stats.norm(theta["a"], 0.5).logpdf(x[0])


def test_draws_are_those_of_the_exact_posterior():
    samples, told = corrected(posterior(1.5), 4000, log_likelihood, X)
    assert abs(samples["a"].mean() - MEAN) < 0.03 and abs(samples["a"].std() / SD - 1) < 0.05
    assert told["believed"] and 8000 < told["ess"] < 32000
    again, _ = corrected(posterior(1.5), 4000, log_likelihood, X)
    assert np.array_equal(samples.values, again.values)


def test_a_proposal_that_is_too_narrow_is_told():
    assert not corrected(posterior(0.3), 1000, log_likelihood, X)[1]["believed"]


def test_a_likelihood_of_another_shape_is_refused():
    with pytest.raises(EstimatorError, match="one value a row"):
        corrected(posterior(1.0), 100, lambda theta, x: 0.0, X)
    with pytest.raises(EstimatorError, match="is 0 at every draw"):
        corrected(posterior(1.0), 100, lambda theta, x: np.full(len(theta["a"]), -np.inf), X)


def test_smoothing():
    rng = np.random.default_rng(0)
    assert smoothed(0.1 * rng.standard_normal(8000))[1] < 0.5
    assert smoothed(3.0 * rng.standard_exponential(8000))[1] > 0.7
    w, _ = smoothed(rng.standard_normal(8000))
    assert abs(w.sum() - 1) < 1e-12
