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

    def __init__(self, theta: np.ndarray, info: dict, meta: dict | None = None,
                 stats: Mapping[str, np.ndarray] | None = None):
        self.theta, self.info, self.meta = np.asarray(theta, np.float64), info, meta or {}
        self.stats = dict(stats or {})  # (chains, draws) each, by ArviZ's names

    @property
    def chains(self) -> np.ndarray | None:
        """(chains, draws, d) where theta is the chains one after the other."""
        c, k = self.info.get("chains", 0), self.info.get("draws", 0)
        return self.theta.reshape(c, k, -1) if c and c * k == len(self.theta) else None

    def sample(self, n: int, x: Mapping[str, Any], rng: np.random.Generator) -> np.ndarray:
        m = len(self.theta)
        order = np.concatenate([rng.permutation(m) for _ in range(-(-n // m))])[:n]
        return self.theta[order]

    def as_observed(self, x: Mapping[str, Any], theta: np.ndarray, rng: np.random.Generator
                    ) -> dict[str, Any]:
        return with_noise(self.meta.get("observation"), x, theta, rng)

    def state(self) -> tuple[dict, dict]:
        stats = {f"stats.{k}": np.asarray(v) for k, v in self.stats.items()}
        return {"theta": self.theta, **stats}, {"info": self.info, **self.meta}

    @staticmethod
    def restore(arrays: dict, meta: dict, prior: Prior) -> Draws:
        stats = {k.removeprefix("stats."): v for k, v in arrays.items() if k.startswith("stats.")}
        return Draws(arrays["theta"], meta["info"], {"observation": meta.get("observation")}, stats)


def with_noise(model: Mapping[str, Any] | None, x: Mapping[str, Any], theta: np.ndarray,
               rng: np.random.Generator) -> dict[str, Any]:
    """Simulated outputs (n, …) with the noise of an observation model (`Target.meta`)."""
    out = dict(x)
    for name, scale in (model or {"scale": {}})["scale"].items():
        assert model is not None
        made = np.asarray(x[name], np.float64)
        if isinstance(scale, list):  # the scale is parameter number scale[0]
            scale = theta[:, scale[0]].reshape(-1, *[1] * (made.ndim - 1))
        if model["noise"] == "gaussian":
            out[name] = made + scale * rng.standard_normal(made.shape)
        elif model["noise"] == "student_t":
            out[name] = made + scale * rng.standard_t(model["df"], made.shape)
        elif model["noise"] == "lognormal":
            out[name] = np.maximum(made, 1e-30) * np.exp(scale * rng.standard_normal(made.shape))
        else:
            known = np.isfinite(made)
            out[name] = np.where(known, rng.poisson(np.where(known, np.clip(made, 0, 1e18), 0)), made)
    return out
