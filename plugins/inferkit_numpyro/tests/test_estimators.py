"""The suites of inferkit.testing, and posteriors known in closed form."""

import jax.numpy as jnp
import numpy as np
import pytest

import inferkit as ik
from inferkit.testing import EstimatorSuite, PluginSuite


class TestPlugin(PluginSuite):
    @pytest.fixture
    def module(self):
        return "inferkit_numpyro.plugin"

    @pytest.fixture
    def backends(self):
        return "jax", "numpyro", "optax", "blackjax"


def linear_gaussian(theta, x):
    """The suite's task: x ~ N(theta, 0.1 I)."""
    return -0.5 * jnp.sum((x["x"] - theta["theta"]) ** 2) / 0.1


class Exact(EstimatorSuite):
    simulations, mean_tolerance, sd_tolerance = 50, 0.12, 0.12
    settings = {}

    @pytest.fixture
    def component(self):
        return ik.estimator(self.name, **self.settings)

    @pytest.fixture
    def study(self, component, task, folder):
        study = ik.Study(task, task.build().prior(), estimator=component, seed=11, quiet=True,
                         executor=ik.executor("local", workers=0), path=folder / "run",
                         observed=task.build().observation(1), log_likelihood=linear_gaussian)
        study.simulate(self.simulations)
        return study


class TestNUTS(Exact):
    name, settings = "nuts", {"warmup": 200, "draws": 500}


class TestHMC(Exact):
    name, settings = "hmc", {"warmup": 200, "draws": 500}


class TestLaplace(Exact):
    name, settings = "laplace", {"steps": 60, "starts": 2}


class TestSVI(Exact):
    name, settings = "svi", {"steps": 1500}


del Exact, EstimatorSuite, PluginSuite


def study(tmp_path, prior, log_likelihood, observed, name="run", seed=3, model=None):
    made = ik.Study(model or (lambda theta, rng: np.zeros(len(np.atleast_1d(observed)))),
                    ik.Prior(prior), quiet=True, seed=seed, path=tmp_path / name, observed=observed,
                    executor=ik.executor("local", workers=0), log_likelihood=log_likelihood)
    made.simulate(2)
    return made


def test_a_correlated_gaussian_within_monte_carlo_error(tmp_path):
    """x = A theta + noise: mean and the whole covariance, against the closed form."""
    rng = np.random.default_rng(0)
    a, x = rng.normal(size=(6, 4)), rng.normal(size=6)
    made = study(tmp_path, {"w": ik.Normal(0.5, 2.0, shape=(4,))},
                 lambda t, d: -0.5 * jnp.sum((d["x"] - a @ t["w"]) ** 2) / 0.3**2, x)
    cov = np.linalg.inv(a.T @ a / 0.3**2 + np.eye(4) / 4)
    mean = cov @ (a.T @ x / 0.3**2 + 0.5 / 4)
    posterior = made.fit(ik.estimator("nuts", warmup=300, draws=2000))
    info = posterior.info
    draws = posterior.sample(8000).values
    ess, sd = np.array(list(info["ess"].values())), np.sqrt(np.diag(cov))
    assert (np.abs(draws.mean(0) - mean) / sd < 4 / np.sqrt(ess)).all()
    got = np.cov(draws.T) / np.outer(sd, sd)
    assert np.abs(got - cov / np.outer(sd, sd)).max() < 6 / np.sqrt(ess.min())
    assert max(info["rhat"].values()) < 1.01 and info["divergences"] == 0 and ess.min() > 1000
    assert info["e_bfmi"] > 0.3


def test_the_funnel_is_non_centred(tmp_path):
    """v ~ N(0, 3), y_i ~ N(0, exp(v / 2)), no data: the prior itself is the posterior."""
    made = study(tmp_path, {"v": ik.Normal(0.0, 3.0), "y": ik.Normal(0.0, "exp(v / 2)", shape=(3,))},
                 lambda t, d: 0.0 * t["v"], np.zeros(1))
    posterior = made.fit(ik.estimator("nuts", warmup=200, draws=1000))
    v = posterior.sample(4000)["v"]
    assert posterior.info["divergences"] == 0
    assert abs(v.mean()) < 0.3 and abs(v.std() / 3 - 1) < 0.1
    y = posterior.sample(4000)["y[0]"]
    z = y / np.exp(v / 2)
    assert abs(z.std() - 1) < 0.1 and np.abs(y).max() > 30  # it reaches into the wide mouth


def test_two_observations_of_a_gamma_by_quadrature(tmp_path):
    """A prior without a closed quantile in JAX goes through the callback, and is still exact."""
    made = study(tmp_path, {"rate": ik.Gamma(2.0, 1.5)},
                 lambda t, d: jnp.sum(d["x"] * jnp.log(t["rate"]) - t["rate"]), np.array([3.0, 5.0]))
    posterior = made.fit(ik.estimator("nuts", warmup=200, draws=1000))
    draws = posterior.sample(4000)["rate"]
    k, scale = 2 + 8, 1 / (1 / 1.5 + 2)  # the conjugate posterior
    assert abs(draws.mean() - k * scale) < 0.1 and abs(draws.std() / (np.sqrt(k) * scale) - 1) < 0.1


def test_constraints_are_kept(tmp_path):
    prior = ik.Prior({"a": ik.Uniform(0.0, 1.0), "b": ik.Uniform(0.0, 1.0)}, constraint="a < b")
    made = ik.Study(lambda t, rng: np.zeros(1), prior, quiet=True, path=tmp_path / "run", seed=1,
                    executor=ik.executor("local", workers=0), observed=np.zeros(1),
                    log_likelihood=lambda t, d: 0.0 * t["a"])
    made.simulate(2)
    draws = made.fit(ik.estimator("nuts", warmup=300, draws=1000)).sample(4000)
    assert (draws["a"] < draws["b"]).all()
    assert abs(draws["a"].mean() - 1 / 3) < 0.05 and abs(draws["b"].mean() - 2 / 3) < 0.05
