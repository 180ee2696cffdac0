"""The loop: a network of masses, (nodes, rows) arrays, one scan.

    dx_i = f(x_i, c_i, p) dt + sigma dW_i,      c_i = k sum_j w_ij s_j(t - lag_ij)

Heun (additive noise, so Ito and Stratonovich agree), with n = sigma sqrt(dt) z:

    y = x + dt f(x) + n,        x' = x + dt / 2 (f(x) + f(y)) + n

Lags are whole steps, floor(length / speed / dt).  A ring holds the sources of the last steps; in Heun's
second stage it is read one step further, y's own sources being its newest entry.
Rows are the last axis, so that the coupling is a matrix product and the rest dense arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from inferkit_vbjax import noise as counter
from inferkit_vbjax.masses import Mass
from inferkit_vbjax.monitors import Running


@dataclass(frozen=True)
class Plan:
    """A network with its times in steps.

    weights: input -> matrix, or None for all to all; an input that is not there gets nothing.
    drive(t ms) -> the stimulus's wave, at `stimulated` (state, mask (nodes,)).
    frames: input of a monitor -> see `monitors`; `monitors(rows)` makes them for a batch.
    """

    mass: Mass
    nodes: int
    weights: Mapping[str, np.ndarray | None]
    lags: np.ndarray | None
    coupling: str
    dt: float
    heun: bool
    transient: int
    steps: int
    frame: int  # steps between possible samples: all monitors' `every` are multiples
    noisy: tuple[str, ...]
    monitors: Callable[[int], Mapping[str, tuple[Callable, Running]]]
    drive: Callable[[Any], Any] | None
    stimulated: tuple[str, np.ndarray] | None
    dtype: Any
    local: Callable[[Any], Callable] | None = None  # a field's coupling of p, in the weights' place

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        return (self.transient + self.steps, len(self.noisy), self.nodes)


@dataclass(frozen=True)
class Noise:
    """words(t) -> what a step's normals are made of; normals(words) -> a list of (nodes, rows)."""

    words: Callable[[Any], Any]
    normals: Callable[[Any], list]


