"""The log-likelihood of a problem as a JAX function of z, and the model that NumPyro sees.

    log p(z | x) = log N(z; 0, I) + log L(theta(z)) + constant

L is one of
    study      the study's own f(theta, x), written in JAX
    simulator  a differentiable simulator f(theta), and an observation model p(x | f(theta), scale)
    learned    the likelihood that `nle` learned from stored simulations

A stochastic simulator runs with one fixed noise, or, with `latent_noise`, its standard normals are
sampled too: p(z, e | x) with e ~ N(0, I), which is exact inference of the stochastic system.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist

from inferkit.errors import EstimatorError, unknown_name
from inferkit.estimate import Problem
from inferkit.features import FEATURES
from inferkit_numpyro.space import Space, callback

LogLikelihood = Callable[[jax.Array, jax.Array | None], jax.Array]


class Target:
    """The posterior over z; `noise_shape` is not None where the simulator's noise is inferred."""

    def __init__(self, problem: Problem, config: Any):
        self.space, self.config = Space(problem.prior), config
        self.observed = {k: np.asarray(v)[0] for k, v in (problem.observed or {}).items()}
        self.noise_shape: tuple[int, ...] | None = None
        self.outputs: Callable | None = None  # theta by name -> outputs compared, where there are any
        kind = self._kind(problem)
        self._log_l: LogLikelihood = {"study": self._study, "simulator": self._simulator,
                                      "learned": self._learned}[kind](problem)
        self.kind = kind

    def _kind(self, problem: Problem) -> str:
        kind = self.config.likelihood
        if kind == "auto":
            return "study" if problem.log_likelihood is not None else "simulator"
        if kind == "study" and problem.log_likelihood is None:
            raise EstimatorError('likelihood = "study", and the study has none',
                                 fix="ik.Study(…, log_likelihood=f)")
        return kind

    def log_likelihood(self, z: jax.Array, noise: jax.Array | None = None) -> jax.Array:
        value = self._log_l(self.space.vector(z), noise)
        if self.space.prior.constraints:
            inside = callback(lambda rows: self.space.allowed(self.space.from_z(rows)), z, ())
            value = jnp.where(jax.lax.stop_gradient(inside) > 0, value, -jnp.inf)
        return jnp.where(jnp.isnan(value), -jnp.inf, value)

    def model(self) -> None:
        """The NumPyro model."""
        d = self.space.dim
        z = numpyro.sample("z", dist.Normal(jnp.zeros(d), 1.0).to_event(1))
        noise = None
        if self.noise_shape is not None:
            noise = numpyro.sample("noise", dist.Normal(jnp.zeros(self.noise_shape), 1.0)
                                   .to_event(len(self.noise_shape)))
        numpyro.factor("log_likelihood", self.log_likelihood(z, noise))

    # -- the three likelihoods -------------------------------------------------------------------

    def _study(self, problem: Problem) -> LogLikelihood:
        own, x = problem.log_likelihood, self.observed
        assert own is not None

        def log_l(vector, noise):
            return jnp.asarray(own(self.space.named(vector), x)).sum()

        try:
            jax.eval_shape(lambda v: log_l(v, None), jnp.zeros(self.space.dim))
        except Exception as cause:
            raise EstimatorError(
                f"the study's log_likelihood cannot be differentiated: {str(cause).splitlines()[0]}",
                allowed="jax.numpy operations on the parameters of one row",
                fix="import jax.numpy as jnp, and jnp.… for np.…") from cause
        return log_l

    def _simulator(self, problem: Problem) -> LogLikelihood:
        if FEATURES in self.observed:
            raise EstimatorError(
                "features are computed outside of JAX and have no gradient",
                allowed="the simulator's raw outputs",
                fix="features=None, or a log_likelihood of your own written in JAX")
        simulator = problem.simulator
        if self.config.latent_noise:
            if not hasattr(simulator, "jax_latent"):
                raise EstimatorError("latent_noise = true, and the simulator offers no noise to infer",
                                     allowed="a simulator with jax_latent()",
                                     fix="latent_noise = false")
            run, self.noise_shape = simulator.jax_latent()
        else:
            f = simulator.jax_function()
            key = jax.random.key(self.config.noise_seed)

            def run(theta, noise):
                return f(theta, key)

        names = self._names()
        scale = self._scale()
        known = {p.name for p in (simulator.parameters or ())} or set(self.space.prior.parameters)

        def outputs(vector, noise=None):
            made = run({k: v for k, v in self.space.named(vector).items() if k in known}, noise)
            return {n: made[n] for n in names}

        def log_l(vector, noise):
            made, named = outputs(vector, noise), self.space.named(vector)
            width = scale if not isinstance(scale, str) else named[scale]
            return sum(observation(self.config, made[n], self.observed[n],
                                   width[n] if isinstance(width, dict) else width).sum()
                       for n in names)

        self.outputs = outputs
        return log_l

    def _names(self) -> tuple[str, ...]:
        for name in self.config.output:
            if name not in self.observed:
                raise unknown_name("observed output", name, self.observed, EstimatorError)
        return self.config.output or tuple(self.observed)

    def _scale(self) -> Any:
        scale = self.config.scale
        if scale == "data":
            return {n: float(np.std(v)) or 1.0 for n, v in self.observed.items()}
        if isinstance(scale, str) and scale not in self.space.prior.parameters:
            raise unknown_name("parameter for scale", scale, self.space.prior.parameters,
                               EstimatorError)
        return scale

    @property
    def meta(self) -> dict:
        """What the posterior keeps: the observation model, for predictive simulations."""
        if self.kind != "simulator":
            return {}
        scale, names = self._scale(), self._names()
        if isinstance(scale, str):
            scale = [self.space.prior.names.index(scale)]
        return {"observation": {
            "noise": self.config.noise, "df": self.config.df,
            "scale": {n: scale[n] if isinstance(scale, dict) else scale for n in names}}}

    def _learned(self, problem: Problem) -> LogLikelihood:
        if problem.simulations is None or not len(problem.simulations):
            raise EstimatorError("a likelihood is learned from simulations, and there are none",
                                 fix="study.simulate(1000)")
        from inferkit import estimator

        engine = estimator("nle").build().fit(problem)

        @jax.custom_vjp
        def log_l(vector):
            return callback(lambda rows: engine.log_likelihood(rows, self.observed), vector, ())

        def both(rows: np.ndarray) -> np.ndarray:
            value, slope = engine.log_likelihood_and_gradient(rows, self.observed)
            return np.concatenate([value[:, None], slope], 1)

        def forward(vector):
            made = callback(both, vector, (self.space.dim + 1,))
            return made[0], made[1:]

        log_l.defvjp(forward, lambda slope, g: (g * slope,))
        return lambda vector, noise: log_l(vector)


