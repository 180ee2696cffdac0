"""Quick alternatives to sampling: a Gaussian at the mode, variational fits, and plain gradient fits.

Laplace: climbs from the best of many prior draws to the highest mode z*, then

    q(z) = N(z*, H^-1),   H = - d^2/dz^2 [ log N(z; 0, I) + log L(z) ] at z*

which has a normalised density over the parameters too, since dz is known.

SVI: maximises the evidence bound over a family of guides; draws are then compared with the target by
importance weights, whose Pareto k-hat says how far to believe them (above 0.7: not).

Gradient: minimises a loss by optax from several starts.  What comes back is points, the best first,
with no uncertainty at all; every draw of that "posterior" is the best point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import optax
from numpyro import infer
from numpyro.infer import autoguide

from inferkit.errors import EstimatorError
from inferkit.estimate import Problem
from inferkit.prior import Prior
from inferkit_numpyro.config import GradientConfig, LaplaceConfig, SVIConfig
from inferkit_numpyro.engine import Draws, precision, with_noise
from inferkit_numpyro.space import Space
from inferkit_numpyro.target import Target, best_of_prior

CHECKED = 2000
SHOWN = 50  # points of a learning curve that are kept


class Gaussian:
    """N(mean, cov) over z as a posterior."""

    def __init__(self, mean: np.ndarray, cov: np.ndarray, space: Space, info: dict,
                 observation: dict | None = None):
        self.mean, self.cov, self.space, self.info = mean, cov, space, info
        self.observation = observation

    def sample(self, n: int, x: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        root, kept = np.linalg.cholesky(self.cov), []
        for _ in range(1000):
            theta = self.space.from_z(self.mean + rng.standard_normal((n, len(self.mean))) @ root.T)
            kept.append(theta[self.space.allowed(theta)])
            if sum(map(len, kept)) >= n:
                return np.concatenate(kept)[:n]
        raise EstimatorError("the Gaussian lies where the prior's constraints reject nearly all draws",
                             fix='estimator "nuts"')

    def log_prob(self, theta: np.ndarray, x: Mapping[str, Any]) -> np.ndarray:
        """log q(z) - log N(z; 0, I) + log p(theta); constraints' share is not divided out."""
        z = self.space.to_z(theta)
        white = np.linalg.solve(np.linalg.cholesky(self.cov), (z - self.mean).T)
        log_q = -0.5 * (white**2).sum(0) - 0.5 * np.linalg.slogdet(self.cov)[1]
        prior = self.space.prior
        return log_q + 0.5 * (z**2).sum(1) + prior.log_prob_matrix(theta)

    def as_observed(self, x: Mapping[str, Any], theta: np.ndarray, rng: np.random.Generator
                    ) -> dict[str, Any]:
        return with_noise(self.observation, x, theta, rng)

    def state(self) -> tuple[dict, dict]:
        return ({"mean": self.mean, "cov": self.cov},
                {"info": self.info, "observation": self.observation})


class Laplace:
    def __init__(self, config: LaplaceConfig | None = None):
        self.config = config or LaplaceConfig()

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Gaussian:
        return Gaussian(arrays["mean"], arrays["cov"], Space(prior), meta["info"],
                        meta.get("observation"))

    def fit(self, problem: Problem) -> Gaussian:
        with precision(self.config):
            target = refuse_noise(Target(problem, self.config), "laplace")
            key = jax.random.key(int(problem.rng(0).integers(2**31)))
            start, _ = best_of_prior(target, max(self.config.candidates, self.config.starts),
                                     self.config.starts, key)

            def loss(z):
                return 0.5 * jnp.sum(z**2) - target.log_likelihood(z)

            ends, values = climb(loss, start, self.config.steps)
            best = int(np.argmin(values))
            z = ends[best]
            slope = float(jnp.abs(jax.grad(loss)(z)).max())
            hessian = np.asarray(jax.hessian(loss)(z) if target.space.closed and
                                 target.kind != "learned" else differences(jax.grad(loss), z))
            width = np.linalg.eigvalsh(hessian)
            if not width[0] > 0:
                raise EstimatorError(
                    "the highest point found is no peak: the curvature there is not negative",
                    allowed="a posterior with a mode away from the prior's limits",
                    fix='estimator "nuts"')
            agree = float(np.mean(np.asarray(values) < values[best] + 0.1))
            info = {"slope": slope, "starts_that_agree": agree, "likelihood": target.kind,
                    "log_posterior": -float(values[best])}
            return Gaussian(np.asarray(z, np.float64), np.linalg.inv(hessian), target.space, info,
                            target.meta.get("observation"))


