"""Rejection: the nearest share of the stored simulations of the prior is the posterior of any x."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

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


@dataclass(frozen=True)
class RejectionConfig:
    """accept: the share of simulations to keep; minimum: at least so many; adjust: regression."""

    accept: float = 0.01
    minimum: int = 200
    adjust: Literal["linear", "none"] = "linear"

    def __post_init__(self):
        if not 0 < self.accept <= 1:
            raise ConfigError(f"abc-rejection: accept is {self.accept}", allowed="between 0 and 1")


class ABCRejection:
    def __init__(self, config: RejectionConfig | None = None):
        self.config = config or RejectionConfig()

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Nearest:
        return Nearest(arrays["u"], arrays["inputs"], prior, RejectionConfig(**meta))

    def fit(self, problem: Problem) -> Nearest:
        refuse_discrete(problem.prior, "abc-rejection")
        inputs, u = usable(problem.training(), problem.prior)
        if len(u) < 10:
            raise EstimatorError(f"only {len(u)} simulations did not fail",
                                 fix="inferkit check study.toml")
        return Nearest(u, inputs, problem.prior, self.config)


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
