"""Likelihoods of a simulator, learned ones, the prior's map, gradient fits, resuming, errors."""

import os
import signal
import subprocess
import sys
import textwrap
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from inferkit_numpyro.config import NUTSConfig
from inferkit_numpyro.engine import precision
from inferkit_numpyro.space import Space, callback

import inferkit as ik
from inferkit.data import Output, Parameter
from inferkit.errors import ConfigError, EstimatorError

QUICK = {"warmup": 200, "draws": 500, "chains": 2}


class Decay:
    """x(t) = a exp(-t / tau), and noise that a latent form can infer."""

    t = np.arange(20.0)
    parameters = (Parameter("a"), Parameter("tau"))
    outputs = (Output("x", (20,), axis=t),)

    def simulate(self, theta, seeds):
        return {"x": theta["a"][:, None] * np.exp(-self.t / theta["tau"][:, None])}

    def jax_function(self):
        return lambda theta, key: {"x": theta["a"] * jnp.exp(-self.t / theta["tau"])}

    def jax_latent(self):
        def f(theta, z):
            return {"x": theta["a"] * jnp.exp(-self.t / theta["tau"]) + 0.1 * jnp.cumsum(z)}
        return f, (20,)


def study(tmp_path, prior, observed, n=2, model=None, **options):
    made = ik.Study(model or Decay(), ik.Prior(prior), quiet=True, seed=1, path=tmp_path / "run",
                    observed=observed, executor=ik.executor("local", workers=0), **options)
    made.simulate(n)
    return made


PRIOR = {"a": ik.LogNormal(1.0, 0.5), "tau": ik.Uniform(1.0, 15.0)}


def data(sigma=0.1, seed=0):
    return 1.3 * np.exp(-Decay.t / 6.0) + sigma * np.random.default_rng(seed).standard_normal(20)


def on_a_grid(x, sigma):
    """Mean and sd of (a, tau) by quadrature."""
    a, tau = np.meshgrid(np.linspace(0.3, 3, 400), np.linspace(1, 15, 400), indexing="ij")
    prior = ik.Prior(PRIOR)
    made = a[..., None] * np.exp(-Decay.t / tau[..., None])
    log_p = -0.5 * ((x - made) ** 2).sum(-1) / sigma**2
    log_p += prior.log_prob({"a": a.ravel(), "tau": tau.ravel()}).reshape(a.shape)
    w = np.exp(log_p - log_p.max())
    w /= w.sum()
    mean = np.array([(w * a).sum(), (w * tau).sum()])
    return mean, np.sqrt([(w * a**2).sum() - mean[0] ** 2, (w * tau**2).sum() - mean[1] ** 2])


@pytest.mark.parametrize(("name", "settings", "close"), [
    ("nuts", QUICK, 0.15), ("laplace", {"steps": 60, "starts": 2}, 0.5)])
def test_a_simulator_and_gaussian_noise_against_quadrature(tmp_path, name, settings, close):
    x = data()
    posterior = study(tmp_path, PRIOR, x).fit(ik.estimator(name, scale=0.1, **settings))
    mean, sd = on_a_grid(x, 0.1)
    draws = posterior.sample(2000).values
    assert (np.abs(draws.mean(0) - mean) / sd < close).all()
    assert (np.abs(draws.std(0) / sd - 1) < 0.25).all()
    assert posterior.info["likelihood"] == "simulator"


def test_arviz_gets_the_chains_as_they_ran(tmp_path):
    arviz = pytest.importorskip("arviz")
    made = study(tmp_path, PRIOR, data())
    nuts = ik.estimator("nuts", scale=0.1, **QUICK)
    fitted = made.fit(nuts)
    loaded = made.fit(nuts)
    for posterior in (fitted, loaded):
        told = posterior.sample(100).to_arviz()
        assert told["posterior"]["tau"].shape == (2, 500)
        assert told["sample_stats"]["energy"].shape == (2, 500)
        assert int(told["sample_stats"]["diverging"].sum()) == posterior.info["divergences"]
        mine, theirs = posterior.info["rhat"]["tau"], float(arviz.rhat(told, method="split")["tau"])
        assert abs(mine - theirs) < 0.01
    assert loaded.predict(30)["x"].shape == (30, 20)
    assert abs(loaded.predict(200)["x"].std(axis=0).mean() - 0.1) < 0.05, "with the noise of the data"


