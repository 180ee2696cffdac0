"""Conditional densities and correlations, beside those of a Gaussian in closed form."""

import numpy as np
import pytest

import inferkit as ik
from inferkit import plot
from inferkit.errors import InferkitError
from inferkit.features import View
from inferkit.plugins import Component, EstimatorSpec
from inferkit.posterior import Posterior

MEAN = np.array([0.2, -0.4, 1.0])
COVARIANCE = np.array([[1.0, 0.8, 0.1], [0.8, 1.2, -0.5], [0.1, -0.5, 0.9]]) * 0.04
PRECISION = np.linalg.inv(COVARIANCE)
DISCRETE = ik.Prior({"a": ik.Normal(0, 1), "b": ik.Normal(0, 1), "k": ik.Choice([1, 2, 3])})


class Exact:
    """A Gaussian whatever is observed."""

    info: dict = {}

    def sample(self, n, x, rng):
        return rng.multivariate_normal(MEAN, COVARIANCE, n)

    def log_prob(self, theta, x):
        return -0.5 * np.einsum("ni,ij,nj->n", theta - MEAN, PRECISION, theta - MEAN)


def posterior(prior=None, gives=("samples", "log_prob")):
    prior = prior or ik.Prior({"a": ik.Normal(0, 5, unit="mV"), "w": ik.Normal(0, 5, shape=(2,))})
    view = View([], {"x": ik.Output("x", (1,))})
    spec = EstimatorSpec(name="exact", summary="", target="nowhere:none", gives=gives)
    return Posterior(Exact(), Component(spec), prior, view, observed={"x": np.zeros((1, 1))})


def moments(grid, density):
    mean = (grid * density).sum() / density.sum()
    return mean, np.sqrt(((grid - mean) ** 2 * density).sum() / density.sum())


def test_single_densities_are_the_closed_form_s():
    at = {"a": 0.3, "w": [-0.5, 0.9]}
    found = posterior().conditional(at)
    assert found.names == ("a", "w[0]", "w[1]") and found.units["a"] == "mV"
    here = np.array([0.3, -0.5, 0.9])
    for i in range(3):
        others = [j for j in range(3) if j != i]
        mean = MEAN[i] - PRECISION[i, others] @ (here - MEAN)[others] / PRECISION[i, i]
        told = moments(found.grid[i], found.single[i])
        np.testing.assert_allclose(told, (mean, PRECISION[i, i] ** -0.5), rtol=0.02, atol=1e-3)
        width = found.grid[i, 1] - found.grid[i, 0]
        assert abs(found.single[i].sum() * width - 1) < 1e-9
    assert moments(found.grid[0], found.single[0])[1] < 0.8 * COVARIANCE[0, 0] ** 0.5


def test_correlations_are_partial_ones():
    """Of a Gaussian, the correlation given the rest: -P_ij / sqrt(P_ii P_jj), wherever it is held."""
    partial = -PRECISION / np.sqrt(np.outer(np.diag(PRECISION), np.diag(PRECISION)))
    np.fill_diagonal(partial, 1)
    found = posterior()
    one = found.conditional()
    np.testing.assert_allclose(one.correlation, partial, atol=0.02)
    np.testing.assert_allclose(one.at, MEAN, atol=0.02)  # the most probable
    several = found.conditional(found.sample(20, seed=3))
    np.testing.assert_allclose(several.correlation, partial, atol=0.03)
    np.testing.assert_array_equal(several.pair[0, 1], several.pair[1, 0].T)
    assert f"{partial[0, 1]:.2f}" in repr(one) and "w[1]" in one._repr_html_()


def test_it_ends_at_the_prior_s_bounds_and_constraints():
    bounded = ik.Prior({k: ik.Uniform(low, high) for k, (low, high) in
                        {"a": (0.1, 0.5), "b": (-2, 2), "c": (-3, 3)}.items()}, constraint="a + b < 0")
    found = posterior(bounded).conditional({"a": 0.2, "b": -0.4, "c": 1.0})
    assert found.grid[0].min() > 0.1 and found.grid[0].max() < 0.5
    beyond = found.grid[0] - 0.4 > 0
    assert beyond.any() and (found.single[0][beyond] == 0).all() and found.single[0].max() > 0
    a, b = np.meshgrid(found.grid[0], found.grid[1], indexing="ij")
    assert (found.pair[0, 1][a + b > 0] == 0).all()


def test_the_picture_marks_the_place():
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    found = posterior().conditional({"a": 0.3, "w": [-0.5, 0.9]})
    axes = plot.conditional(found)
    (mark,) = axes[1, 0].lines[-1:]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0.3], [-0.5])
    assert axes[2, 0].get_xlabel() == "a (mV)"
    assert axes[0, 1].texts[0].get_text() == f"{found.correlation[0, 1]:+.2f}".replace("-", "−")
    plt.close("all")


@pytest.mark.parametrize(("ask", "says"), [
    (lambda p: p.conditional(points=2), "points is 2"),
    (lambda p: p.conditional({"a": 0.1}), "w"),
    (lambda p: p.conditional(np.zeros(2)), "2 values"),
    (lambda p: p.conditional([1e4, np.nan, 0.0]), "outside the prior"),
    (lambda p: posterior(gives=("samples",)).conditional(), "no log-probabilities"),
    (lambda p: posterior(DISCRETE).conditional([0.1, 0.1, 2.0]), "k is discrete"),
])
def test_errors_say_what_is_wrong(ask, says):
    with pytest.raises(InferkitError, match=says):
        ask(posterior())
