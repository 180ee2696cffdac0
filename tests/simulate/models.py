"""Simulators that behave badly on purpose."""

import os

import numpy as np

from inferkit.testing.executor import mixed

__all__ = ["mixed"]


def noisy(theta, rng):
    return {"x": np.array([theta["a"], theta["a"] + rng.standard_normal()])}


def vectorised(theta, seeds):
    from inferkit.seeds import normals

    return {"x": theta["a"][:, None] + normals(seeds, (3,))}


def deadly_batch(theta, seeds):
    """Vectorised; any batch with an a above 0.99 dies."""
    if (theta["a"] > 0.99).any():
        os.kill(os.getpid(), 9)
    return vectorised(theta, seeds)


def ignores_seed(theta, rng):
    return np.array([theta["a"], 1.0])


def hungry(theta, rng):
    return np.zeros(1 << 36)[:1]


def leaky(theta, rng, held=[]):  # noqa: B006
    held.append(np.ones(4_000_000))
    return theta["a"]