def test_the_noise_s_size_can_be_a_parameter(tmp_path):
    """The simulator declares its parameters, and need not know of it."""
    prior = {**PRIOR, "sigma": ik.HalfNormal(0.5)}
    nuts = ik.estimator("nuts", scale="sigma", **QUICK)
    with pytest.raises(ConfigError, match="'sigma'"):
        study(tmp_path, prior, data(0.2))
    made = study(tmp_path, prior, data(0.2), estimator=nuts)
    assert set(made.simulations.theta) == {"a", "tau", "sigma"}
    posterior = made.fit()
    assert abs(posterior.sample(1000)["sigma"].mean() - 0.2) < 0.08
    with pytest.raises(EstimatorError, match="sigm"):
        made.fit(ik.estimator("nuts", scale="sigm", **QUICK))


def test_latent_noise_widens_what_a_fixed_noise_narrows(tmp_path):
    """x = a exp(-t / tau) + a random walk + measurement noise: linear in a and z, so known exactly."""
    x = data(0.02) + 0.1 * np.cumsum(np.random.default_rng(5).standard_normal(20))
    prior = {"a": ik.Normal(1.0, 0.5)}

    class Fixed(Decay):
        parameters = (Parameter("a"), Parameter("tau", default=6.0))

        def simulate(self, theta, seeds):
            return {"x": theta["a"][:, None] * np.exp(-self.t / 6.0)}

        def jax_latent(self):
            f, shape = super().jax_latent()
            return (lambda theta, z: f({**theta, "tau": 6.0}, z)), shape

        def jax_function(self):
            return lambda theta, key: {"x": theta["a"] * jnp.exp(-self.t / 6.0)}

    made = study(tmp_path, prior, x, model=Fixed())
    posterior = made.fit(ik.estimator("nuts", scale=0.05, latent_noise=True, **QUICK))
    shape = np.exp(-Decay.t / 6.0)
    walk = 0.1 * np.tril(np.ones((20, 20)))
    cov = walk @ walk.T + 0.05**2 * np.eye(20)
    precision = 1 / 0.25 + shape @ np.linalg.solve(cov, shape)
    mean = (1.0 / 0.25 + shape @ np.linalg.solve(cov, x)) / precision
    draws = posterior.sample(1000)["a"]
    assert abs(draws.mean() - mean) * np.sqrt(precision) < 0.25
    assert abs(draws.std() * np.sqrt(precision) - 1) < 0.2


def test_a_gradient_fit_finds_the_parameters_and_claims_no_more(tmp_path):
    posterior = study(tmp_path, PRIOR, data(0.0)).fit(ik.estimator("gradient", steps=400))
    draws = posterior.sample(50)
    assert np.allclose(draws["a"], 1.3, rtol=0.02) and np.allclose(draws["tau"], 6.0, rtol=0.05)
    assert np.ptp(draws.values, axis=0).max() == 0 and "none" in posterior.info["uncertainty"]
    assert posterior.info["loss"][-1] < 1e-3 * posterior.info["loss"][0]


def test_a_learned_likelihood_is_followed(tmp_path):
    """Any simulator: x ~ N(a, 0.3), by NLE on stored simulations and NUTS on its gradient."""
    made = study(tmp_path, {"a": ik.Normal(0.0, 1.0)}, np.array([0.5]), 1500,
                 model=lambda t, rng: np.array([t["a"] + 0.3 * rng.standard_normal()]))
    posterior = made.fit(ik.estimator("nuts", likelihood="learned", warmup=100, draws=250, chains=2))
    draws = posterior.sample(500)["a"]
    precision = 1 + 1 / 0.09
    assert abs(draws.mean() - 0.5 / 0.09 / precision) < 0.1
    assert abs(draws.std() * np.sqrt(precision) - 1) < 0.3
    with pytest.raises(EstimatorError, match="differentiable"):
        made.fit(ik.estimator("nuts"))


