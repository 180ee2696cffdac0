"""Sequential Monte Carlo: a population moves towards smaller tolerances (Beaumont et al. 2009).

N weighted particles move in the prior's unconstrained space, where no proposal can leave the support,
under a distance that adapts (Prangle 2017).  Generation t: sigma from all proposals of generation t-1;
eps_t = a quantile of the population's distances; propose u ~ sum_j W_j N(u_j, Cov_W(u)), simulate,
accept where d <= eps_t, until N are accepted and their effective size 1 / sum_i W_i^2 is N/2, or
`ENOUGH`; weights

    w(u) = p(u) / sum_j W_j N(u; u_j, Cov_W).

Generation 0 is made of the stored simulations of the prior.  A few heavy weights stand for few draws,
and the width that they show is too small: what the last generation is worth, and how far it moved from
the one before, is in `info`, for the verdict on training.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from inferkit.builtin.abc.particles import (
    Distance,
    Particles,
    Population,
    adjust,
    refuse_discrete,
    usable,
)
from inferkit.errors import ConfigError, EstimatorError
from inferkit.estimate import Problem
from inferkit.features import flatten
from inferkit.protocols import Prior

ENOUGH = 200
"""An effective size that a generation need not exceed."""
MOST = 4
"""A generation is so many times its population at most, whatever its effective size."""


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
        inputs, u = usable(last, prior)
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
            s, kept = usable(rows, prior)
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


def _root(cov: np.ndarray) -> np.ndarray:
    return np.linalg.cholesky(cov + 1e-12 * np.trace(cov) / len(cov) * np.eye(len(cov)))


def _weighted_quantile(values: np.ndarray, weights: np.ndarray, q: float) -> float:
    order = np.argsort(values)
    at = np.searchsorted(np.cumsum(weights[order]), q)
    return float(values[order][min(int(at), len(values) - 1)])


def _told(t: int, eps: float, acceptance: float, simulations: int, population: Population) -> dict:
    return {"generation": t, "tolerance": float(eps), "acceptance": float(acceptance),
            "simulations": int(simulations), "ess": round(population.ess, 1)}
