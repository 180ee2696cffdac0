"""Weighted particles, and their distance to the observed inputs.

With simulated inputs s and observed ones o,

    d(s, o)^2 = sum_j ((s_j - o_j) / sigma_j)^2,     sigma_j = MAD of input j over simulations.

An input that is NaN on one side only counts as far away; failed simulations are never accepted.

**Regression adjustment** (Beaumont et al. 2002): accepted particles are moved to where they would
be had they given just o, u* = u + B (o - s), B by least squares weighted with w (1 - d^2/eps^2).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferkit.errors import EstimatorError
from inferkit.estimate import Training
from inferkit.protocols import Prior

FAR = 10.0
"""Scaled distance of an input that is undefined on one side only."""


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


def usable(rows: Training, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
    """Inputs and unconstrained parameters of the rows that did not fail."""
    return rows.flat[rows.ok], prior.to_unconstrained(rows.theta[rows.ok])


def refuse_discrete(prior: Prior, name: str) -> None:
    discrete = np.asarray(getattr(prior, "discrete", False))
    if discrete.any():
        which = [n for n, d in zip(prior.names, discrete) if d]
        raise EstimatorError(f"{name} moves particles in continuous space; {', '.join(which)} "
                             "is discrete", fix="a study for each value, or an estimator that takes it")
