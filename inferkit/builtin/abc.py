"""Approximate Bayesian computation: rejection, and sequential Monte Carlo with adaptive distance.

Both accept parameters whose simulated inputs s lie near the observed ones o,

    d(s, o)^2 = sum_j ((s_j - o_j) / sigma_j)^2,     sigma_j = MAD of input j over simulations.

**Rejection** keeps the nearest share of the stored simulations of the prior.

**SMC** moves a population of N weighted particles towards smaller tolerances (Beaumont et al. 2009;
adaptive distance, Prangle 2017).  All moves happen in the prior's unconstrained space, where no
proposal can leave the support.  Generation t: sigma from all proposals of generation t-1;
eps_t = a quantile of the population's distances; propose u ~ sum_j W_j N(u_j, Cov_W(u)), simulate,
accept where d <= eps_t, until N are accepted and their effective size 1 / sum_i W_i^2 is N/2, or
`ENOUGH`; weights

    w(u) = p(u) / sum_j W_j N(u; u_j, Cov_W).

Generation 0 is made of the stored simulations of the prior.  A few heavy weights stand for few draws,
and the width that they show is too small: what the last generation is worth, and how far it moved from
the one before, is in `info`, for the verdict on training.

**Regression adjustment** (Beaumont et al. 2002): accepted particles are moved to where they would
be had they given just o, u* = u + B (o - s), B by least squares weighted with w (1 - d^2/eps^2).

An input that is NaN on one side only counts as far away; failed simulations are never accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from inferkit.errors import ConfigError, EstimatorError
from inferkit.estimate import Problem, Training
from inferkit.features import flatten
from inferkit.protocols import Prior

ENOUGH = 200
"""An effective size that a generation need not exceed."""
MOST = 4
"""A generation is so many times its population at most, whatever its effective size."""
FAR = 10.0
"""Scaled distance of an input that is undefined on one side only."""


@dataclass(frozen=True)
class RejectionConfig:
    """accept: the share of simulations to keep; minimum: at least so many; adjust: regression."""

    accept: float = 0.01
    minimum: int = 200
    adjust: Literal["linear", "none"] = "linear"

    def __post_init__(self):
        if not 0 < self.accept <= 1:
            raise ConfigError(f"abc-rejection: accept is {self.accept}", allowed="between 0 and 1")


@dataclass(frozen=True)
class SMCConfig:
    """Settings of ABC-SMC.

    population: particles (None: 1000, or 100 for each parameter if that is more);
    quantile: how fast the tolerance falls; generations: at most so many;
    min_acceptance: stop when fewer proposals than this share are accepted;
    max_simulations: stop before more new simulations than this; adjust: regression at the end.
    """

    population: int | None = None
    quantile: float = 0.5
    generations: int = 12
    min_acceptance: float = 0.02
    max_simulations: int = 200_000
    adjust: Literal["linear", "none"] = "linear"

    def __post_init__(self):
        if self.population is not None and self.population < 10:
            raise ConfigError(f"abc-smc: population is {self.population}", allowed="10 or more")
        if not 0 < self.quantile < 1:
            raise ConfigError(f"abc-smc: quantile is {self.quantile}", allowed="between 0 and 1")


class Distance:
    """Scaled Euclidean distance to one observation."""

    def __init__(self, inputs: np.ndarray, observed: np.ndarray):
        median = np.nanmedian(inputs, axis=0)
        scale = 1.4826 * np.nanmedian(np.abs(inputs - median), axis=0)
        # An input with no spread by MAD (mostly zero counts) falls back on its sd.
        spread = np.nanstd(inputs, axis=0)
        self.scale = np.where(scale > 0, scale, np.where(spread > 0, spread, 1.0))
        self.observed = observed

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        z = (inputs - self.observed) / self.scale
        undefined = np.isnan(inputs)
        z = np.where(undefined & np.isnan(self.observed), 0.0, np.where(np.isnan(z), FAR, z))
        return np.sqrt((z**2).sum(axis=1))


@dataclass
class Population:
    """Weighted particles in unconstrained space with their inputs and distances."""

    u: np.ndarray
    weights: np.ndarray
    inputs: np.ndarray
    distance: np.ndarray

    @property
    def ess(self) -> float:
        return float(1.0 / (self.weights**2).sum())


class Particles:
    """A posterior as weighted draws of one observation."""

    def __init__(self, theta: np.ndarray, weights: np.ndarray, info: dict):
        self.theta, self.weights, self.info = theta, weights, info

    def sample(self, n: int, x: Any, rng: np.random.Generator) -> np.ndarray:
        return self.theta[rng.choice(len(self.theta), n, p=self.weights)]

    def state(self) -> tuple[dict, dict]:
        return {"theta": self.theta, "weights": self.weights}, {"info": self.info}


class ABCSMC:
    def __init__(self, config: SMCConfig | None = None):
        self.config = config or SMCConfig()

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Particles:
        return Particles(arrays["theta"], arrays["weights"], meta["info"])

    def fit(self, problem: Problem) -> Particles:
        config, prior = self.config, problem.prior
        refuse_discrete(prior, "abc-smc")
        observed = flatten(problem.observed or {})[0]
        size = config.population or max(1000, 100 * prior.dim)
        last = problem.training()
        if len(last) < size:
            more = prior.pack(prior.sample(2 * size, problem.rng(0)))
            last = problem.simulate(more)
        inputs, u = _usable(last, prior)
        if len(u) < 10:
            raise EstimatorError(f"only {len(u)} of {len(last)} simulations did not fail",
                                 fix="inferkit check study.toml")
        distance = Distance(inputs, observed)
        d = distance(inputs)
        nearest = np.argsort(d, kind="stable")[:size]
        population = Population(u[nearest], np.full(len(nearest), 1 / len(nearest)),
                                inputs[nearest], d[nearest])
        generations = [_told(0, float(d[nearest].max()), len(nearest) / len(last), len(last),
                             population)]
        spent, proposed, before, stopped = 0, inputs, population, "generations"
        for t in range(1, config.generations + 1):
            distance = Distance(proposed, observed)
            d = distance(population.inputs)
            eps = _weighted_quantile(d, population.weights, config.quantile)
            budget = config.max_simulations - spent
            found, proposed, used = self._generation(
                problem, population, size, distance, eps, t, budget)
            spent += used
            if found is None:
                stopped = "max_simulations"
                break
            before, population = population, found
            acceptance = len(found.u) / used
            generations.append(_told(t, eps, acceptance, used, population))
            problem.show(f"abc-smc: generation {t}", generations[-1])
            if acceptance < config.min_acceptance:
                stopped = "min_acceptance"
                break
        (u, weights), previous = ((p.u, p.weights) if config.adjust == "none" else adjust(p, observed)
                                  for p in (population, before))
        theta, _ = prior.from_unconstrained(u)
        return Particles(theta, weights, {
            "generations": generations, "simulations": spent, "stopped": stopped,
            "effective_size": round(float(1 / (weights**2).sum()), 1),
            **_moved((u, weights), previous)})

    def _generation(self, problem: Problem, population: Population, n: int, distance: Distance,
                    eps: float, t: int, budget: int) -> tuple[Population | None, np.ndarray, int]:
        """One generation's population, all its proposals' inputs, and the simulations it took."""
        config, prior = self.config, problem.prior
        cov = np.atleast_2d(np.cov(population.u.T, aweights=population.weights))
        root = _root(cov)
        accepted: list[np.ndarray] = []
        inputs: list[np.ndarray] = []
        seen: list[np.ndarray] = []
        count = used = 0
        size, enough, wanted = int(n / config.quantile), min(n / 2, ENOUGH), n
        while True:
            if used + size > budget:
                return None, np.concatenate(seen) if seen else population.inputs, used
            u = propose(population, root, prior, size, problem.rng(t, len(seen)))
            rows = problem.simulate(prior.from_unconstrained(u)[0])
            s, kept = _usable(rows, prior)
            near = distance(s) <= eps
            accepted.append(kept[near])
            inputs.append(s[near])
            seen.append(s)
            count += int(near.sum())
            used += len(rows)
            rate = max(count / used, config.min_acceptance / 4)
            # Whole batches are kept, so that stopping does not favour quick simulations.
            if count >= wanted:
                u, s = np.concatenate(accepted), np.concatenate(inputs)
                found = Population(u, importance(u, population, root, prior), s, distance(s))
                if found.ess >= enough or count >= MOST * n:
                    return found, np.concatenate(seen), used
                wanted = int(np.clip(count * enough / found.ess, count + 1, MOST * n))
            size = int(np.clip(1.1 * (wanted - count) / rate, 64, 20_000))


class Nearest:
    """Rejection ABC: stored simulations, the nearest of which are the posterior of any x."""

    def __init__(self, u: np.ndarray, inputs: np.ndarray, prior: Prior, config: RejectionConfig):
        self.u, self.inputs, self.prior, self.config = u, inputs, prior, config
        self.info = {"simulations": len(u)}

    def particles(self, x: Any) -> Particles:
        observed = flatten({k: np.asarray(v)[None] for k, v in x.items()})[0]
        d = Distance(self.inputs, observed)(self.inputs)
        k = min(len(d), max(self.config.minimum, int(self.config.accept * len(d))))
        near = np.argsort(d, kind="stable")[:k]
        population = Population(self.u[near], np.full(k, 1 / k), self.inputs[near], d[near])
        u, weights = population.u, population.weights
        if self.config.adjust == "linear":
            u, weights = adjust(population, observed)
        return Particles(self.prior.from_unconstrained(u)[0], weights, {})

    def sample(self, n: int, x: Any, rng: np.random.Generator) -> np.ndarray:
        return self.particles(x).sample(n, x, rng)

    def state(self) -> tuple[dict, dict]:
        config = {"accept": self.config.accept, "minimum": self.config.minimum,
                  "adjust": self.config.adjust}
        return {"u": self.u, "inputs": self.inputs}, config


class ABCRejection:
    def __init__(self, config: RejectionConfig | None = None):
        self.config = config or RejectionConfig()

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Nearest:
        return Nearest(arrays["u"], arrays["inputs"], prior, RejectionConfig(**meta))

    def fit(self, problem: Problem) -> Nearest:
        refuse_discrete(problem.prior, "abc-rejection")
        inputs, u = _usable(problem.training(), problem.prior)
        if len(u) < 10:
            raise EstimatorError(f"only {len(u)} simulations did not fail",
                                 fix="inferkit check study.toml")
        return Nearest(u, inputs, problem.prior, self.config)


def propose(population: Population, root: np.ndarray, prior: Prior, n: int,
            rng: np.random.Generator) -> np.ndarray:
    """n moves from the population that the prior allows (constraints hold in them)."""
    found: list[np.ndarray] = []
    count = 0
    for _ in range(1000):
        start = population.u[rng.choice(len(population.u), n, p=population.weights)]
        u = start + rng.standard_normal(start.shape) @ root.T
        u = u[np.isfinite(prior.log_prob_unconstrained(u))]  # type: ignore[attr-defined]
        found.append(u)
        count += len(u)
        if count >= n:
            return np.concatenate(found)[:n]
    raise EstimatorError("abc-smc: the prior's constraints reject every proposal")


def importance(u: np.ndarray, previous: Population, root: np.ndarray, prior: Prior) -> np.ndarray:
    """Normalised weights p(u) / mixture density; the kernel's constant cancels."""
    inverse = np.linalg.inv(root)
    a, b = u @ inverse.T, previous.u @ inverse.T
    log_mixture = np.empty(len(u))
    for i in range(0, len(u), 512):
        part = a[i : i + 512]
        square = (part**2).sum(1)[:, None] + (b**2).sum(1)[None] - 2 * part @ b.T
        logs = np.log(previous.weights + 1e-300)[None] - 0.5 * np.maximum(square, 0)
        top = logs.max(1)
        log_mixture[i : i + 512] = top + np.log(np.exp(logs - top[:, None]).sum(1))
    log_w = prior.log_prob_unconstrained(u) - log_mixture  # type: ignore[attr-defined]
    w = np.exp(log_w - log_w.max())
    return w / w.sum()


