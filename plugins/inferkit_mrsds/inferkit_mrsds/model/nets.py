"""Stacked networks: many small multilayer perceptrons of one shape, evaluated together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp

ACTIVATIONS: dict[str, Callable] = {
    "tanh": jnp.tanh, "relu": jax.nn.relu, "gelu": jax.nn.gelu, "softplus": jax.nn.softplus}


def kernel(key: jax.Array, shape: Sequence[int], gain: float = 1.0) -> jax.Array:
    """Glorot-uniform weights (..., in, out)."""
    limit = gain * math.sqrt(6.0 / (shape[-2] + shape[-1]))
    return jax.random.uniform(key, tuple(shape), minval=-limit, maxval=limit)


def bias(key: jax.Array, shape: Sequence[int]) -> jax.Array:
    return jax.random.uniform(key, tuple(shape), minval=-0.05, maxval=0.05)


class Stack(eqx.Module):
    """P networks side by side: (P, n, in) -> (P, n, out).

    Weights (P, in, out); biases (P, 1, out), or none.  With `shared` states, P = K Q: the weights are
    of Q networks and each state has biases of its own, which is a one-hot state fed into every layer.
    """

    weights: list[jax.Array]
    biases: list[jax.Array] | None
    activation: str = eqx.field(static=True)
    shared: int = eqx.field(static=True)

    def __init__(self, key: jax.Array, count: int, sizes: Sequence[int], activation: str, *,
                 biased: bool = True, shared: int = 1, last: float = 1.0):
        keys = jax.random.split(key, 2 * len(sizes))
        pairs = list(zip(sizes[:-1], sizes[1:]))
        gains = [1.0] * (len(pairs) - 1) + [last]
        self.weights = [kernel(k, (count // shared, a, b), g)
                        for k, (a, b), g in zip(keys, pairs, gains)]
        self.biases = ([bias(k, (count, 1, b)) for k, (_, b) in zip(keys[len(sizes):], pairs)]
                       if biased else None)
        self.activation, self.shared = activation, shared

    def __call__(self, x: jax.Array, linear: jax.Array | None = None) -> jax.Array:
        """`linear` (P,) marks networks without activations."""
        act = ACTIVATIONS[self.activation]
        for i, W in enumerate(self.weights):
            x = self._multiply(x, W)
            if self.biases is not None:
                x = x + self.biases[i]
            if i < len(self.weights) - 1:
                x = act(x) if linear is None else jnp.where(linear[:, None, None], x, act(x))
        return x

    def _multiply(self, x: jax.Array, W: jax.Array) -> jax.Array:
        if self.shared == 1:
            return x @ W
        P, n, a = x.shape
        return (x.reshape(self.shared, -1, n, a) @ W).reshape(P, n, -1)


def by_region(x: jax.Array, W: jax.Array, session: jax.Array, b: jax.Array | None = None) -> jax.Array:
    """Each region's own product, (R, B, T, in) -> (R, B, T, out), by the weights of the trial's
    session.

    W (S, R, in, out), b (S, R, out).  One session is one product a region; several are gathered a
    trial.
    """
    if W.shape[0] == 1:
        R, B, T, a = x.shape
        out = (x.reshape(R, B * T, a) @ W[0]).reshape(R, B, T, -1)
        return out if b is None else out + b[0][:, None, None]
    out = x @ W[session].swapaxes(0, 1)
    return out if b is None else out + b[session].swapaxes(0, 1)[:, :, None]