class SVI:
    def __init__(self, config: SVIConfig | None = None):
        self.config = config or SVIConfig()

    restore = staticmethod(Draws.restore)

    def fit(self, problem: Problem) -> Draws:
        c = self.config
        with precision(c):
            target = Target(problem, c)
            key = jax.random.key(int(problem.rng(0).integers(2**31)))
            z, noise = best_of_prior(target, c.candidates, 1, key)
            values = {"z": z[0]} if noise is None else {"z": z[0], "noise": noise[0]}
            start = infer.init_to_value(values=values)
            guide = {"diagonal": autoguide.AutoDiagonalNormal, "full": autoguide.AutoMultivariateNormal,
                     "lowrank": autoguide.AutoLowRankMultivariateNormal,
                     "iaf": autoguide.AutoIAFNormal}[c.guide](target.model, init_loc_fn=start)
            rate = optax.cosine_decay_schedule(c.rate, c.steps, 0.05)
            svi = infer.SVI(target.model, guide, numpyro.optim.optax_to_numpyro(optax.adam(rate)),
                            infer.Trace_ELBO(num_particles=c.particles))
            result = svi.run(jax.random.fold_in(key, 1), c.steps, progress_bar=False)
            losses = np.asarray(result.losses)
            if not np.isfinite(losses[-100:]).all():
                raise EstimatorError("the evidence bound diverged", fix="a smaller rate, or nuts")
            drawn = guide.sample_posterior(jax.random.fold_in(key, 2), result.params,
                                           sample_shape=(CHECKED,))
            khat = pareto(target, guide, result.params, jax.random.fold_in(key, 3), c.guide)
            theta = target.space.from_z(np.asarray(drawn["z"]))
            info = {"loss": thinned(losses), "elbo": -float(np.mean(losses[-100:])), "khat": khat,
                    "likelihood": target.kind}
            return Draws(theta[target.space.allowed(theta)], info, target.meta)


class Gradient:
    def __init__(self, config: GradientConfig | None = None):
        self.config = config or GradientConfig()

    restore = staticmethod(Draws.restore)

    def fit(self, problem: Problem) -> Draws:
        c = self.config
        with precision(c):
            target = refuse_noise(Target(problem, c), "gradient")
            if c.loss != "likelihood" and target.outputs is None:
                raise EstimatorError(
                    f'loss = "{c.loss}" compares a simulator\'s outputs with data, and the likelihood '
                    f"is {target.kind}", fix='loss = "likelihood"')
            loss = self._loss(target)
            key = jax.random.key(int(problem.rng(0).integers(2**31)))
            candidates = jax.random.normal(key, (max(c.candidates, c.starts), target.space.dim))
            worth = np.asarray(jax.jit(jax.vmap(loss))(candidates))
            worth = np.where(np.isfinite(worth), worth, np.inf)
            if not np.isfinite(worth).any():
                raise EstimatorError("the loss is undefined at all draws of the prior",
                                     fix="inferkit check study.toml")
            start = candidates[np.argsort(worth)[: c.starts]]
            ends, curves = descend(loss, start, getattr(optax, c.optimiser)(c.rate), c.steps)
            final = np.asarray(jax.vmap(loss)(ends))
            order = np.argsort(np.where(np.isfinite(final), final, np.inf))
            points = target.space.from_z(np.asarray(ends)[order])
            info = {"loss": thinned(np.asarray(curves)[:, order[0]]),
                    "best_loss": float(final[order[0]]), "losses": [float(v) for v in final[order]],
                    "points": points.tolist(), "uncertainty": "none: a point estimate"}
            return Draws(points[:1], info)

    def _loss(self, target: Target) -> Any:
        c, data = self.config, target.observed
        if c.loss == "likelihood":
            return lambda z: -target.log_likelihood(z) + (0.5 * jnp.sum(z**2) if c.prior else 0.0)

        def loss(z):
            made = target.outputs(target.space.vector(z))  # type: ignore[misc]
            parts = []
            for name, value in made.items():
                there = ~np.isnan(data[name])
                gap = jnp.where(there, value - np.where(there, data[name], 0.0), 0.0)
                parts.append(jnp.sum(gap**2 if c.loss == "mse" else jnp.abs(gap)) / there.sum())
            return sum(parts) + (0.5 * jnp.sum(z**2) if c.prior else 0.0)

        return loss