def adjust(population: Population, observed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Linear regression adjustment in unconstrained space; see the module's docstring."""
    eps = population.distance.max()
    kernel = 1 - (population.distance / eps) ** 2 if eps > 0 else np.ones(len(population.u))
    weights = population.weights * np.maximum(kernel, 0)
    weights = weights / weights.sum()
    spread = population.inputs.std(axis=0)
    use = np.isfinite(population.inputs).all(0) & np.isfinite(observed) & (spread > 0)
    ess = 1 / (weights**2).sum()
    if use.sum() == 0 or ess < 2 * (use.sum() + 1):  # too few particles to learn the slope
        return population.u, population.weights
    s = (population.inputs[:, use] - observed[use]) / spread[use]
    design = np.column_stack([np.ones(len(s)), s])
    root = np.sqrt(weights)[:, None]
    # A touch of ridge keeps nearly collinear features from throwing particles far off.
    gram = (design * root).T @ (design * root) + 1e-8 * np.eye(design.shape[1])
    slope = np.linalg.solve(gram, (design * root).T @ (population.u * root))[1:]
    return population.u - s @ slope, weights


def _moved(last: tuple[np.ndarray, np.ndarray], before: tuple[np.ndarray, np.ndarray]
           ) -> dict[str, float]:
    """How far the posterior moved in the last generation, beyond three times the draws' own error.

    shift: of a mean, in sds; narrowed: the log of the ratio of a parameter's sds, without its sign.
    """
    (m1, s1, n1), (m0, s0, n0) = (_moments(*p) for p in (last, before))
    if n1 < 2 or n0 < 2:
        return {}
    error = np.sqrt(1 / n1 + 1 / n0)
    shift = float(np.max(np.abs(m1 - m0) / s1)) - 3 * error
    narrowed = float(np.max(np.abs(np.log(s1 / s0)))) - 3 * error / np.sqrt(2)
    return {"shift": max(shift, 0.0), "narrowed": max(narrowed, 0.0)}


def _moments(u: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    mean = weights @ u
    return mean, np.sqrt(weights @ (u - mean) ** 2) + 1e-300, float(1 / (weights**2).sum())


def refuse_discrete(prior: Prior, name: str) -> None:
    discrete = np.asarray(getattr(prior, "discrete", False))
    if discrete.any():
        which = [n for n, d in zip(prior.names, discrete) if d]
        raise EstimatorError(f"{name} moves particles in continuous space; {', '.join(which)} "
                             "is discrete", fix="a study for each value, or an estimator that takes it")


def _usable(rows: Training, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and unconstrained parameters of the rows that did not fail."""
    return rows.flat[rows.ok], prior.to_unconstrained(rows.theta[rows.ok])


def _root(cov: np.ndarray) -> np.ndarray:
    return np.linalg.cholesky(cov + 1e-12 * np.trace(cov) / len(cov) * np.eye(len(cov)))


def _weighted_quantile(values: np.ndarray, weights: np.ndarray, q: float) -> float:
    order = np.argsort(values)
    at = np.searchsorted(np.cumsum(weights[order]), q)
    return float(values[order][min(int(at), len(values) - 1)])


def _told(t: int, eps: float, acceptance: float, simulations: int, population: Population) -> dict:
    return {"generation": t, "tolerance": float(eps), "acceptance": float(acceptance),
            "simulations": int(simulations), "ess": round(population.ess, 1)}
