"""NUTS on reference tasks, whose posteriors the core draws from exactly."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm

import inferkit as ik


def mixture(theta, x):
    gap = x["x"] - theta["theta"]
    return logsumexp(jnp.stack([norm.logpdf(gap, 0, s).sum() for s in (1.0, 0.1)]))


def slcp(theta, x):
    t, points = theta["theta"], x["x"].reshape(4, 2)
    s1, s2, rho = t[2] ** 2, t[3] ** 2, jnp.tanh(t[4])
    a, b = (points[:, 0] - t[0]) / s1, (points[:, 1] - t[1]) / s2
    square = (a**2 - 2 * rho * a * b + b**2) / (1 - rho**2)
    return -0.5 * square.sum() - 4 * (jnp.log(s1) + jnp.log(s2) + 0.5 * jnp.log(1 - rho**2))


def seen(name, theta):
    """What is compared: SLCP's signs of two parameters are anybody's guess."""
    return np.concatenate([theta[:, :2], np.abs(theta[:, 2:4]), theta[:, 4:]], 1) if name == "slcp" \
        else theta


@pytest.mark.parametrize(("name", "log_likelihood", "settings"), [
    ("gaussian_mixture", mixture, {}),
    pytest.param("slcp", slcp, {"target_accept": 0.95, "chains": 8}, marks=pytest.mark.slow)])
def test_the_reference_posterior(name, log_likelihood, settings, tmp_path):
    task = ik.simulator(name)
    built = task.build()
    x = built.observation(2)
    nuts = ik.estimator("nuts", **{"chains": 4, "warmup": 400, "draws": 1000, **settings})
    study = ik.Study(task, built.prior(), path=tmp_path / "run", seed=1, quiet=True, observed=x,
                     log_likelihood=log_likelihood, executor=ik.executor("local", workers=0),
                     estimator=nuts)
    study.simulate(10)
    posterior = study.fit()
    exact = seen(name, built.reference_posterior(8000, x, np.random.default_rng(0)))
    drawn = seen(name, posterior.sample(4000).values)
    shift = np.abs(drawn.mean(0) - exact.mean(0)) / exact.std(0)
    assert shift.max() < 0.2, shift
    assert np.abs(drawn.std(0) / exact.std(0) - 1).max() < 0.15
