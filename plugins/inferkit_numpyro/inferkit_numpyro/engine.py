"""What the estimators return: draws kept in arrays, for the one observation they were made for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np

from inferkit.prior import Prior


@contextlib.contextmanager
def precision(config: Any) -> Iterator[None]:
    """Double precision inside, where the config asks for it; the process's setting is left alone."""
    with jax.enable_x64(config.precision == "double"):
        yield


class Draws:
    """Draws theta (n, d) of a sampler; more than there are come by repetition."""

    def __init__(self, theta: np.ndarray, info: dict, meta: dict | None = None):
        self.theta, self.info, self.meta = np.asarray(theta, np.float64), info, meta or {}

    def sample(self, n: int, x: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        m = len(self.theta)
        order = np.concatenate([rng.permutation(m) for _ in range(-(-n // m))])[:n]
        return self.theta[order]

    def state(self) -> tuple[dict, dict]:
        return {"theta": self.theta}, {"info": self.info, **self.meta}

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Draws:
        return Draws(arrays["theta"], meta["info"])
