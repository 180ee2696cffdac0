"""`state_space`: the linear-Gaussian state space as a simulator: three scales are its parameters.

`a` multiplies A, `q` the state noise's standard deviation, `r` the observation noise's; each is 1
unless the prior holds it.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from inferkit.builtin.state_space.model import LinearGaussianConfig
from inferkit.data import Output, Parameter
from inferkit.seeds import normals


class LinearGaussian:
    """Gives `y` (steps, n), what is seen, and `x` (steps, d), the state behind it."""

    parameters = (
        Parameter("a", default=1.0, description="scales A"),
        Parameter("q", default=1.0, description="scales the state noise's sd"),
        Parameter("r", default=1.0, description="scales the observation noise's sd"),
    )

    def __init__(self, config: LinearGaussianConfig | None = None):
        self.config = config or LinearGaussianConfig()
        self.model = self.config.matrices
        n, d = self.model.C.shape
        steps = self.config.steps
        self.outputs = (
            Output("y", (steps, n), dims=("time", "channel"), axis=np.arange(steps)),
            Output("x", (steps, d), dims=("time", "state"), axis=np.arange(steps)),
        )

    def simulate(self, theta: Mapping[str, np.ndarray], seeds: np.ndarray) -> dict[str, np.ndarray]:
        m, rows, steps = self.model, len(seeds), self.config.steps
        n, d = m.C.shape
        a, q, r = (np.asarray(theta.get(k, np.ones(rows)), dtype=float)[:, None] for k in "aqr")
        noise = normals(seeds, (steps, d + n))
        start, step, seen = (_root(v) for v in (m.P0, m.Q, m.R))
        x = np.empty((rows, steps, d))
        x[:, 0] = m.m0 + _times(noise[:, 0, :d], start)
        for t in range(1, steps):
            x[:, t] = a * _times(x[:, t - 1], m.A) + q * _times(noise[:, t, :d], step)
        y = _times(x, m.C) + r[..., None] * _times(noise[..., d:], seen)
        return {"y": y, "x": x}


def _times(rows: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """matrix @ each vector, summed in one order: BLAS would add up otherwise in other batches."""
    out = rows[..., :1] * matrix[:, 0]
    for k in range(1, matrix.shape[1]):
        out = out + rows[..., k : k + 1] * matrix[:, k]
    return out


def _root(cov: np.ndarray) -> np.ndarray:
    """A square root that a singular covariance has as well."""
    values, vectors = np.linalg.eigh(cov)
    return vectors * np.sqrt(np.maximum(values, 0))