@pytest.mark.parametrize("settings", [
    {"scale": 0.1}, {"scale": "s"}, {"scale": 0.1, "noise": "student_t"}])
def test_checks_know_of_the_observation_s_noise(settings, tmp_path):
    """Simulations without noise would look nothing like noisy data."""
    prior = PRIOR | ({"s": ik.LogNormal(0.1, 0.3)} if settings["scale"] == "s" else {})
    made = study(tmp_path, prior, data(), 200, Noisy())
    made.fit(ik.estimator("laplace", **settings))
    made.fit(ik.estimator("laplace", **settings))  # from its file
    for verdict in made.check(only=["predictive", "misspecification"]):
        assert verdict.status in ("PASS", "NOT RUN"), verdict
    x = {"x": np.zeros((4000, 20))}
    theta = np.full((4000, len(prior)), 0.1)
    noisy = made.posterior.engine.as_observed(x, theta, np.random.default_rng(0))
    assert abs(noisy["x"].std() / 0.1 - 1) < (0.6 if "noise" in settings else 0.02)


class Noisy(Decay):
    """Decay with a parameter that only the observation model reads."""

    parameters = (*Decay.parameters, Parameter("s", (), "", 0.1))


# -- the prior's map -----------------------------------------------------------------------------------

PRIORS = {
    "closed": {"n": ik.Normal(1.0, 2.0), "l": ik.LogNormal(3.0, 0.4, shape=(2,)),
               "u": ik.Uniform(-1.0, 4.0), "lu": ik.LogUniform(0.1, 10.0), "h": ik.HalfNormal(0.7),
               "e": ik.Exponential(2.0)},
    "called": {"g": ik.Gamma(2.0, 1.0), "t": ik.StudentT(5.0), "b": ik.Beta(2.0, 3.0)},
    "dependent": {"v": ik.Normal(0.0, 1.0), "y": ik.Normal("v", "exp(v / 2)"),
                  "w": ik.Uniform(0.0, "1 + exp(y)")},
}


@pytest.mark.parametrize("which", PRIORS)
def test_the_map_is_the_prior_s_and_its_slope_too(which):
    prior = ik.Prior(PRIORS[which])
    space = Space(prior)
    assert space.closed == (which == "closed")
    z = np.random.default_rng(0).standard_normal((20, space.dim))
    with precision(NUTSConfig()):
        made = np.asarray(jax.jit(jax.vmap(space.vector))(jnp.asarray(z)))
        slope = np.asarray(jax.jit(jax.vmap(jax.grad(lambda v: space.vector(v).sum())))(jnp.asarray(z)))
    assert np.allclose(made, space.from_z(z), rtol=1e-9)
    for j in range(space.dim):
        h = np.zeros(space.dim)
        h[j] = 1e-5
        numeric = (space.from_z(z + h) - space.from_z(z - h)).sum(1) / 2e-5
        assert np.allclose(slope[:, j], numeric, rtol=1e-5, atol=1e-7)
    assert np.allclose(space.to_z(made), z, atol=1e-6)


def test_callbacks_keep_double_precision():
    with precision(NUTSConfig()):
        out = jax.jit(lambda x: callback(lambda rows: rows[:, 0] + 1e-12, x, ()))(jnp.ones(1))
        assert float(out) - 1 == pytest.approx(1e-12, rel=1e-3)


# -- resuming, errors ----------------------------------------------------------------------------------

