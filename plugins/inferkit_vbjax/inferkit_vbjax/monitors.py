"""Monitors: what is kept of a run, computed while it runs.

Time is cut into frames of `every` steps.  A monitor sees every step (`step`), and may give a value at
the end of each frame (`frame`); at the end of the run it may give its result (`result`).  Memory is
that of its accumulators and of what it gives, never of the steps.

BOLD (Friston's balloon, with the constants of vbjax's `compute_bold_theta`), time in seconds:
    s' = x - s / tau_s - (f - 1) / tau_f        f' = s
    v' = (f - v^(1/alpha)) / tau_o
    q' = (f (1 - (1 - e0)^(1/f)) / e0 - v^(1/alpha) q / v) / tau_o
    y = v0 (k1 (1 - q) + k2 (1 - q / v) + k3 (1 - v))
Covariance is Welford's: the running mean m and the sum of (x - m before) (x - m after)^T.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np


@dataclass(frozen=True)
class Running:
    """A monitor's functions.  `frame` and `result` may be None; `every`: steps a frame."""

    every: int
    start: Callable[[Any], Any]  # the first value (nodes, rows) that it will see
    step: Callable[[Any, Any, Any], Any]  # accumulators, value (nodes, rows), index of the step
    frame: Callable[[Any], tuple[Any, Any]] | None = None
    result: Callable[[Any], Any] | None = None


def subsample(nodes, rows, dtype, every) -> Running:
    return Running(every, jnp.zeros_like, lambda a, x, i: x, lambda a: (a, a))


def average(nodes, rows, dtype, every, gain=None) -> Running:
    def frame(total):
        mean = total / every
        return jnp.zeros_like(total), mean if gain is None else jnp.asarray(gain, dtype) @ mean

    return Running(every, jnp.zeros_like, lambda a, x, i: a + x, frame)


def bold(nodes, rows, dtype, every, dt) -> Running:
    tau_s, tau_f, tau_o, alpha, te, v0, e0 = 0.65, 0.41, 0.98, 0.32, 0.04, 4.0, 0.4
    k1, k2, k3 = 4.3 * 40.3 * e0 * te, 0.5 * 25.0 * e0 * te, 0.5
    seconds = dt / 1000

    def slope(state, x):
        s, f, v, q = state
        out = v ** (1 / alpha)
        return (x - s / tau_s - (f - 1) / tau_f, s, (f - out) / tau_o,
                (f * (1 - (1 - e0) ** (1 / f)) / e0 - out * q / v) / tau_o)

    def step(state, x, i):
        d1 = slope(state, x)
        d2 = slope(tuple(a + seconds * d for a, d in zip(state, d1)), x)
        return tuple(a + seconds / 2 * (p + q) for a, p, q in zip(state, d1, d2))

    def frame(state):
        _, _, v, q = state
        return state, v0 * (k1 * (1 - q) + k2 * (1 - q / v) + k3 * (1 - v))

    def start(x):
        one = jnp.ones_like(x)
        return jnp.zeros_like(one), one, one, one

    return Running(every, start, step, frame)


def covariance(nodes, rows, dtype, every, frames, correlation=False) -> Running:
    """Over the means of `every` steps; the matrix changes once a frame."""

    def start(x):
        zero = jnp.zeros_like(x)
        return zero, zero, jnp.zeros((nodes, nodes, rows), dtype), jnp.zeros((), dtype)

    def step(a, x, i):
        return (a[0] + x, *a[1:])

    def frame(a):
        total, mean, products, count = a
        x, count = total / every, count + 1
        before = x - mean
        mean = mean + before / count
        products = products + before[:, None] * (x - mean)[None]
        return (jnp.zeros_like(total), mean, products, count), None

    def result(a):
        # Rounding makes the two orders of the factors differ: their mean is symmetric.
        cov = (a[2] + jnp.swapaxes(a[2], 0, 1)) / (2 * max(frames - 1, 1))
        if not correlation:
            return cov
        sd = jnp.sqrt(jnp.einsum("iib->ib", cov))
        return cov / (sd[:, None] * sd[None])

    return Running(every, start, step, frame, result)


def spectrum(nodes, rows, dtype, steps, dt, frequencies) -> Running:
    """|2/T sum (x - x(0)) exp(-i w t)|; x(0) is taken off so that float32 keeps what varies."""
    turns = np.asarray(frequencies) * dt / 1000

    def start(x):
        zero = jnp.zeros((len(turns), nodes, rows), dtype)
        return zero, zero, x

    def step(a, x, i):
        phase = (2 * np.pi * ((jnp.asarray(turns, dtype) * i) % 1.0))[:, None, None]
        return a[0] + (x - a[2]) * jnp.cos(phase), a[1] + (x - a[2]) * jnp.sin(phase), a[2]

    def result(a):
        return 2 / steps * jnp.sqrt(a[0] ** 2 + a[1] ** 2 + np.finfo(dtype).tiny)

    return Running(steps, start, step, None, result)


def moments(nodes, rows, dtype, every, spread: bool) -> Running:
    """Mean, or standard deviation, over time.

    Within a frame, sums of differences from the last frame's mean; frames are joined by Chan's rule.
    """

    def start(x):
        zero = jnp.zeros_like(x)
        return x, zero, zero, zero, zero, jnp.zeros((), dtype)

    def step(a, x, i):
        near, one, two, *rest = a
        gap = x - near
        return near, one + gap, two + gap * gap if spread else two, *rest

    def frame(a):
        near, one, two, mean, square, count = a
        here, total = near + one / every, count + every
        gap = here - mean
        square = square + two - one * one / every + gap * gap * (count * every / total)
        zero = jnp.zeros_like(one)
        return (here, zero, zero, mean + gap * (every / total), square, total), None

    def result(a):
        return jnp.sqrt(a[4] / a[5] + np.finfo(dtype).tiny) if spread else a[3]

    return Running(every, start, step, frame, result)
