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
    """Of draws (m, n, d), by a Gaussian kernel estimate in unconstrained space.

    The kernel has the draws' own covariance, by Scott's factor n^(-1/(d+4)) smaller, so that a ridge is
    not smeared out.
    """
    scores = []
    for truth, mine in zip(theta, draws):
        u = prior.to_unconstrained(np.vstack([truth, mine]))
        _, log_det = prior.from_unconstrained(u[:1])
        n, d = len(mine), u.shape[1]
        cov = np.atleast_2d(np.cov(u[1:].T)) * n ** (-2 / (d + 4))
        root = np.linalg.cholesky(cov + np.diag(1e-9 * np.diag(cov) + 1e-24))
        z = -0.5 * (np.linalg.solve(root, (u[1:] - u[0]).T) ** 2).sum(0)
        log_kernel = z.max() + np.log(np.exp(z - z.max()).mean())
        scale = np.log(np.diag(root)).sum() + 0.5 * d * np.log(2 * np.pi)
        scores.append(log_kernel - scale - float(log_det[0]))
    return np.array(scores)