SCRIPT = """
    import numpy as np
    import jax.numpy as jnp
    import inferkit as ik
    made = ik.Study(lambda t, rng: np.zeros(1), ik.Prior({{"a": ik.Normal(0.0, 1.0, shape=(2,))}}),
                    quiet=True, seed=1, path={path!r}, observed=np.array([0.3]),
                    executor=ik.executor("local", workers=0),
                    estimator=ik.estimator("nuts", warmup=50, draws=400, block=20, chains=2),
                    log_likelihood=lambda t, x: -2 * jnp.sum((t["a"] - x["x"]) ** 2))
    made.simulate(2)
    made.fit()
"""


def test_a_killed_fit_goes_on_to_the_same_draws(tmp_path):
    def start(name):
        code = textwrap.dedent(SCRIPT).format(path=str(tmp_path / name))
        return subprocess.Popen([sys.executable, "-c", code])

    whole = start("whole")
    killed = start("killed")
    deadline = time.monotonic() + 600  # an event, not a clock: this is only to end at all
    while not list((tmp_path / "killed/fits").glob("*/checkpoint.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert whole.wait(timeout=600) == 0 and start("killed").wait(timeout=600) == 0
    a, b = (np.load(next((tmp_path / name / "fits").glob("*/arrays.npz")))["engine/theta"]
            for name in ("whole", "killed"))
    assert np.array_equal(a, b)


def test_errors_say_what_to_do(tmp_path):
    made = study(tmp_path, PRIOR, data())
    with pytest.raises(EstimatorError, match="features are computed outside of JAX"):
        ik.Study(Decay(), ik.Prior(PRIOR), quiet=True, path=tmp_path / "f", observed=data(),
                 features=[lambda x: {"m": x["x"].mean(1)}], estimator="nuts").fit()
    with pytest.raises(EstimatorError, match="offers no noise"):
        class Plain(Decay):
            jax_latent = property(lambda self: self._nothing)
        study(tmp_path / "p", PRIOR, data(), model=Plain()).fit(
            ik.estimator("nuts", latent_noise=True))
    with pytest.raises(EstimatorError, match="cannot be differentiated"):
        study(tmp_path / "n", PRIOR, data(), log_likelihood=lambda t, x: float(np.sin(t["a"]))).fit(
            ik.estimator("nuts"))
    with pytest.raises(EstimatorError, match="zero or undefined at all"):
        study(tmp_path / "z", PRIOR, data(), log_likelihood=lambda t, x: jnp.nan * t["a"]).fit(
            ik.estimator("nuts"))
    with pytest.raises(EstimatorError, match="k is discrete"):
        study(tmp_path / "d", {"k": ik.Choice([1, 2])}, data(), model=lambda t, rng: np.zeros(20),
              log_likelihood=lambda t, x: 0.0 * t["k"]).fit(ik.estimator("nuts"))
    with pytest.raises(ConfigError, match="target_accept is 1.5"):
        ik.estimator("nuts", target_accept=1.5)
    with pytest.raises(ConfigError, match="scale is -1"):
        ik.estimator("nuts", scale=-1.0)
    assert made is not None


def test_a_log_density_of_ones_own_needs_no_simulator(tmp_path):
    """Mean of a Gaussian: prior N(0, 4), four values with sd 1; posterior in closed form."""
    y = np.array([1.0, 2.0, 0.5, 1.5])

    def log_likelihood(theta, x):
        return -0.5 * ((x["y"] - theta["m"]) ** 2).sum()

    study = ik.Study(prior=ik.Prior({"m": ik.Normal(0.0, 2.0)}), estimator=ik.estimator("nuts"),
                     log_likelihood=log_likelihood, observed={"y": y}, path=tmp_path / "run",
                     quiet=True)
    draws = study.fit().sample(4000)["m"]
    var = 1 / (4 + 0.25)
    assert abs(draws.mean() - var * y.sum()) < 0.1 * var**0.5 and abs(draws.var() / var - 1) < 0.15
    names = {v.name for v in study.check()}
    assert "contraction" in names and not names & {"sbc", "failures", "predictive"}
    assert "could not be made" not in study.report().read_text()