def run(plan: Plan, p: Mapping[str, Any], noise: Noise | None, rows: int, block: int = 0):
    """Outputs with rows last.  p: (nodes or 1, rows) arrays.

    block: frames between the states that a gradient keeps; 0 keeps all that a gradient needs.

    What several parts of a step read is carried from the step before, because XLA computes an array
    again for each of its readers unless a loop hands it over: the noise is prepared two steps (words)
    and one step (normals) ahead, and monitors see a state at the beginning of the step that follows.
    """
    own = {k.removeprefix("model."): v for k, v in p.items()
           if k.startswith("model.") or "." not in k}
    watched = plan.monitors(rows)
    x = {s: jnp.broadcast_to(p[f"initial.{s}"], (plan.nodes, rows)).astype(plan.dtype)
         for s in plan.mass.states}
    couple = _coupling(plan, p)
    scale = None if noise is None else p["noise.sigma"] * np.sqrt(plan.dt).astype(plan.dtype)

    def slope(x, ring, t):
        d = plan.mass.drift(x, couple(x, ring, t), own)
        if plan.drive is not None:
            state, mask = plan.stimulated
            wave = p["stimulus.amplitude"] * plan.drive(t * np.asarray(plan.dt, plan.dtype))
            d = {**d, state: d[state] + wave * jnp.asarray(mask, plan.dtype)[:, None]}
        return d

    def positive(x):
        return {s: jnp.maximum(v, 0) if s in plan.mass.positive else v for s, v in x.items()}

    def step(carry, t):
        x, ring, ahead = carry
        kick = {}
        if noise is not None:
            words, normals = ahead
            kick = {s: scale * z for s, z in zip(plan.noisy, normals)}
            ahead = noise.words(t + 2), noise.normals(words)
        d1 = slope(x, ring, t)
        y = positive({s: x[s] + plan.dt * d1[s] + kick.get(s, 0) for s in x})
        if plan.heun:
            ring = _push(plan, ring, y, t + 1)  # the same place is written again below
            d2 = slope(y, ring, t + 1)
            y = positive({s: x[s] + plan.dt / 2 * (d1[s] + d2[s]) + kick.get(s, 0) for s in x})
        return (y, _push(plan, ring, y, t + 1), ahead), None

    def frame(carry, f):
        def one(inside, i):
            carry, kept = inside
            index = f * plan.frame + i
            kept = {n: m.step(kept[n], of(carry[0]), index) for n, (of, m) in watched.items()}
            carry, _ = step(carry, index + plan.transient + 1)
            return (carry, kept), None

        within = int(np.sqrt(plan.frame)) + 1 if block else 0
        (carry, kept), _ = _scan(one, carry, plan.frame, within)
        given = {}
        for name, (_, m) in watched.items():
            if m.frame is None:
                continue
            if m.every == plan.frame:
                kept[name], given[name] = m.frame(kept[name])
            else:  # a longer period: only the frame that ends it counts
                ends = (f + 1) % (m.every // plan.frame) == 0
                kept[name], given[name] = jax.lax.cond(ends, m.frame, _not_yet(m), kept[name])
        return (carry, kept), {n: v for n, v in given.items() if v is not None}

    frames = plan.steps // plan.frame
    ahead = None if noise is None else (noise.words(jnp.asarray(1)),
                                        noise.normals(noise.words(jnp.asarray(0))))
    carry, _ = _scan(step, (x, _ring(plan, x), ahead), plan.transient + 1, block * plan.frame)
    start = {n: m.start(of(carry[0])) for n, (of, m) in watched.items()}
    (_, kept), series = _scan(frame, (carry, start), frames, block)
    out = {}
    for name, (_, m) in watched.items():
        k = m.every // plan.frame
        out[name] = m.result(kept[name]) if m.result else series[name][k - 1 :: k]
    return out


def _not_yet(m: Running) -> Callable:
    def same(kept):
        _, value = jax.eval_shape(m.frame, kept)
        return kept, jax.tree.map(lambda v: jnp.zeros(v.shape, v.dtype), value)

    return same


def _scan(f, carry, length: int, block: int):
    """lax.scan over 0 … length - 1; with block > 0 a gradient keeps one carry a block."""
    if not block or length <= block:
        return jax.lax.scan(f if not block else jax.checkpoint(f), carry, jnp.arange(length))
    whole = length // block * block

    @jax.checkpoint
    def inner(carry, at):
        return jax.lax.scan(jax.checkpoint(f), carry, at)

    carry, ys = jax.lax.scan(inner, carry, jnp.arange(whole).reshape(-1, block))
    ys = jax.tree.map(lambda y: y.reshape(whole, *y.shape[2:]), ys)
    if whole < length:
        carry, rest = jax.lax.scan(jax.checkpoint(f), carry, jnp.arange(whole, length))
        ys = jax.tree.map(lambda a, b: jnp.concatenate([a, b]), ys, rest)
    return carry, ys


def _ring(plan: Plan, x):
    if plan.lags is None:
        return None
    depth = int(plan.lags.max()) + 1
    return {n: jnp.broadcast_to(plan.mass.inputs[n](x), (depth, *next(iter(x.values())).shape))
            for n in plan.weights}


def _push(plan: Plan, ring, x, t):
    if ring is None:
        return None
    return {n: jax.lax.dynamic_update_index_in_dim(past, plan.mass.inputs[n](x), t % len(past), 0)
            for n, past in ring.items()}


def _coupling(plan: Plan, p):
    """couple(x, ring, t) -> input name -> (nodes or 1, rows)."""
    mass, k = plan.mass, p.get("coupling.k", 1.0)
    local = plan.local(p) if plan.local is not None else None

    def sent(s):
        if plan.coupling != "sigmoidal":
            return s
        return jax.nn.sigmoid((s - p["coupling.midpoint"]) / p["coupling.width"])

    def total(name, weights, x, ring, t):
        here = mass.inputs[name](x)
        if weights is None:
            return jnp.sum(sent(here), 0, keepdims=True), here
        w = jnp.asarray(weights, plan.dtype)
        if ring is None:
            return w @ sent(here), here
        past = ring[name]
        arrived = past[(t - jnp.asarray(plan.lags)) % len(past), jnp.arange(plan.nodes)[None]]
        return jnp.sum(w[:, :, None] * sent(arrived), 1), here

    def couple(x, ring, t):
        c = dict.fromkeys(mass.inputs, 0.0)
        for name, weights in plan.weights.items():
            if local is not None:
                c[name] = local(mass.inputs[name](x))
                continue
            arrived, here = total(name, weights, x, ring, t)
            if plan.coupling == "diffusive":
                rows = plan.nodes if weights is None else jnp.asarray(
                    weights.sum(1, keepdims=True), plan.dtype)
                arrived = arrived - rows * here
            c[name] = k * arrived
        return c

    return couple


def counter_noise(plan: Plan, keys) -> Noise:
    """Noise from keys (2, rows)."""
    pairs = (len(plan.noisy) + 1) // 2
    constants = counter.node_constants(pairs, plan.nodes)
    return Noise(lambda t: counter.words(keys, t, constants),
                 lambda words: counter.normals(words, plan.dtype)[: len(plan.noisy)])


def given_noise(z) -> Noise:
    """Noise that is known: standard normals (steps, noisy states, nodes) of one row."""
    return Noise(lambda t: [z[t, i][:, None] for i in range(z.shape[1])], lambda words: words)