def observation(config: Any, made: jax.Array, data: np.ndarray, scale: Any) -> jax.Array:
    """log p(data | made), element by element; NaN in the data is no observation."""
    there = ~np.isnan(data)
    x = jnp.where(there, data, 0.0)
    if config.noise == "gaussian":
        value = dist.Normal(made, scale).log_prob(x)
    elif config.noise == "student_t":
        value = dist.StudentT(config.df, made, scale).log_prob(x)
    elif config.noise == "lognormal":
        positive = jnp.where(there & (data > 0), data, 1.0)
        value = dist.LogNormal(jnp.log(jnp.maximum(made, 1e-30)), scale).log_prob(positive)
        value = jnp.where(there & (data <= 0), -jnp.inf, value)
    else:
        value = dist.Poisson(jnp.maximum(made, 1e-30)).log_prob(x)
    return jnp.where(there, value, 0.0)


def best_of_prior(target: Target, n: int, keep: int, key: jax.Array) -> tuple[jax.Array, Any]:
    """Of n draws of the prior (and of the noise), those of highest likelihood."""
    k1, k2 = jax.random.split(key)
    z = jax.random.normal(k1, (n, target.space.dim))
    noise = None
    if target.noise_shape is not None:
        noise = jax.random.normal(k2, (n, *target.noise_shape))
    value = np.asarray(jax.jit(jax.vmap(target.log_likelihood))(z, noise) if noise is not None
                       else jax.jit(jax.vmap(lambda a: target.log_likelihood(a)))(z))
    finite = np.where(np.isfinite(value), value, -np.inf)
    if not np.isfinite(finite).any():
        raise EstimatorError(
            f"the likelihood is zero or undefined at all of {n} draws of the prior",
            allowed="a prior under which the data can arise",
            fix="a wider scale, another prior, or inferkit check study.toml")
    at = np.argsort(-finite)[:keep]
    at = at[np.isfinite(finite[at])]
    at = np.resize(at, keep)
    return z[at], None if noise is None else noise[at]


