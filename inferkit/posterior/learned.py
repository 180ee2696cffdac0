"""What engines of a learned density q(z | x) share: z becomes parameters, constraints are kept.

    log q(theta | x) = log q(z | x) + log |dz / dtheta| - log P(constraints hold | x)

(see `prior/space.py` for z).  Draws that break one of the prior's constraints are drawn again, and
the share that does is estimated once an observation, to normalise log-probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from inferkit.errors import EstimatorError
from inferkit.prior.space import Space

ROWS = 200_000
ROUNDS = 200
SHARE_DRAWS = 20_000


class Learned:
    """An engine's `sample`, `sample_batch` and `log_prob`.

    A subclass says how: `conditions(inputs)` gives arrays, a row an observation;
    `_draw(n, conditions, rng)` gives (m, n, d) draws of z for m observations, `log_q(z, conditions)`
    the density of rows z given one.
    """

    def __init__(self, space: Space):
        self.space = space
        self._inside: dict[bytes, float] = {}

    def conditions(self, inputs: Mapping[str, Any]) -> Sequence[Any]:
        raise NotImplementedError

    def _draw(self, n: int, conditions: Sequence[Any], rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError

    def log_q(self, z: np.ndarray, conditions: Sequence[Any]) -> np.ndarray:
        raise NotImplementedError

    def sample(self, n: int, x: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        return self.sample_batch(n, {k: np.asarray(v)[None] for k, v in x.items()}, rng)[0]

    def sample_batch(self, n: int, x: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        conditions = self.conditions(x)
        m = len(conditions[0])
        out = np.empty((m, n, self.space.dim))
        step = max(1, ROWS // n)
        for a in range(0, m, step):
            out[a : a + step] = self._sample_some(n, [c[a : a + step] for c in conditions], rng)
        return out

    def _sample_some(self, n: int, conditions: Sequence[Any], rng: np.random.Generator) -> np.ndarray:
        m, d = len(conditions[0]), self.space.dim
        out = np.empty((m, n, d))
        filled = np.zeros(m, int)
        for _ in range(ROUNDS):
            need = int((n - filled).max())
            draws = np.clip(int(1.2 * need) + 8, 1, n) if filled.any() else n
            theta = self.space.from_z(self._draw(int(draws), conditions, rng).reshape(-1, d))
            keep = self.space.allowed(theta).reshape(m, -1)
            theta = theta.reshape(m, -1, d)
            for i in range(m):
                good = theta[i][keep[i]][: n - filled[i]]
                out[i, filled[i] : filled[i] + len(good)] = good
                filled[i] += len(good)
            if (filled == n).all():
                return out
        raise EstimatorError("the posterior lies where the prior's constraints reject nearly all draws",
                             fix="check that the observation can arise under the constraints")

    def log_prob(self, theta: np.ndarray, x: Mapping[str, Any]) -> np.ndarray:
        conditions = self.conditions({k: np.asarray(v)[None] for k, v in x.items()})
        z = self.space.to_z(theta)
        log_q = self.log_q(z, conditions) + self.space.log_density(theta, z)
        return log_q - self._log_inside(conditions) if self.space.constrained else log_q

    def _log_inside(self, conditions: Sequence[Any]) -> float:
        """log of the posterior mass that obeys the constraints."""
        key = b"".join(np.asarray(c).tobytes() for c in conditions)
        if key not in self._inside:
            z = self._draw(SHARE_DRAWS, conditions, np.random.default_rng(0))[0]
            share = self.space.allowed(self.space.from_z(z)).mean()
            self._inside[key] = float(np.log(max(share, 1e-6)))
        return self._inside[key]