def refuse_noise(target: Target, name: str) -> Target:
    if target.noise_shape is not None:
        raise EstimatorError(f"{name} does not infer a simulator's noise", fix='estimator "nuts"')
    return target


def descend(loss: Any, start: jax.Array, optimiser: Any, steps: int) -> tuple[jax.Array, jax.Array]:
    """All starts side by side; each keeps its best point."""
    both = jax.vmap(jax.value_and_grad(loss))

    def step(carry, _):
        z, state, best, lowest = carry
        value, slope = both(z)
        better = value < lowest
        best, lowest = jnp.where(better[:, None], z, best), jnp.where(better, value, lowest)
        slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
        update, state = optimiser.update(slope, state, z)
        return (optax.apply_updates(z, update), state, best, lowest), value

    first = (start, optimiser.init(start), start, jnp.full(len(start), jnp.inf, start.dtype))
    (_, _, best, _), values = jax.jit(lambda c: jax.lax.scan(step, c, None, length=steps))(first)
    return best, values


def climb(loss: Any, start: jax.Array, steps: int) -> tuple[jax.Array, np.ndarray]:
    """L-BFGS from each start."""
    solver = optax.lbfgs()
    both = optax.value_and_grad_from_state(loss)

    def one(z):
        def step(carry, _):
            z, state = carry
            value, slope = both(z, state=state)
            update, state = solver.update(slope, state, z, value=value, grad=slope, value_fn=loss)
            moved = optax.apply_updates(z, update)
            return (jnp.where(jnp.isfinite(moved).all(), moved, z), state), None

        (z, _), _ = jax.lax.scan(step, (z, solver.init(z)), None, length=steps)
        return z

    ends = jnp.stack([jax.jit(one)(z) for z in start])
    values = np.asarray([float(loss(z)) for z in ends])
    return ends, np.where(np.isfinite(values), values, np.inf)


def differences(slope: Any, z: jax.Array, h: float = 1e-4) -> np.ndarray:
    """The Hessian from differences of gradients: callbacks have no second derivative."""
    eye = np.eye(len(z))
    rows = [np.asarray(slope(z + h * e) - slope(z - h * e)) / (2 * h) for e in eye]
    made = np.stack(rows)
    return 0.5 * (made + made.T)


def pareto(target: Target, guide: Any, params: Any, key: jax.Array, kind: str) -> float | None:
    """k-hat of the weights target / guide; None for guides whose density cannot be asked."""
    if kind == "iaf" or target.noise_shape is not None:
        return None
    posterior = guide.get_posterior(params)
    z = posterior.sample(key, (CHECKED,))
    log_p = jax.vmap(target.log_likelihood)(z) - 0.5 * jnp.sum(z**2, 1)
    log_q = posterior.log_prob(z)
    log_q = log_q.sum(-1) if log_q.ndim > 1 else log_q
    from scipy.stats import genpareto

    log_w = np.asarray(log_p - log_q)
    log_w = log_w[np.isfinite(log_w)]
    if len(log_w) < 100:
        return float("inf")
    w = np.sort(np.exp(log_w - log_w.max()))
    m = int(min(0.2 * len(w), 3 * np.sqrt(len(w))))
    excess = w[-m:] - w[-m - 1]
    if len(np.unique(excess[excess > 1e-12])) < 5:
        return float("-inf")
    return float(genpareto.fit(excess[excess > 0], floc=0)[0])


def thinned(curve: np.ndarray) -> list[float]:
    at = np.unique(np.linspace(0, len(curve) - 1, SHOWN).astype(int))
    return [float(curve[i]) for i in at]
