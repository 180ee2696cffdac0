"""Held-out log-scores: log q(theta | x) of the truths behind simulations that no estimator has seen.

Their mean is highest for the exact posterior, and what it lacks is the Kullback-Leibler divergence
from it, so differences between estimators are in nats of information.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


def by_density(engine: Any, theta: np.ndarray, inputs: Mapping[str, Any]) -> np.ndarray:
    """Of an engine with densities: theta (m, d), inputs of m rows; (m,)."""
    return np.array([float(engine.log_prob(t[None], {k: v[i] for k, v in inputs.items()})[0])
                     for i, t in enumerate(theta)])


def by_draws(prior: Any, theta: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Of draws (m, n, d), by a Gaussian kernel estimate in unconstrained space (Scott's bandwidth)."""
    scores = []
    for truth, mine in zip(theta, draws):
        u = prior.to_unconstrained(np.vstack([truth, mine]))
        _, log_det = prior.from_unconstrained(u[:1])
        h = u[1:].std(axis=0) * len(mine) ** (-1 / (u.shape[1] + 4)) + 1e-12
        z = -0.5 * (((u[1:] - u[0]) / h) ** 2).sum(1)
        log_kernel = z.max() + np.log(np.exp(z - z.max()).mean())
        scores.append(log_kernel - np.log(h * np.sqrt(2 * np.pi)).sum() - float(log_det[0]))
    return np.array(scores)
