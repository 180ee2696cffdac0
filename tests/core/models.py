"""Simulators that behave badly on purpose."""

import os
import time

import numpy as np


def noisy(theta, rng):
    return {"x": np.array([theta["a"], theta["a"] + rng.standard_normal()])}


def mixed(theta, rng):
    """Mixed cost; a few raise, give NaN, hang or kill their process."""
    a = theta["a"]
    if 0.50 < a < 0.51:
        raise ValueError("a is in the gap")
    if 0.60 < a < 0.61:
        return {"x": np.array([np.nan, 1.0])}
    if 0.700 < a < 0.703:
        os._exit(9)
    if 0.800 < a < 0.802:
        while True:
            pass
    time.sleep(0.01 * a**4)
    return {"x": np.array([a, rng.standard_normal()])}


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
